import math

import pytest
import torch

from lmkit.errors import UsageError
from lmkit.nn.activations import ACTIVATIONS, activation, relu, sigmoid, tanh

FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": lambda x: (1 - math.exp(-2 * x)) / (1 + math.exp(-2 * x)),
    "relu": lambda x: max(x, 0.0),
}
POINTS = torch.tensor([-3.0, -0.7, -0.01, 0.02, 0.5, 4.0], dtype=torch.float64)


def test_every_activation_has_a_formula_here():
    assert set(ACTIVATIONS) == set(FORMULAS)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_equals_its_formula(name):
    expected = torch.tensor([FORMULAS[name](float(x)) for x in POINTS], dtype=torch.float64)
    torch.testing.assert_close(activation(name)(POINTS), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_gradient_equals_finite_differences(name, central_difference):
    phi = activation(name)
    x = POINTS.clone().requires_grad_()
    phi(x).sum().backward()
    torch.testing.assert_close(
        x.grad, central_difference(lambda p: phi(p).sum(), POINTS), rtol=1e-6, atol=1e-8
    )
    assert torch.autograd.gradcheck(phi, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_extremes_are_finite_with_finite_gradients(dtype):
    for phi in ACTIVATIONS.values():
        x = torch.tensor([-1e30, -1e4, 0.0, 1e4, 1e30], dtype=dtype, requires_grad=True)
        y = phi(x)
        y.sum().backward()
        assert y.dtype == dtype
        assert torch.isfinite(y).all()
        assert torch.isfinite(x.grad).all()


def test_tanh_is_a_stretched_sigmoid():
    torch.testing.assert_close(tanh(POINTS), 2 * sigmoid(2 * POINTS) - 1)


def test_relu_has_slope_zero_at_zero():
    x = torch.zeros(1, requires_grad=True)
    relu(x).backward()
    assert x.grad.item() == 0


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="unknown activation 'sigmoyd'; did you mean 'sigmoid'"):
        activation("sigmoyd")
