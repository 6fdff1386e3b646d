import math

import pytest
import torch
from torch.nn import functional

from lmkit.errors import UsageError
from lmkit.nn.losses import LOSSES, cross_entropy, huber, l1, l2, loss

REGRESSIONS = {
    "l2": lambda e: 0.5 * e * e,
    "l1": abs,
    "huber": lambda e: 0.5 * e * e if abs(e) <= 1 else abs(e) - 0.5,
}


def test_every_loss_is_tested_here():
    assert set(LOSSES) == {"cross_entropy", *REGRESSIONS}


def test_cross_entropy_is_the_mean_surprisal_in_nats():
    logits, targets = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 4, 2, 2, 1, 3])
    rows = zip(logits.tolist(), targets.tolist(), strict=True)
    surprisals = [-math.log(math.exp(row[target]) / sum(map(math.exp, row))) for row, target in rows]
    assert cross_entropy(logits, targets).item() == pytest.approx(sum(surprisals) / 6, rel=1e-12)
    torch.testing.assert_close(cross_entropy(logits, targets), functional.cross_entropy(logits, targets))


def test_perplexity_of_certainty_is_one_and_of_the_uniform_is_v():
    sure = torch.full((2, 3), -1e4)
    sure[:, 1] = 0.0
    assert cross_entropy(sure, torch.tensor([1, 1])).exp().item() == 1
    assert cross_entropy(torch.zeros(2, 50), torch.tensor([1, 1])).exp().item() == pytest.approx(50)


def test_cross_entropy_gradient_is_softmax_minus_one_hot(central_difference):
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([1, 0, 3])
    cross_entropy(logits, targets).backward()
    expected = (torch.softmax(logits.detach(), -1) - functional.one_hot(targets, 4)) / 3
    torch.testing.assert_close(logits.grad, expected)
    measured = central_difference(lambda o: cross_entropy(o, targets), logits.detach())
    torch.testing.assert_close(logits.grad, measured, rtol=1e-6, atol=1e-8)


def test_cross_entropy_of_an_impossible_word_is_large_and_finite():
    logits = torch.tensor([[0.0, 1e4]], requires_grad=True)
    value = cross_entropy(logits, torch.tensor([0]))
    value.backward()
    assert value.item() == 1e4
    assert logits.grad.tolist() == [[-1, 1]]


@pytest.mark.parametrize("name", sorted(REGRESSIONS))
def test_regression_losses_equal_their_formulas(name):
    prediction, target = (
        torch.tensor([0.3, -2.0, 5.0, 1.0]).double(),
        torch.tensor([0.0, 1.0, 4.5, 1.0]).double(),
    )
    errors = (prediction - target).tolist()
    expected = sum(map(REGRESSIONS[name], errors)) / len(errors)
    assert loss(name)(prediction, target).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", sorted(REGRESSIONS))
def test_regression_gradients_equal_finite_differences(name, central_difference):
    target = torch.randn(2, 3, dtype=torch.float64)
    prediction = (3 * torch.randn(2, 3, dtype=torch.float64)).requires_grad_()
    loss(name)(prediction, target).backward()
    measured = central_difference(lambda y: loss(name)(y, target), prediction.detach())
    torch.testing.assert_close(prediction.grad, measured, rtol=1e-6, atol=1e-8)
    assert torch.autograd.gradcheck(lambda y: loss(name)(y, target), (prediction,))


def test_against_torch():
    y, t = torch.randn(9), torch.randn(9)
    torch.testing.assert_close(2 * l2(y, t), functional.mse_loss(y, t))
    torch.testing.assert_close(l1(y, t), functional.l1_loss(y, t))
    torch.testing.assert_close(huber(y, t, delta=0.4), functional.huber_loss(y, t, delta=0.4))


def test_huber_joins_smoothly_and_its_slope_is_delta_beyond():
    zero = torch.zeros(1, dtype=torch.float64)
    below, above = (huber(zero + 2 + h, zero, delta=2.0).item() for h in (-1e-9, 1e-9))
    assert above - below == pytest.approx(2 * 2e-9, rel=1e-4)
    y = torch.tensor([100.0], requires_grad=True)
    huber(y, torch.zeros(1), delta=2.0).backward()
    assert y.grad.item() == 2


@pytest.mark.parametrize("name", sorted(REGRESSIONS))
def test_shapes_that_would_broadcast_are_refused(name):
    with pytest.raises(UsageError, match=r"\(3,\) and \(3, 1\)"):
        loss(name)(torch.zeros(3), torch.zeros(3, 1))


def test_bad_arguments_are_refused():
    with pytest.raises(UsageError, match=r"\(2, 3\) and \(3,\)"):
        cross_entropy(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(UsageError, match="no examples"):
        cross_entropy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    for delta in (0.0, -1.0, math.nan):
        with pytest.raises(UsageError, match="delta"):
            huber(torch.zeros(1), torch.zeros(1), delta=delta)
    with pytest.raises(UsageError, match="did you mean 'huber'"):
        loss("hubert")
