"""The shares of entries by their size, against numpy and float16 itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmkit.nn.gradients import Entries, share_inside


def test_entries_are_sorted_by_their_size() -> None:
    gradient = torch.tensor([[0.0, 1e-9, 1e-7, 1e-6], [1.0, 1e3, 1e5, torch.inf]])
    found = Entries.of("w", gradient)
    assert (found.shape, found.zero, found.norm) == ((2, 4), 1 / 8, math.inf)
    assert (found.below, found.inside, found.above) == pytest.approx((2 / 7, 3 / 7, 2 / 7))
    assert (found.underflow, found.overflow) == pytest.approx((1 / 7, 2 / 7))
    assert gradient.half().eq(0).sum() == 2  # the zero and what underflows


def test_what_is_no_number_is_above_and_what_is_nothing_is_nowhere() -> None:
    assert Entries.of("w", torch.tensor([torch.nan])).above == 1
    none = Entries.of("w", torch.zeros(3))
    assert (none.zero, none.below, none.inside, none.above) == (1, 0, 0, 0)


def test_a_sparse_gradient_is_its_rows() -> None:
    rows = torch.sparse_coo_tensor([[1, 1]], [[1.0], [2.0]], (4, 1), check_invariants=True)
    found = Entries.of("w", rows)
    assert (found.zero, found.inside, found.norm) == (0.75, 1, 3)


def test_the_share_inside_is_that_of_all_entries() -> None:
    tensors = [torch.randn(7, 3) * 10.0**power for power in (-9, -5, 0, 5)]
    entries = np.abs(np.concatenate([tensor.numpy().ravel() for tensor in tensors]))
    assert share_inside(tensors) == pytest.approx(np.mean((entries >= 1e-6) & (entries <= 1e3)))
    assert share_inside([]) == 1
