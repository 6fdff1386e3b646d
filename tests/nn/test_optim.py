import math

import pytest
import torch
from torch import nn

from lmkit.errors import UsageError
from lmkit.nn.optim import adamw, parameter_groups, warmup_cosine


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.rnn = nn.LSTM(4, 4)
        self.norm = nn.LayerNorm(4)
        self.decoder = nn.Linear(4, 9)
        self.decoder.weight = self.embedding.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def names(module, group):
    return {name for name, p in module.named_parameters() if any(p is member for member in group["params"])}


def test_matrices_decay_and_the_rest_does_not():
    network = Network()
    decayed, kept = parameter_groups(network, 0.1)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert names(network, decayed) == {"rnn.weight_ih_l0", "rnn.weight_hh_l0"}
    biases = {"rnn.bias_ih_l0", "rnn.bias_hh_l0", "norm.weight", "norm.bias", "decoder.bias"}
    assert names(network, kept) == {"embedding.weight", *biases}


def test_embeddings_decay_if_asked():
    network = Network()
    decayed, _ = parameter_groups(network, 0.1, decay_embeddings=True)
    assert names(network, decayed) == {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "embedding.weight"}


def test_an_empty_group_is_left_out():
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_adamw_equals_the_paper():
    linear = nn.Linear(3, 2).double()
    before, bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    optimizer = adamw(linear, learning_rate=0.01, weight_decay=0.1, betas=(0.8, 0.9))
    w, b = before.clone(), bias.clone()
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in (w, b)]
    for t in range(1, 6):
        for (value, parameter, decay), moment in zip(
            ((w, linear.weight, 0.1), (b, linear.bias, 0.0)), moments, strict=True
        ):
            g = torch.randn_like(value)
            parameter.grad = g.clone()
            moment[0] = 0.8 * moment[0] + 0.2 * g
            moment[1] = 0.9 * moment[1] + 0.1 * g * g
            step = moment[0] / (1 - 0.8**t) / ((moment[1] / (1 - 0.9**t)).sqrt() + 1e-8)
            value -= 0.01 * step + 0.01 * decay * value
        optimizer.step()
    torch.testing.assert_close(linear.weight.detach(), w, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(linear.bias.detach(), b, rtol=1e-10, atol=1e-12)


def test_adamw_finds_a_minimum():
    layer = nn.Linear(4, 1)
    truth, x = torch.randn(1, 4), torch.randn(64, 4)
    optimizer = adamw(layer, learning_rate=0.1, weight_decay=0.0)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * warmup_cosine((step + 1) / 200)
        optimizer.zero_grad()
        (layer(x) - x @ truth.T).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), truth, atol=1e-3, rtol=0)


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
