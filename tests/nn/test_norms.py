import math

import pytest
import torch
from torch import nn

from lmkit.nn.norms import frobenius_norm, global_norm


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
