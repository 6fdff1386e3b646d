import math

import pytest
import torch
from torch import nn

from lmkit.errors import UsageError
from lmkit.nn.optim import OPTIMIZERS, Optimizers, make_optimizers, warmup_cosine
from lmkit.nn.row_rmsprop import RowRmsProp
from tests.nn.conftest import Network, names


class Words(nn.Module):
    """A model of whose parameters two have sparse gradients."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(12, 4, sparse=True)
        self.rnn = nn.GRU(4, 4)
        self.bias = nn.Parameter(torch.zeros(12))

    def rows(self) -> list[nn.Parameter]:
        return [self.table.weight, self.bias]


def follow(module: nn.Module, optimizers: Optimizers, seeds: range, multiplier: float = 1.0) -> None:
    """Some steps along gradients that a seed says; those of a `Words`'s rows are sparse."""
    rows = {id(parameter) for parameter in (module.rows() if isinstance(module, Words) else ())}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        optimizers.zero_grad()
        for parameter in module.parameters():
            gradient = torch.randn(parameter.shape, generator=generator)
            if id(parameter) in rows:
                ids = torch.randperm(12, generator=generator)[:5].sort().values
                gradient = torch.sparse_coo_tensor(
                    ids[None], gradient[ids], parameter.shape, is_coalesced=True, check_invariants=True
                )
            parameter.grad = gradient
        optimizers.step(multiplier)


def make(kind: str, module: nn.Module, **options) -> Optimizers:
    return make_optimizers(kind, module, sparse=module.rows() if isinstance(module, Words) else (), **options)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


each_kind = pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
each_model = pytest.mark.parametrize("model", [lambda: nn.Linear(3, 2), Words], ids=["dense", "sparse"])


def test_adamw_equals_the_paper():
    linear = nn.Linear(3, 2).double()
    before, bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    optimizers = make_optimizers("adamw", linear, learning_rate=0.01, weight_decay=0.1)
    w, b = before.clone(), bias.clone()
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in (w, b)]
    for t in range(1, 6):
        for (value, parameter, decay), moment in zip(
            ((w, linear.weight, 0.1), (b, linear.bias, 0.0)), moments, strict=True
        ):
            g = torch.randn_like(value)
            parameter.grad = g.clone()
            moment[0] = 0.9 * moment[0] + 0.1 * g
            moment[1] = 0.99 * moment[1] + 0.01 * g * g
            step = moment[0] / (1 - 0.9**t) / ((moment[1] / (1 - 0.99**t)).sqrt() + 1e-8)
            value -= 0.01 * step + 0.01 * decay * value
        optimizers.step()
    torch.testing.assert_close(linear.weight.detach(), w, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(linear.bias.detach(), b, rtol=1e-10, atol=1e-12)


def test_sgd_goes_down_the_gradient_and_decays_matrices():
    linear = nn.Linear(3, 2).double()
    w, b = weights(linear)
    optimizers = make_optimizers("sgd", linear, learning_rate=0.5, weight_decay=0.1)
    for _ in range(4):
        for parameter in linear.parameters():
            parameter.grad = torch.randn_like(parameter)
        w = w - 0.5 * (linear.weight.grad + 0.1 * w)
        b = b - 0.5 * linear.bias.grad
        optimizers.step()
    torch.testing.assert_close(weights(linear), [w, b])


@each_kind
def test_finds_a_minimum(kind):
    layer = nn.Linear(4, 1)
    truth, x = torch.randn(1, 4), torch.randn(64, 4)
    optimizers = make_optimizers(kind, layer, learning_rate=0.1, weight_decay=0.0)
    for step in range(200):
        optimizers.zero_grad()
        (layer(x) - x @ truth.T).square().mean().backward()
        optimizers.step(warmup_cosine((step + 1) / 200))
    torch.testing.assert_close(layer.weight.detach(), truth, atol=1e-3, rtol=0)


def test_sparse_parameters_have_an_optimizer_of_their_own_and_do_not_decay():
    words = Words()
    dense, rows = make("adamw", words, weight_decay=0.1).parts
    assert isinstance(rows, RowRmsProp)
    assert [id(p) for group in rows.param_groups for p in group["params"]] == [id(p) for p in words.rows()]
    assert sum(len(group["params"]) for group in dense.param_groups) == 4
    assert not any(names(words, group) & {"table.weight", "bias"} for group in dense.param_groups)


def test_one_group_of_a_plain_descent_is_for_the_sparse_parameters():
    words = Words()
    (part,) = make("sgd", words, weight_decay=0.1).parts
    found = {name: group["weight_decay"] for group in part.param_groups for name in names(words, group)}
    assert {name for name, decay in found.items() if decay} == {"rnn.weight_ih_l0", "rnn.weight_hh_l0"}
    assert set(found) == {name for name, _ in words.named_parameters()}
    assert sum(len(group["params"]) for group in part.param_groups) == len(found)


@each_kind
def test_only_the_rows_with_a_gradient_move(kind):
    words = Words()
    optimizers = make(kind, words, learning_rate=0.1, weight_decay=0.1)
    before = words.table.weight.detach().clone()
    optimizers.zero_grad()
    words.table(torch.tensor([3, 7])).sum().backward()
    words.table.weight.grad = words.table.weight.grad.coalesce()
    optimizers.step()
    moved = (words.table.weight != before).any(dim=1)
    assert moved.nonzero()[:, 0].tolist() == [3, 7]
    torch.testing.assert_close(words.table.weight[3], before[3] - 0.1)


@each_kind
def test_a_module_may_be_nothing_but_sparse_parameters(kind):
    words = nn.Embedding(12, 4, sparse=True)
    optimizers = make_optimizers(kind, words, learning_rate=0.5, sparse=[words.weight])
    before = words.weight.detach().clone()
    words(torch.tensor([3])).sum().backward()
    words.weight.grad = words.weight.grad.coalesce()
    optimizers.step()
    torch.testing.assert_close(words.weight[3], before[3] - 0.5)
    assert optimizers.rate == 0.5


@each_kind
def test_frozen_parameters_are_left_alone(kind):
    network = Network()
    optimizers = make_optimizers(kind, network)
    held = {id(p) for part in optimizers.parts for group in part.param_groups for p in group["params"]}
    assert held == {id(p) for p in network.parameters() if p.requires_grad}


@each_kind
@each_model
def test_what_is_remembered_goes_on_bit_for_bit(kind, model):
    straight = model()
    broken = model()
    broken.load_state_dict(straight.state_dict())
    options = {"learning_rate": 0.05, "weight_decay": 0.1}
    optimizers = make(kind, straight, **options)
    follow(straight, optimizers, range(5), 0.7)
    first = make(kind, broken, **options)
    follow(broken, first, range(3), 0.7)
    kept = {name: tensor.clone() for name, tensor in first.state_tensors().items()}
    second = make(kind, broken, **options)
    second.load_tensors(kept)
    for tensor in kept.values():
        tensor.fill_(7)  # what was given is not what is gone on with
    follow(broken, second, range(3, 5), 0.7)
    for one, other in zip(weights(straight), weights(broken), strict=True):
        assert torch.equal(one, other)
    found, expected = second.state_tensors(), optimizers.state_tensors()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert bool(expected) == (kind == "adamw")


@each_kind
@each_model
def test_before_the_first_step_nothing_is_remembered(kind, model):
    one, other = model(), model()
    other.load_state_dict(one.state_dict())
    asked, plain = make(kind, one), make(kind, other)
    assert asked.state_tensors() == {}
    asked.load_tensors({})
    follow(one, asked, range(3))
    follow(other, plain, range(3))
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_what_was_remembered_is_replaced():
    linear = nn.Linear(3, 2)
    optimizers = make("adamw", linear)
    follow(linear, optimizers, range(2))
    optimizers.load_tensors({})
    assert optimizers.state_tensors() == {}


@each_kind
@each_model
def test_every_rate_is_its_peak_times_the_multiplier(kind, model):
    module = model()
    optimizers = make(kind, module, learning_rate=0.4)
    groups = [group for part in optimizers.parts for group in part.param_groups]
    assert [group["lr"] for group in groups] == [0.4] * len(groups)
    for multiplier in (0.5, 0.25, 1.0):  # of the peak, not of the rate before
        follow(module, optimizers, range(1), multiplier)
        assert [group["lr"] for group in groups] == pytest.approx([0.4 * multiplier] * len(groups))
        assert optimizers.rate == pytest.approx(0.4 * multiplier)


def test_several_optimizers_keep_their_own_peaks():
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    optimizers = Optimizers(
        torch.optim.SGD(first.parameters(), lr=1.0), torch.optim.SGD(second.parameters(), lr=0.1)
    )
    before = weights(first) + weights(second)
    for layer in (first, second):
        layer.weight.grad = torch.ones(2, 2)
    optimizers.step(0.5)
    torch.testing.assert_close(weights(first) + weights(second), [before[0] - 0.5, before[1] - 0.05])
    assert optimizers.rate == 0.5


@each_kind
@each_model
def test_at_a_rate_of_zero_nothing_moves(kind, model):
    module = model()
    before = weights(module)
    follow(module, make(kind, module), range(2), 0.0)
    assert all(torch.equal(a, b) for a, b in zip(weights(module), before, strict=True))


def test_zero_grad_forgets_dense_and_sparse_gradients():
    words = Words()
    optimizers = make("adamw", words)
    follow(words, optimizers, range(1))
    optimizers.zero_grad()
    assert all(parameter.grad is None for parameter in words.parameters())


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(UsageError, match="did you mean 'adamw'"):
        make_optimizers("adam", nn.Linear(2, 2))


def test_warmup_rises_in_a_line_then_falls_along_a_cosine():
    assert [warmup_cosine(p, warmup=0.2) for p in (0.0, 0.1, 0.2)] == pytest.approx([0, 0.5, 1])
    assert [warmup_cosine(p, warmup=0.2) for p in (0.4, 0.6, 1.0)] == pytest.approx(
        [0.5 * (1 + math.sqrt(0.5)), 0.5, 0]
    )
    values = [warmup_cosine(p / 1000) for p in range(1001)]
    peak = values.index(max(values))
    assert peak == 30
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


def test_floor_and_the_ends():
    assert warmup_cosine(1.0, floor=0.1) == pytest.approx(0.1)
    assert warmup_cosine(7.5, floor=0.1) == pytest.approx(0.1)  # a budget overrun
    assert warmup_cosine(-1.0) == 0
    assert warmup_cosine(0.0, warmup=0.0) == 1
    assert warmup_cosine(0.5, floor=1.0) == 1


@pytest.mark.parametrize("options", [{"warmup": 1.0}, {"warmup": -0.1}, {"floor": -0.1}, {"floor": 1.1}])
def test_shares_outside_their_range_are_refused(options):
    with pytest.raises(UsageError, match="warmup"):
        warmup_cosine(0.5, **options)
