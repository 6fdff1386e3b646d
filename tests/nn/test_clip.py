import math

import pytest
import torch
from torch import nn

from lmkit.errors import UsageError
from lmkit.nn.clip import clip_grad_norm, clip_grad_value
from lmkit.nn.norms import global_norm


def parameters(*gradients: torch.Tensor) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = gradient.clone()
    return made


def gradients() -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=torch.float64) for shape in ((3, 4), (5,), (), (2, 3, 2))]


@pytest.mark.parametrize("max_norm", [1e-9, 0.1, 1.0])
def test_above_the_threshold_the_norm_becomes_the_threshold(max_norm):
    before = gradients()
    made = parameters(*before)
    norm = clip_grad_norm(made, max_norm)
    assert norm == pytest.approx(global_norm(before), rel=1e-14)
    assert global_norm(p.grad for p in made) == pytest.approx(max_norm, rel=1e-12)
    for parameter, gradient in zip(made, before, strict=True):  # the direction is kept
        torch.testing.assert_close(parameter.grad, gradient * (max_norm / norm), rtol=1e-12, atol=0)


def test_at_or_below_the_threshold_nothing_is_touched():
    before = gradients()
    exactly = global_norm(before)
    for max_norm in (exactly, exactly + 1, math.inf):
        made = parameters(*before)
        assert clip_grad_norm(made, max_norm) == exactly
        for parameter, gradient in zip(made, before, strict=True):
            assert torch.equal(parameter.grad, gradient)


def test_zero_gradients_stay_zero():
    made = parameters(torch.zeros(3), torch.zeros(2, 2))
    assert clip_grad_norm(made, 0.25) == 0
    assert not any(p.grad.any() for p in made)


def test_parameters_without_a_gradient_are_passed_over():
    made = [*parameters(torch.tensor([3.0, 4.0])), nn.Parameter(torch.ones(2))]
    assert clip_grad_norm(iter(made), 1.0) == 5
    assert made[1].grad is None
    assert clip_grad_norm([nn.Parameter(torch.ones(2))], 1.0) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_norm_that_is_not_finite_is_returned_and_nothing_is_touched(bad):
    made = parameters(torch.tensor([10.0, 20.0]), torch.tensor([[bad, 1.0]]))
    assert not math.isfinite(clip_grad_norm(made, 1.0))
    assert made[0].grad.tolist() == [10, 20]
    assert made[1].grad[0, 1].item() == 1


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_the_threshold_must_be_positive(max_norm):
    with pytest.raises(UsageError, match="clipping norm"):
        clip_grad_norm(parameters(torch.ones(1)), max_norm)


def repeated(shape: tuple[int, ...], ids: list[int], values: torch.Tensor) -> nn.Parameter:
    """A parameter with a sparse gradient of several values for one row."""
    parameter = nn.Parameter(torch.zeros(shape, dtype=values.dtype))
    parameter.grad = torch.sparse_coo_tensor(torch.tensor([ids]), values, shape, check_invariants=True)
    return parameter


@pytest.mark.parametrize("shape", [(9, 4), (9,)], ids=str)
@pytest.mark.parametrize("max_norm", [0.1, 1e9, math.inf])
def test_values_for_one_row_are_added_before_a_sparse_gradient_is_measured(shape, max_norm):
    values = torch.randn(5, *shape[1:], dtype=torch.float64)
    sparse = repeated(shape, [7, 2, 7, 0, 7], values)
    dense = torch.zeros(shape, dtype=torch.float64)
    dense[0], dense[2], dense[7] = values[3], values[1], values[0] + values[2] + values[4]
    other = parameters(torch.randn(3, 2, dtype=torch.float64))[0]
    expected = parameters(dense, other.grad)
    assert clip_grad_norm([sparse, other], max_norm) == pytest.approx(
        clip_grad_norm(expected, max_norm), rel=1e-12
    )
    assert sparse.grad.is_sparse
    assert sparse.grad.is_coalesced()
    torch.testing.assert_close(sparse.grad.to_dense(), expected[0].grad)
    torch.testing.assert_close(other.grad, expected[1].grad)


def test_values_that_cancel_out_have_no_norm():
    sparse = repeated((5, 2), [3, 3], torch.tensor([[1.0, -2.0], [-1.0, 2.0]]))
    assert clip_grad_norm([sparse], 0.1) == 0


def test_a_sparse_gradient_without_rows_has_no_norm():
    for shape in ((5, 2), (5,)):
        assert clip_grad_norm([repeated(shape, [], torch.zeros(0, *shape[1:]))], 0.1) == 0


def test_a_sparse_gradient_that_is_not_finite_is_left_alone():
    sparse = repeated((5, 2), [3, 1], torch.tensor([[10.0, 20.0], [math.nan, 1.0]]))
    assert math.isnan(clip_grad_norm([sparse], 1.0))
    assert sparse.grad.to_dense()[3].tolist() == [10, 20]


@pytest.mark.parametrize("largest", [0.1, 1.0, math.inf])
def test_by_value_each_number_is_brought_into_the_range(largest):
    before = gradients()
    ours, theirs = parameters(*before), parameters(*before)
    clip_grad_value(ours, largest)
    nn.utils.clip_grad_value_(theirs, largest)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.grad, other.grad)


def test_by_value_rows_are_added_first_and_no_number_stays_none():
    sparse = repeated((5, 2), [3, 3], torch.tensor([[3.0, -2.0], [-2.5, -2.0]]))
    bad = parameters(torch.tensor([math.nan, 2.0]))[0]
    clip_grad_value([sparse, bad, nn.Parameter(torch.ones(2))], 1.0)
    assert sparse.grad.to_dense()[3].tolist() == [0.5, -1.0]
    assert math.isnan(bad.grad[0])
    assert bad.grad[1] == 1


@pytest.mark.parametrize("largest", [0.0, -1.0, math.nan])
def test_the_largest_value_must_be_positive(largest):
    with pytest.raises(UsageError, match="clipping value"):
        clip_grad_value(parameters(torch.ones(1)), largest)


def test_on_a_gpu(cuda):
    made = [nn.Parameter(torch.zeros(100, 100, device=cuda)) for _ in range(2)]
    for parameter in made:
        parameter.grad = torch.randn_like(parameter)
    clip_grad_norm(made, 0.5)
    assert global_norm(p.grad for p in made) == pytest.approx(0.5, rel=1e-5)
