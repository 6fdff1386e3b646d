import math

import pytest
import torch
from torch import nn

from lmkit.errors import UsageError
from lmkit.nn.cells import CELLS, make_cell
from lmkit.nn.init import (
    SCHEMES,
    constant,
    forget_gate_bias,
    initialize,
    normal,
    orthogonal,
    scheme,
    uniform,
    xavier,
)

OUT, IN = 300, 200


def empty() -> torch.Tensor:
    return torch.empty(OUT, IN, dtype=torch.float64)


@pytest.mark.parametrize(
    ("fill", "variance"),
    [
        (normal, 0.01**2),
        (lambda w: normal(w, std=0.3), 0.3**2),
        (uniform, 0.1**2 / 3),
        (lambda w: uniform(w, bound=0.5), 0.5**2 / 3),
        (xavier, 2 / (IN + OUT)),
        (orthogonal, 1 / OUT),
    ],
)
def test_mean_and_variance(fill, variance):
    weight = fill(empty())
    assert weight.mean().item() == pytest.approx(0, abs=6 * math.sqrt(variance / weight.numel()))
    assert weight.var().item() == pytest.approx(variance, rel=0.03)


def test_bounds():
    assert uniform(empty(), bound=0.2).abs().max() <= 0.2
    assert xavier(empty()).abs().max() <= math.sqrt(6 / (IN + OUT))


@pytest.mark.parametrize("shape", [(5, 5), (7, 4), (4, 7)])
def test_orthogonal_has_all_singular_values_one(shape):
    weight = orthogonal(torch.empty(shape, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.svdvals(weight), torch.ones(min(shape), dtype=torch.float64))


def test_orthogonal_keeps_the_norm_over_many_steps_where_normal_loses_it():
    h = torch.randn(64, dtype=torch.float64)
    w = orthogonal(torch.empty(64, 64, dtype=torch.float64))
    assert (torch.linalg.matrix_power(w, 200) @ h).norm().item() == pytest.approx(h.norm().item())
    assert (torch.linalg.matrix_power(normal(w), 200) @ h).norm().item() < 1e-6


def test_constant():
    assert constant(empty(), value=2.5).unique().tolist() == [2.5]


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_same_generator_same_weights(name):
    first, again = (scheme(name)(empty(), torch.Generator().manual_seed(5)) for _ in "ab")
    assert torch.equal(first, again)


class Network(nn.Module):
    """One of everything that the rules tell apart."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(8, 50)
        self.embedding = nn.Embedding(50, 8)
        self.lstm = nn.LSTM(8, 8, num_layers=2)
        self.gru = nn.GRU(8, 8)
        self.norm = nn.LayerNorm(8)
        self.decoder.weight = self.embedding.weight


def test_initialize_is_deterministic_and_leaves_the_global_generator_alone():
    networks = [Network(), Network()]
    before = torch.get_rng_state()
    for network in networks:
        initialize(network, "orthogonal", generator=torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    for first, second in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(first, second)
    initialize(networks[1], "orthogonal", generator=torch.Generator().manual_seed(2))
    assert not torch.equal(networks[0].gru.weight_hh_l0, networks[1].gru.weight_hh_l0)


def test_initialize_fills_recurrent_weights_gate_by_gate():
    network = Network()
    initialize(network, "orthogonal")
    for weight, gates in ((network.lstm.weight_hh_l1, 4), (network.gru.weight_hh_l0, 3)):
        for block in weight.detach().chunk(gates):
            torch.testing.assert_close(block @ block.T, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CELLS)
def test_initialize_knows_the_gates_of_every_cell(name):
    cell = make_cell(name, input_size=8, hidden_size=8)
    initialize(cell, "orthogonal")
    for parameter in cell.parameters():
        if parameter.dim() == 2 and parameter.shape[0] % 8 == 0 and parameter.shape[1] == 8:
            for block in parameter.detach().split(8):
                torch.testing.assert_close(block @ block.T, torch.eye(8), atol=1e-5, rtol=0)


def test_initialize_zeroes_biases_and_opens_the_forget_gates():
    network = Network()
    nn.init.normal_(network.norm.bias)
    initialize(network)
    for layer in ("l0", "l1"):
        total = getattr(network.lstm, f"bias_ih_{layer}") + getattr(network.lstm, f"bias_hh_{layer}")
        assert total.tolist() == [0] * 8 + [1] * 8 + [0] * 16  # i f g o
    for bias in (network.gru.bias_ih_l0, network.gru.bias_hh_l0, network.decoder.bias, network.norm.bias):
        assert not bias.any()
    assert network.norm.weight.tolist() == [1] * 8


def test_the_forget_gate_is_the_one_that_keeps_the_cell():
    lstm = nn.LSTM(1, 4)
    initialize(lstm, "constant")
    forget_gate_bias(lstm, 100.0)
    _, (_, cell) = lstm(torch.zeros(50, 1, 1), (torch.zeros(1, 1, 4), torch.ones(1, 1, 4)))
    assert cell.tolist() == [[[1, 1, 1, 1]]]


def test_a_tied_table_is_an_embedding_and_is_filled_once():
    network = Network()
    initialize(network, "constant", embeddings="uniform", generator=torch.Generator().manual_seed(1))
    assert network.decoder.weight is network.embedding.weight
    expected = uniform(torch.empty(50, 8), torch.Generator().manual_seed(1))
    assert torch.equal(network.embedding.weight, expected)


def test_unknown_scheme_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'xavier'"):
        initialize(nn.Linear(1, 1), "xaver")


def test_initialize_takes_only_a_number_for_a_number_of_gates():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gates = nn.Linear(8, 16)
            self.weight_hh = nn.Parameter(torch.zeros(8, 8))

    layer = Gated()
    initialize(layer, "orthogonal")
    torch.testing.assert_close(layer.weight_hh @ layer.weight_hh.T, torch.eye(8), atol=1e-5, rtol=0)
