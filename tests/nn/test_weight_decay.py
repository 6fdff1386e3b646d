"""Soft decay, coupled and decoupled, and the hard form: all shrink weights, and lambda = 0 does nothing."""

import math

import pytest
import torch
from torch import nn

from lmkit.nn.norms import global_norm
from lmkit.nn.optim import make_optimizers
from lmkit.nn.weight_decay import parameter_groups, project
from tests.nn.conftest import Network, names


def test_matrices_decay_and_the_rest_does_not():
    network = Network()
    decayed, kept = parameter_groups(network, 0.1)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert names(network, decayed) == {"rnn.weight_ih_l0", "rnn.weight_hh_l0"}
    biases = {"rnn.bias_ih_l0", "rnn.bias_hh_l0", "norm.weight", "norm.bias", "decoder.bias"}
    assert names(network, kept) == {"embedding.weight", *biases}


def test_an_empty_group_is_left_out():
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_projection_brings_large_matrices_to_the_ball_and_keeps_their_direction():
    network = nn.LSTM(4, 5).double()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    project(network, 0.5)
    for name, value in network.named_parameters():
        if "weight" in name:
            assert global_norm([value.detach()]) == pytest.approx(0.5, rel=1e-12)
            torch.testing.assert_close(value.detach(), before[name] * (0.5 / before[name].norm()))


def test_projection_leaves_small_matrices_and_all_biases():
    module = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 3))
    nn.init.constant_(module[0].weight, 0.1)  # norm 0.3
    nn.init.constant_(module[2].weight, 2.0)  # norm 6
    for name, value in module.named_parameters():
        if "bias" in name or name == "1.weight":
            nn.init.constant_(value, 100.0)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    project(module, 1.0)
    changed = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"2.weight"}
    torch.testing.assert_close(module[2].weight.detach(), torch.full((3, 3), 1 / 3))


def test_each_matrix_has_a_ball_of_its_own():
    module = nn.Sequential(*(nn.Linear(1, 1) for _ in range(3)))
    for layer, value in zip(module, (3.0, -2.0, 0.5), strict=True):
        nn.init.constant_(layer.weight, value)
    project(module, 1.0)
    assert [layer.weight.item() for layer in module] == [1, -1, 0.5]


def test_projecting_twice_is_projecting_once():
    module = nn.LSTM(4, 5).double()
    project(module, 0.5)
    once = [parameter.detach().clone() for parameter in module.parameters()]
    project(module, 0.5)
    torch.testing.assert_close([parameter.detach() for parameter in module.parameters()], once)


def test_projection_works_in_place_and_leaves_gradients():
    layer = nn.Linear(2, 2)
    layer.weight.grad = torch.ones(2, 2)
    place = layer.weight.data_ptr()
    project(layer, 0.1)
    assert layer.weight.data_ptr() == place
    assert layer.weight.requires_grad
    assert torch.equal(layer.weight.grad, torch.ones(2, 2))


def trained(kind: str, weight_decay: float, gradients: bool = True) -> nn.Module:
    """Three steps along fixed gradients, or along none."""
    torch.manual_seed(1)
    module = nn.Linear(3, 2).double()
    optimizers = make_optimizers(kind, module, learning_rate=0.1, weight_decay=weight_decay)
    for step in range(3):
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 0.1 * (step + 1) if gradients else 0.0)
        optimizers.step()
    return module


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_decay_alone_shrinks_matrices_by_a_share_a_step_and_leaves_biases(kind):
    torch.manual_seed(1)
    before = nn.Linear(3, 2).double()
    after = trained(kind, 0.5, gradients=False)
    torch.testing.assert_close(after.weight, before.weight * (1 - 0.1 * 0.5) ** 3, rtol=1e-9, atol=0)
    assert torch.equal(after.bias, before.bias)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_decay_makes_what_is_learnt_shorter_and_none_of_it_changes_nothing(kind):
    none, some = (trained(kind, strength) for strength in (0.0, 0.5))
    torch.manual_seed(1)
    plain = nn.Linear(3, 2).double()  # by an optimiser that knows no decay
    parameters = plain.parameters()
    optimizer = (
        torch.optim.SGD(parameters, lr=0.1)
        if kind == "sgd"
        else torch.optim.Adam(parameters, lr=0.1, betas=(0.9, 0.99))
    )
    for step in range(3):
        for parameter in plain.parameters():
            parameter.grad = torch.full_like(parameter, 0.1 * (step + 1))
        optimizer.step()
    torch.testing.assert_close(none.weight, plain.weight, rtol=1e-9, atol=1e-12)
    assert global_norm([some.weight]) < global_norm([none.weight])
    assert torch.equal(some.bias, none.bias)


def test_for_plain_descent_decay_is_the_gradient_of_half_the_squared_norm():
    module, twin = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    twin.load_state_dict(module.state_dict())
    x, strength = torch.randn(5, 3, dtype=torch.float64), 0.3
    optimizers = make_optimizers("sgd", module, learning_rate=0.1, weight_decay=strength)
    module(x).square().mean().backward()
    optimizers.step()
    (twin(x).square().mean() + strength / 2 * twin.weight.square().sum()).backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(module.weight, twin.weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(module.bias, twin.bias, rtol=1e-12, atol=1e-12)


def test_a_ball_without_end_holds_everything():
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    project(module, math.inf)
    assert torch.equal(module.weight, before)
