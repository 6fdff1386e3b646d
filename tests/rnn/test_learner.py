"""One step of training: what it follows, under how much noise, in what numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.config import RnnConfig
from lmkit.errors import ResourceError
from lmkit.nn import precision
from lmkit.rnn.assembly import make_learner, network_settings
from lmkit.rnn.batches import Reader
from lmkit.rnn.learner import Learner, Step
from lmkit.rnn.network import Network
from lmkit.rnn.noise import regularization
from lmkit.rnn.plan import settle

WORDS = 300
IDS = np.random.default_rng(0).integers(3, WORDS, 20_000).astype(np.int32)
SMALL: dict[str, Any] = {"epochs": 1, "hidden_size": 9, "batch_size": 6, "bptt": 5, "regularize": 0.0}


def made(**options: Any) -> tuple[Learner, Reader, RnnConfig]:
    config = RnnConfig(**{**SMALL, "precision": "float32", **options})
    config = settle(config, IDS, WORDS, device=torch.device("cpu"), report=None)
    torch.manual_seed(0)
    network = Network(vocab_size=WORDS, **network_settings(config))
    network.initialize("uniform", torch.full((WORDS,), 1 / WORDS))
    reader = Reader(IDS, vocab_size=WORDS, batch_size=6, bptt=5)
    return make_learner(network, IDS, config), reader, config


def second_step(learner: Learner, reader: Reader) -> tuple[Step, list[torch.Tensor]]:
    """Give the second step, which begins from a state that is not zero, and its gradients; nothing is moved."""
    learner.step(next(reader), number=0, rate=0.0, noise=1.0)
    step = learner.step(next(reader), number=1, rate=0.0, noise=1.0)
    gradients = [p.grad for p in learner.network.parameters() if p.grad is not None]
    return step, [g.to_dense() if g.is_sparse else g for g in gradients]


@pytest.mark.parametrize("head", ["sampled", "full"])
@pytest.mark.parametrize("units", [64, 128, 256])
def test_layers_and_tables_learn_at_the_rate_that_is_asked_for(units: int, head: str) -> None:
    how = {"hidden_size": units, "cell": "sru", "num_layers": 1, "learning_rate": 0.01, "samples": 16}
    parts = made(head=head, **how)[0].optimizers.parts
    assert len(parts) == (2 if head == "sampled" else 1)
    assert {group["lr"] for part in parts for group in part.param_groups} == {0.01}


def test_a_step_is_taken_under_the_noise_of_its_time() -> None:
    learner, reader, config = made(regularize=1.0)
    network = learner.network
    for noise in (0.0, 0.5):
        learner.step(next(reader), number=0, rate=0.0, noise=noise)
        rates = regularization(config, noise)
        assert (network.input_dropout.rate, network.output_dropout.rate) == (rates.input, rates.output)
        assert (network.stack.dropout.rate, network.stack.weight_drop) == (rates.hidden, rates.weight)


@pytest.mark.parametrize("head", ["full", "sampled", "adaptive"])
def test_parts_of_a_batch_add_up_to_its_gradient(head: str) -> None:
    found = [second_step(*made(head=head, samples=40, accumulate=parts)[:2]) for parts in (1, 2, 3)]
    for step, gradients in found[1:]:
        assert step.loss == pytest.approx(found[0][0].loss, rel=1e-5)
        for one, other in zip(found[0][1], gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.fixture
def float16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that float16 is offered on: good enough for the cells that torch writes out there."""
    monkeypatch.setitem(precision.PRECISIONS, "cpu", ("float32", "float16"))


@pytest.mark.usefixtures("float16")
@pytest.mark.parametrize("head", ["full", "sampled", "adaptive"])
def test_float16_follows_the_gradient_of_float32(head: str) -> None:
    exact, half = (
        second_step(
            *made(head=head, samples=40, cell="gru", accumulate=2, activation_penalty=1.0, precision=name)[:2]
        )
        for name in ("float32", "float16")
    )
    assert half[0].loss == pytest.approx(exact[0].loss, rel=1e-3)
    assert half[0].norm == pytest.approx(exact[0].norm, rel=1e-2)
    for one, other in zip(exact[1], half[1], strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.01 * one.abs().max().item())


@pytest.mark.usefixtures("float16")
def test_an_overflow_halves_the_scale_and_moves_nothing() -> None:
    learner, reader, _ = made(cell="gru", precision="float16")
    learner.precision.scale = 2.0**40
    before = [parameter.clone() for parameter in learner.network.parameters()]
    step = learner.step(next(reader), number=0, rate=1.0, noise=0.0)
    assert step.overflowed
    assert not step.finite
    assert math.isfinite(step.loss)
    assert learner.precision.scale == 2.0**39
    assert all(torch.equal(a, b) for a, b in zip(before, learner.network.parameters(), strict=True))


def test_the_numbers_of_a_gradient_are_clipped_where_that_is_asked_for() -> None:
    _, plain = second_step(*made()[:2])
    learner, reader, _ = made(clip_value=1e-3)
    _, clipped = second_step(learner, reader)
    assert max(float(gradient.abs().max()) for gradient in plain) > 1e-3
    for one, other in zip(plain, clipped, strict=True):
        torch.testing.assert_close(other, one.clamp(-1e-3, 1e-3))


@pytest.mark.parametrize("cell", ["mlp", "mogrifier", "lstm", "gru", "sru"])
@pytest.mark.parametrize("head", ["sampled", "full"])
def test_what_a_layer_computed_in_is_not_what_it_gives_out(cell: str, head: str) -> None:
    learner, reader, _ = made(cell=cell, head=head, precision="bfloat16", samples=16)
    learner.step(next(reader), number=0, rate=0.1, noise=1.0)
    assert {array.dtype for array in learner.arrays().values()} == {np.dtype(np.float32)}
    assert learner.step(next(reader), number=1, rate=0.1, noise=1.0).finite


@pytest.mark.parametrize(
    "error", [MemoryError("none"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_is_said_wherever_in_a_step_it_shows(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, reader, _ = made()

    def full(rate: float) -> None:
        raise error

    monkeypatch.setattr(learner.optimizers, "step", full)
    with pytest.raises(
        ResourceError, match=r"6 streams of 5 steps .* give --batch-size 3, or --accumulate 2"
    ):
        learner.step(next(reader), number=0, rate=0.1, noise=1.0)
