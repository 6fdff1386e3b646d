import math

import pytest
import torch

from lmkit.errors import UsageError
from lmkit.nn.softmax import confidence, log_softmax, softmax


def test_equals_the_definition():
    logits = torch.randn(4, 7, dtype=torch.float64)
    expected = torch.tensor([[math.exp(o) / sum(map(math.exp, row)) for o in row] for row in logits.tolist()])
    torch.testing.assert_close(softmax(logits), expected.double(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(log_softmax(logits).exp(), softmax(logits))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_sums_to_one_along_the_last_axis(temperature):
    for scale in (1, 1e3, 1e30):
        p = softmax(scale * torch.randn(3, 5, 11), temperature=temperature)
        torch.testing.assert_close(p.sum(-1), torch.ones(3, 5))


def test_adding_a_constant_changes_nothing():
    logits = torch.randn(2, 5, dtype=torch.float64)
    for temperature in (0.5, 1.0):
        shifted = softmax(logits + 700.0, temperature=temperature)
        torch.testing.assert_close(shifted, softmax(logits, temperature=temperature))


def test_large_scores_neither_overflow_nor_lose_their_logarithm():
    logits = torch.tensor([3e38, -3e38, 0.0])
    assert softmax(logits).tolist() == [1, 0, 0]
    assert log_softmax(torch.tensor([0.0, 1e4])).tolist() == [-1e4, 0]


def test_minus_infinity_is_probability_zero():
    for temperature in (0.3, 1.0, 2.0):
        p = softmax(torch.tensor([0.0, -torch.inf, 0.0]), temperature=temperature)
        assert p.tolist() == [0.5, 0, 0.5]


def test_temperature_divides_the_scores():
    logits = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(log_softmax(logits, temperature=0.7), log_softmax(logits / 0.7))


@pytest.mark.parametrize("temperature", [1e-6, 1e-40, 5e-324])
def test_tiny_temperature_is_the_argmax(temperature):
    assert softmax(torch.tensor([1.0, 3.0, 2.0]), temperature=temperature).tolist() == [0, 1, 0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(UsageError, match="temperature"):
        softmax(torch.zeros(2), temperature=temperature)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_gradient_equals_finite_differences(temperature, central_difference):
    weights = torch.randn(5, dtype=torch.float64)
    for function in (softmax, log_softmax):

        def scalar(o, function=function):
            return (weights * function(o, temperature=temperature)).sum()

        logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
        scalar(logits).backward()
        measured = central_difference(scalar, logits.detach())
        torch.testing.assert_close(logits.grad, measured, rtol=1e-6, atol=1e-8)
        assert torch.autograd.gradcheck(scalar, (logits,))


def test_confidence_is_the_probability_of_the_predicted_class():
    logits = torch.randn(4, 3, 7, dtype=torch.float64)
    predicted, sure = confidence(logits)
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    assert torch.equal(predicted, p.argmax(-1))
    torch.testing.assert_close(sure, p.max(-1).values)
