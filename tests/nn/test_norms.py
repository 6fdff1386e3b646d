import math

import numpy as np
import pytest
import torch
from torch import nn

from lmkit.nn.norms import frobenius_norm, global_norm, spectral_radius


def test_norm_is_that_of_one_long_vector():
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in ((3, 4), (5,), (), (2, 3, 2))]
    everything = [value for tensor in tensors for value in tensor.flatten().tolist()]
    assert global_norm(tensors) == pytest.approx(math.hypot(*everything), rel=1e-14)
    assert global_norm(tensors) == pytest.approx(float(nn.utils.get_total_norm(tensors)), rel=1e-14)
    assert global_norm([]) == 0


def test_norm_of_millions_of_float32_is_exact():
    assert global_norm([torch.full((10_000, 256), 1e-3)]) == pytest.approx(
        1e-3 * math.sqrt(2_560_000), rel=1e-6
    )


def test_norm_of_a_matrix_is_that_of_its_entries_in_a_row():
    matrix = torch.randn(7, 5, dtype=torch.float64)
    assert frobenius_norm(matrix) == pytest.approx(float(torch.linalg.matrix_norm(matrix)), rel=1e-14)
    assert frobenius_norm(matrix) == pytest.approx(frobenius_norm(matrix.flatten()), rel=1e-14)
    assert frobenius_norm(matrix) == pytest.approx(float(torch.linalg.svdvals(matrix).norm()), rel=1e-14)


def test_norms_are_homogeneous_and_keep_the_triangle_inequality():
    a, b = (torch.randn(4, 6, dtype=torch.float64) for _ in range(2))
    assert frobenius_norm(-3 * a) == pytest.approx(3 * frobenius_norm(a), rel=1e-14)
    assert frobenius_norm(a + b) <= frobenius_norm(a) + frobenius_norm(b)
    assert frobenius_norm(torch.zeros(2, 2)) == 0


def test_numbers_whose_squares_a_float32_cannot_hold_have_a_norm():
    for scale in (3e19, 1e30, 1e-25, 1e-36):
        assert global_norm([torch.tensor([3.0, 4.0]) * scale]) == pytest.approx(5 * scale, rel=1e-6)
    assert global_norm([torch.full((4,), 60000.0, dtype=torch.float16)]) == 120000
    assert global_norm([torch.zeros(3)]) == 0
    assert global_norm([torch.tensor([1.0, torch.inf])]) == math.inf
    assert math.isnan(global_norm([torch.tensor([1.0, torch.nan])]))


@pytest.mark.parametrize("gates", [1, 4])
def test_the_spectral_radius_is_the_largest_eigenvalue(gates: int) -> None:
    weight = torch.randn(gates * 9, 9)
    largest = max(np.abs(np.linalg.eigvals(block)).max() for block in np.split(weight.numpy(), gates))
    assert spectral_radius(weight) == pytest.approx(largest, rel=1e-4)
    assert spectral_radius(torch.full((9, 9), torch.nan)) == math.inf
    assert spectral_radius(torch.tensor([0.5, -2.0])) == 2.0
