"""Diagnostics: the shares are right, the faults of three networks made to fail are named, and sound ones pass."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lmkit.nn.cells import make_cell
from lmkit.nn.diagnostics import Examination, examine, reach
from lmkit.nn.dropout import EmbeddingDropout
from lmkit.nn.full_softmax import FullHead
from lmkit.nn.init import SCHEMES, initialize
from lmkit.nn.stack import RecurrentStack

V, H, T, B = 40, 64, 20, 8
TOKENS = torch.arange((T + 1) * B).view(T + 1, B) % V


class Language(nn.Module):
    """The smallest language model with everything that is looked at."""

    def __init__(self, **stack: object) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, H)
        self.words = EmbeddingDropout(rate=0.0)
        self.stack = RecurrentStack(**{"kind": "lstm", "input_size": H, "hidden_size": H, **stack})
        self.head = FullHead(vocab_size=V, input_size=H)

    def features(self) -> Tensor:
        x = self.words(self.embedding.weight, TOKENS[:-1])
        return self.stack(x, self.stack.initial_state(B))[0]

    def loss(self, features: Tensor | None = None) -> Tensor:
        features = self.features() if features is None else features
        return self.head.loss(features.flatten(0, 1), TOKENS[1:].flatten()).mean()

    def examined(self) -> Examination:
        return examine(self, self.loss)


def made(**stack: object) -> Language:
    network = Language(**stack)
    initialize(network, "xavier")
    nn.init.uniform_(network.head.weight, -0.1, 0.1)
    return network


def findings(network: Language) -> list[str]:
    return network.examined().findings(guessing=math.log(V))


def trained(network: Language, *, rate: float, steps: int = 30) -> Language:
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        network.loss().backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "sru", "mogrifier", "mlp"])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_healthy_network_is_not_complained_of(kind: str, layers: int) -> None:
    assert findings(made(kind=kind, num_layers=layers)) == []


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"constant"}))
def test_nor_is_any_usual_initialisation(scheme: str) -> None:
    network = made(num_layers=2)
    initialize(network, scheme)
    assert findings(network) == []


def test_nor_is_a_trained_one() -> None:
    assert findings(trained(made(num_layers=2), rate=1e-2)) == []


def test_too_large_weights_at_the_beginning_are_named() -> None:
    network = made(num_layers=2)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    found = findings(network)
    assert any(line.startswith("too large: stack.cells.0.layer.weight_hh_l0") for line in found)
    assert any(line.startswith("worse than guessing") for line in found)


def test_a_network_that_knows_frequencies_and_no_more_is_named() -> None:
    found = made().examined()
    (line,) = found.findings(guessing=math.log(V), frequencies=found.loss + 0.05)
    assert line.startswith("hardly learnt")
    assert found.findings(guessing=math.log(V), frequencies=found.loss + 0.5) == []


def test_a_gradient_that_vanishes_in_ten_layers_of_sigmoid_is_named() -> None:
    found = findings(made(kind="mlp", activation="sigmoid", num_layers=10))
    assert any(line.startswith("vanishing") and "stack.cells.0 " in line for line in found)
    assert not any("stack.cells.9 " in line for line in found)


def test_a_layer_that_is_dead_is_named() -> None:
    network = made(kind="mlp", activation="relu", num_layers=3, residual=True)
    nn.init.constant_(network.stack.cells[1].layer.bias, -50.0)
    assert any(line.startswith("vanishing") and "stack.cells.1 " in line for line in findings(network))


def test_a_network_that_is_dead_as_a_whole_is_named() -> None:
    dead = made(kind="rnn", activation="relu", num_layers=2)
    for cell in dead.stack.cells:
        nn.init.constant_(cell.layer.bias_ih_l0, -50.0)
    shut = made(num_layers=2)
    nn.init.zeros_(shut.head.weight)  # nothing comes back from it
    constant = made(kind="sru", num_layers=2)
    initialize(constant, "constant")
    for network in (dead, shut, constant):
        found = findings(network)
        assert {line.split(":")[0] for line in found} == {"vanishing"}
        assert {name for line in found for name in ("stack.cells.0 ", "stack.cells.1 ") if name in line} == {
            "stack.cells.0 ",
            "stack.cells.1 ",
        }


@pytest.mark.parametrize("kind", ["sru", "mlp", "lstm"])
def test_layers_that_are_too_large_are_named_whatever_their_kind(kind: str) -> None:
    network = made(kind=kind, num_layers=2, residual=True)
    with torch.no_grad():
        for cell in network.stack.cells:
            for parameter in cell.parameters():
                parameter.mul_(30)
    found = findings(network)
    assert any(line.startswith("too large: rows of stack.cells.1") for line in found)


def test_weights_that_a_high_rate_has_carried_away_are_named() -> None:
    found = findings(trained(made(num_layers=2), rate=100.0))
    assert found
    assert all(line.startswith("diverged") for line in found)
    assert "--grad-clip" in found[0]


def test_a_gradient_that_explodes_is_named() -> None:
    network = made(kind="mlp", activation="relu", num_layers=6)
    with torch.no_grad():
        for cell in network.stack.cells:
            cell.layer.weight.mul_(30)
    assert any(line.startswith("exploding") for line in findings(network))


def test_what_is_no_number_is_named() -> None:
    network = made()
    with torch.no_grad():
        network.embedding.weight[3] = torch.nan
    assert len(findings(network)) == 1
    assert findings(network)[0].startswith("diverged")


def test_the_reach_is_the_product_of_the_jacobians() -> None:
    """By a linear layer that repeats, dh_T / dx_t = W_hh^(T - t) W_xh; relu of large positive states is linear."""
    cell = make_cell("rnn", input_size=3, hidden_size=3, activation="relu").double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.abs_()
        cell.layer.weight_hh_l0.mul_(0.5)
    x = torch.rand(6, 1, 3, dtype=torch.float64, requires_grad=True)
    y, _ = cell(x, cell.initial_state(1))
    direction = torch.randn((1, 3), generator=torch.Generator().manual_seed(0)).double()
    repeated, taken = cell.layer.weight_hh_l0.detach(), cell.layer.weight_ih_l0.detach()
    norms = [(direction @ torch.linalg.matrix_power(repeated, 5 - t) @ taken).norm().item() for t in range(6)]
    assert reach(x, y) == pytest.approx([norm / norms[-1] for norm in norms])


def test_what_forgets_reaches_less_far_than_what_remembers() -> None:
    forgets, remembers = made(kind="mlp"), made(kind="lstm")
    assert forgets.examined().memory == 0
    assert remembers.examined().memory > 5


def test_signals_are_those_of_every_layer_in_order() -> None:
    network = made(num_layers=2)
    found = network.examined()
    assert [signal.name for signal in found.signals] == ["words", "stack.cells.0", "stack.cells.1"]
    x = network.embedding.weight[torch.arange(T * B) % V]
    assert found.signals[0].mean == pytest.approx(x.mean().item(), abs=1e-6)
    assert found.signals[0].variance == pytest.approx(x.var(correction=0).item(), rel=1e-4)
    features = network.features()
    (gradient,) = torch.autograd.grad(network.loss(features), features)
    assert found.signals[-1].gradient_variance == pytest.approx(gradient.var(correction=0).item(), rel=1e-4)


def test_nothing_is_moved_and_nothing_is_left_behind() -> None:
    network = made()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    one, two = network.examined(), network.examined()
    assert one == two
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())
