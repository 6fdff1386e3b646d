import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmkit.errors import UsageError
from lmkit.nn.cells import CELLS, make_cell
from lmkit.nn.regularization import Regularization, drop_weights

RATES = ("input", "hidden", "output", "embedding", "weight")
FACTORS = ("activation", "temporal")
T, B, H = 5, 3, 4


def sequences() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(T, B, H, dtype=torch.float64), torch.randn(T, B, H, dtype=torch.float64)


def written_out(alpha: float, beta: float, dropped: torch.Tensor, hidden: torch.Tensor) -> float:
    steps, rows, units = hidden.shape
    d, h = dropped.tolist(), hidden.tolist()
    places = [(b, u) for b in range(rows) for u in range(units)]
    size = sum(d[t][b][u] ** 2 for t in range(steps) for b, u in places) / (steps * len(places))
    speed = sum((h[t][b][u] - h[t - 1][b][u]) ** 2 for t in range(1, steps) for b, u in places)
    return alpha * size + beta * (speed / ((steps - 1) * len(places)) if steps > 1 else 0.0)


def test_nothing_is_regularized_unless_asked_for():
    assert set(vars(Regularization())) == {*RATES, *FACTORS}
    assert not any(vars(Regularization()).values())


@given(
    rates=st.lists(st.floats(0, 0.99), min_size=5, max_size=5),
    factors=st.lists(st.floats(0, 10), min_size=2, max_size=2),
    dial=st.floats(0, 10),
)
def test_the_dial_turns_everything_and_no_rate_beyond_nine_tenths(rates, factors, dial):
    asked = dict(zip(RATES + FACTORS, rates + factors, strict=True))
    turned = vars(Regularization(**asked).scaled(dial))
    for name in RATES:
        assert turned[name] == pytest.approx(min(asked[name] * dial, 0.9))
        assert turned[name] <= 0.9
    for name in FACTORS:
        assert turned[name] == pytest.approx(asked[name] * dial)


def test_at_zero_the_dial_turns_everything_off_and_at_one_nothing():
    asked = Regularization(
        input=0.4, hidden=0.3, output=0.4, embedding=0.05, weight=0.2, activation=2, temporal=1
    )
    assert asked.scaled(0.0) == Regularization()
    assert asked.scaled(1.0) == asked
    assert asked.input == 0.4  # it is another that was turned


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 1.0), (2.0, 0.0), (0.0, 1.0), (0.3, 0.7)])
def test_the_penalty_is_on_large_and_on_fast_activations(alpha, beta):
    dropped, hidden = sequences()
    penalty = Regularization(activation=alpha, temporal=beta).penalty(dropped, hidden)
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(written_out(alpha, beta, dropped, hidden), rel=1e-12)


def test_without_factors_there_is_no_penalty():
    assert Regularization(input=0.5, weight=0.5).penalty(*sequences()) is None


def test_one_step_is_not_fast():
    dropped, hidden = (x[:1] for x in sequences())
    assert Regularization(temporal=1.0).penalty(dropped, hidden) is None
    both = Regularization(activation=2.0, temporal=1.0).penalty(dropped, hidden)
    assert both.item() == pytest.approx(written_out(2.0, 1.0, dropped, hidden), rel=1e-12)


def test_activations_that_stand_still_at_zero_cost_nothing():
    still = torch.ones(T, B, H)
    assert Regularization(activation=1.0, temporal=1.0).penalty(torch.zeros(T, B, H), still).item() == 0


def test_the_gradient_of_the_penalty_equals_finite_differences():
    regularization = Regularization(activation=2.0, temporal=3.0)
    dropped, hidden = (x.requires_grad_() for x in sequences())
    assert torch.autograd.gradcheck(regularization.penalty, (dropped, hidden))


@pytest.mark.parametrize("kind", sorted(CELLS))
def test_recurrent_weights_are_dropped_and_no_others(kind):
    cell = make_cell(kind, input_size=2, hidden_size=3)
    expected = {"mlp": [], "sru": [], "mogrifier": ["cell.weight_hh"]}.get(kind, ["layer.weight_hh_l0"])
    assert list(drop_weights(cell, 0.5)) == expected


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_weight_is_dropped_at_the_rate_or_else_raised(rate):
    cell = nn.LSTM(2, 100)
    (dropped,) = drop_weights(cell, rate).values()
    weight = cell.weight_hh_l0
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], weight[kept] / (1 - rate))
    deviation = math.sqrt(rate * (1 - rate) / weight.numel())
    assert (~kept).double().mean().item() == pytest.approx(rate, abs=5 * deviation)


def test_the_expectation_of_a_weight_is_kept():
    cell, draws = nn.GRU(2, 4), 3000
    mean = torch.stack([drop_weights(cell, 0.5)["weight_hh_l0"].detach() for _ in range(draws)]).mean(0)
    bound = 5 * cell.weight_hh_l0.abs().max().item() / math.sqrt(draws)
    torch.testing.assert_close(mean, cell.weight_hh_l0.detach(), rtol=0, atol=bound)


def test_each_draw_is_another_and_leaves_the_weights_as_they_are():
    cell = nn.LSTM(2, 10)
    before = cell.weight_hh_l0.detach().clone()
    first, second = (drop_weights(cell, 0.5)["weight_hh_l0"] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(cell.weight_hh_l0.detach(), before)


def test_gradients_go_through_the_mask_to_the_weights():
    cell = nn.LSTM(2, 10)
    dropped = drop_weights(cell, 0.5)["weight_hh_l0"]
    dropped.sum().backward()
    torch.testing.assert_close(cell.weight_hh_l0.grad, (dropped.detach() != 0) * 2.0)


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(UsageError, match="dropout rate"):
        drop_weights(nn.LSTM(2, 3), rate)
