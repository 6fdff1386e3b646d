import math

import pytest
import torch
from torch import nn

from lmkit.errors import UsageError
from lmkit.nn.clip import clip_grad_norm, global_norm


def parameters(*gradients: torch.Tensor) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = gradient.clone()
    return made


def gradients() -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=torch.float64) for shape in ((3, 4), (5,), (), (2, 3, 2))]


def test_norm_is_that_of_one_long_vector():
    tensors = gradients()
    everything = [value for tensor in tensors for value in tensor.flatten().tolist()]
    assert global_norm(tensors) == pytest.approx(math.hypot(*everything), rel=1e-14)
    assert global_norm(tensors) == pytest.approx(float(nn.utils.get_total_norm(tensors)), rel=1e-14)
    assert global_norm([]) == 0


def test_norm_of_millions_of_float32_is_exact():
    assert global_norm([torch.full((10_000, 256), 1e-3)]) == pytest.approx(
        1e-3 * math.sqrt(2_560_000), rel=1e-6
    )


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


def test_on_a_gpu(cuda):
    made = [nn.Parameter(torch.zeros(100, 100, device=cuda)) for _ in range(2)]
    for parameter in made:
        parameter.grad = torch.randn_like(parameter)
    clip_grad_norm(made, 0.5)
    assert global_norm(p.grad for p in made) == pytest.approx(0.5, rel=1e-5)
