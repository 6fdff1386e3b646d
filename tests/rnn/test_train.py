"""Training: it learns, repeats itself, stops, ends on time, and never follows a gradient that is no number."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lmkit
from lmkit.config import RnnConfig
from lmkit.errors import DivergedError, Stopped, UsageError
from lmkit.nn.averaging import WeightAverage
from lmkit.nn.cells import CELLS
from lmkit.nn.clip import clip_grad_norm
from lmkit.nn.recurrence import Recurrence
from lmkit.rnn.noise import regularization
from lmkit.rnn.schedule import Schedule
from lmkit.rnn.train import check, train
from lmkit.rnn.trainer import Trainer
from lmkit.rnn.validation import Validation, part_of
from lmkit.text.character import CharTokenizer
from lmkit.text.vocabulary import BOS, Vocabulary

TOKENIZER = CharTokenizer(vocab=Vocabulary.from_tokens("ab"))
CYCLE = np.array([3, 3, 4, 2] * 300, np.int32)  # a a b </s>: every token follows from the two before


def fit(
    ids: np.ndarray = CYCLE, valid: np.ndarray | None = None, **options: Any
) -> tuple[lmkit.RnnModel, list[Any]]:
    points: list[Any] = []
    defaults = {
        "hidden_size": 16,
        "num_layers": 1,
        "dropout": 0.0,
        "device": "cpu",
        "threads": 1,
        "learning_rate": 0.02,
    }
    config = RnnConfig(**{**defaults, **options})
    return train(ids, tokenizer=TOKENIZER, config=config, valid=valid, log=points.append), points


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_recurrent_cell_learns_what_needs_a_memory_of_two_tokens(cell: str) -> None:
    model, _ = fit(cell=cell, epochs=40)
    assert lmkit.perplexity(model, "aab\n" * 20).perplexity < 1.1


def test_without_the_recurrence_only_the_last_token_is_known() -> None:
    model, _ = fit(cell="mlp", epochs=40)
    best = 2 ** (2 / 4)  # after a: a or b, one bit each time
    assert lmkit.perplexity(model, "aab\n" * 20).perplexity == pytest.approx(best, rel=0.03)


class Leaky(Recurrence):
    """The example of `lmkit.nn.recurrence`."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.enter = nn.Linear(self.input_size, self.hidden_size)

    def forward(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        (h,), after = state, []
        for step in torch.tanh(self.enter(x)):
            h = 0.9 * h + 0.1 * step
            after.append(h)
        return torch.stack(after), (h,)


def test_a_cell_of_ones_own_is_trained_and_saved_as_the_others_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="unknown cell 'slow'"):
        lmkit.train("aab\n" * 300, backend="rnn", cell="slow", epochs=1, device="cpu")
    monkeypatch.setitem(CELLS, "slow", Leaky)
    model = lmkit.train(
        "aab\n" * 300,
        backend="rnn",
        tokenizer="char",
        cell="slow",
        epochs=4,
        hidden_size=8,
        device="cpu",
        threads=1,
        output=tmp_path / "m",
    )
    assert "cell:slow" in model.signature()
    ids = model.tokenizer.encode_lines(["aab"] * 9)
    assert np.array_equal(lmkit.load(tmp_path / "m").score_ids(ids)[0], model.score_ids(ids)[0])
    stepped, state = [], model.start()
    for token in ids:
        stepped.append(model.next_logprobs(state)[0, token])
        state = model.step(state, np.array([token]))
    np.testing.assert_allclose(stepped, model.score_ids(ids)[0], atol=1e-4)


def test_the_same_seed_gives_the_same_weights() -> None:
    one, other, third = (fit(epochs=3, seed=seed)[0].arrays() for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert any(not np.array_equal(one[name], third[name]) for name in one)


def test_a_budget_ends_on_time() -> None:
    began = time.monotonic()
    _, points = fit(budget="4s")  # half of which starting may take, on a machine that is shared
    assert 3.9 < time.monotonic() - began < 6
    assert points[-1]["progress"] == 1.0
    assert 10 <= len(points) <= 20


def test_each_step_is_taken_under_the_noise_of_its_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[tuple[float, float]] = []
    step, whole = Trainer._step, regularization(RnnConfig(regularize=1.0)).output

    def watched(trainer: Trainer) -> int:
        before = trainer.reader.position
        tokens = step(trainer)
        shares.append((before, trainer.network.output_dropout.rate / whole))
        return tokens

    monkeypatch.setattr(Trainer, "_step", watched)
    fit(epochs=16, dropout=None, regularize=1.0)
    assert all(share == pytest.approx(1.0) for passes, share in shares if passes > 8.5)
    assert all(share < 0.6 for passes, share in shares if passes < 4)
    assert any(passes > 8.5 for passes, _ in shares)


def test_the_first_steps_are_small_however_much_of_the_time_they_take() -> None:
    schedule = Schedule(budget=math.inf, total_steps=math.inf)
    shares = []
    for _ in range(30):
        shares.append(schedule.warmth)
        schedule.advance()
    assert shares[0] == 1 / 20
    assert shares == sorted(shares)
    assert shares[19:] == [1.0] * 11
    assert Schedule(budget=math.inf, total_steps=8).warmth == 1.0  # of a few steps, none is given away


def test_the_points_of_the_learning_curve() -> None:
    _, points = fit(epochs=4, grad_clip=1e-4, valid=CYCLE[:200])
    assert points[-1]["epoch"] == pytest.approx(4, abs=0.2)
    assert {
        "step",
        "seconds",
        "train_loss",
        "valid_loss",
        "learning_rate",
        "gradient_norm",
        "clipped",
        "gradient_inside",
    } <= points[0].keys()
    assert all(0 <= point["gradient_inside"] <= 1 for point in points)
    assert all(point["clipped"] == 1.0 for point in points)
    assert points[-1]["learning_rate"] < points[len(points) // 2]["learning_rate"]


def test_it_ends_early_when_validation_no_longer_falls_and_keeps_the_best_weights() -> None:
    rng = np.random.default_rng(0)
    noise = np.append(rng.integers(3, 5, 500), 2).astype(np.int32)
    other = np.append(rng.integers(3, 5, 500), 2).astype(np.int32)
    model, points = fit(noise, other, epochs=400, patience=3, hidden_size=48, bptt=25)
    assert points[-1]["epoch"] < 300
    assert (
        points[-1]["learning_rate"] < 0.1 * points[1]["learning_rate"]
    )  # it came to rest, it did not break off
    best = min(point["valid_loss"] for point in points)
    measured = -model.score_ids(other)[0].astype(float).mean()
    assert measured == pytest.approx(best, abs=0.05)  # measured as one stream here, as several there
    assert points[-1]["train_loss"] < best


def test_means_of_weights_begin_anew_at_the_best_ones() -> None:
    rng = np.random.default_rng(0)
    noise, other = (np.append(rng.integers(3, 5, 500), 2).astype(np.int32) for _ in range(2))
    how = {"epochs": 400, "patience": 3, "hidden_size": 48, "bptt": 25, "averaging": "mean"}
    model, points = fit(noise, other, **how)
    best = min(point["valid_loss"] for point in points)
    cooled = [point["valid_loss"] for point in points if point["learning_rate"] < points[1]["learning_rate"]]
    assert cooled[-1] < best + 0.1  # from the best weights on, and not from those that had learnt by heart
    assert -model.score_ids(other)[0].astype(float).mean() == pytest.approx(best, abs=0.05)


def test_a_mean_that_is_behind_the_weights_is_not_taken() -> None:
    """Of a short training the mean holds too much of the beginning."""
    ends = {}
    for averaging in ("off", "mean"):
        model, points = fit(CYCLE, CYCLE, averaging=averaging, epochs=5, bptt=10, patience=0)
        ends[averaging] = points[-1]["valid_loss"], model.arrays()
    middle = [point["valid_loss"] for point in points[:-1]]
    assert min(middle) > ends["off"][0]  # of means
    assert ends["mean"][0] == ends["off"][0]
    assert all(np.array_equal(ends["mean"][1][name], array) for name, array in ends["off"][1].items())


def test_the_best_mean_is_measured_and_all_of_them_at_each_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {0.5: 1.0, 2.0: 2.0, 8.0: 3.0, None: 4.0}
    measured: list[list[float | None]] = []
    place: list[float | None] = [None]
    in_place, measure = WeightAverage.in_place, Validation.measure

    @contextmanager
    def watched(average: WeightAverage) -> Iterator[None]:
        with in_place(average):
            place.append(average.emphasis)
            yield
            place.pop()

    def loss(validation: Validation) -> float:
        measured[-1].append(place[-1])
        return losses[place[-1]]

    def begun(validation: Validation, states: Any) -> list[float]:
        measured.append([])
        return measure(validation, states)

    monkeypatch.setattr(WeightAverage, "in_place", watched)
    monkeypatch.setattr(Validation, "loss", loss)
    monkeypatch.setattr(Validation, "measure", begun)
    monkeypatch.setattr("lmkit.rnn.trainer._AVERAGED_EVERY", 1)
    _, points = fit(CYCLE, CYCLE, averaging="mean", epochs=20, bptt=10, patience=0)
    assert measured[:5] == [[2.0]] * 4 + [[2.0, 0.5, 8.0]]
    quarter = [*([[0.5]] * 4), [0.5, 2.0, 8.0]]
    assert measured[5:] == [*quarter, *quarter, *quarter[:-1], [0.5, 2.0, 8.0, None]]
    assert [point["valid_loss"] for point in points] == [2.0] * 4 + [1.0] * 16


def test_no_mean_is_measured_twice_however_short_the_training() -> None:
    _, points = fit(CYCLE, CYCLE, averaging="mean", epochs=5, bptt=10, patience=5)
    losses = [point["valid_loss"] for point in points]
    assert len(losses) == len(set(losses)) == 20
    assert points[-1]["epoch"] == pytest.approx(5, abs=0.1)


def test_before_a_training_comes_to_rest_all_means_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    measure = Validation.measure

    def counted(validation: Validation, states: list[Any]) -> list[float]:
        measured.append(len(states))
        return measure(validation, states)

    monkeypatch.setattr(Validation, "loss", lambda validation: 1.0)
    monkeypatch.setattr(Validation, "measure", counted)
    monkeypatch.setattr("lmkit.rnn.trainer._AVERAGED_EVERY", 1)
    fit(CYCLE, CYCLE, averaging="mean", epochs=20, bptt=10, patience=2)
    assert measured[:3] == [1, 1, 3]  # the first was the best


def test_without_validation_a_mean_of_enough_weights_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(averaging: str) -> np.ndarray:
        return fit(averaging=averaging, epochs=5, bptt=10)[0].arrays()["output.bias"]

    plain = weights("off")
    assert np.array_equal(weights("mean"), plain)  # of a few steps
    monkeypatch.setattr("lmkit.rnn.trainer._AVERAGED_EVERY", 1)
    assert not np.allclose(weights("mean"), plain)


def test_plain_descent_is_not_undone_by_its_weight_decay() -> None:
    usual, free = (
        fit(optimizer="sgd", learning_rate=20.0, epochs=5, **how)[0] for how in ({}, {"weight_decay": 0.0})
    )
    for name, weight in free.network.named_parameters():
        assert torch.allclose(dict(usual.network.named_parameters())[name], weight, rtol=0.02, atol=1e-3)


def test_the_last_weights_are_kept_without_validation() -> None:
    model, points = fit(epochs=2)
    assert "valid_loss" not in points[0]
    assert not model.network.training


def test_a_rate_that_diverges_is_an_error_with_advice() -> None:
    with pytest.raises(DivergedError, match="--learning-rate"):
        fit(epochs=500, learning_rate=1e30, grad_clip=0.0, cell="rnn", activation="relu")


def test_what_is_said_of_a_training_that_diverges_can_be_read() -> None:
    lines: list[str] = []
    config = RnnConfig(
        hidden_size=16, epochs=10, learning_rate=1000.0, grad_clip=0.0, device="cpu", threads=1
    )
    with pytest.raises(DivergedError):
        train(CYCLE, tokenizer=TOKENIZER, config=config, report=lines.append)
    assert any(re.search(r"perplexity \de\+\d+ in training", line) for line in lines)
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize("valid", [None, CYCLE[:200]], ids=["alone", "with validation"])
@pytest.mark.parametrize("epochs", [0.001, 10], ids=["one step", "many steps"])
def test_weights_worse_than_guessing_at_their_own_text_are_refused(
    epochs: float, valid: np.ndarray | None
) -> None:
    with pytest.raises(DivergedError, match=r"trained on.*--learning-rate") as error:
        fit(epochs=epochs, learning_rate=1e9, valid=valid)
    assert error.value.exit_code == 6


def test_a_validation_text_unlike_the_training_text_is_no_divergence() -> None:
    only_a, only_b = np.tile([3, 3, 3, 2], 300), np.tile([4, 4, 4, 2], 50)
    model, points = fit(only_a, only_b, epochs=10)
    guessing = np.log(len(TOKENIZER.vocab))
    assert min(point["valid_loss"] for point in points) > guessing + 1
    assert -model.score_ids(only_a)[0].mean() < guessing


def test_a_validation_that_is_never_finite_is_refused() -> None:
    impossible = CYCLE[:200].copy()
    impossible[100] = BOS  # is never predicted
    with pytest.raises(DivergedError, match="validation"):
        fit(epochs=4, valid=impossible)


def test_a_training_without_a_finite_step_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmkit.rnn.learner.clip_grad_norm", lambda *_: torch.nan)
    with pytest.raises(DivergedError, match=r"not been finite.*lower rates"):
        fit(epochs=40)


def test_a_non_finite_gradient_never_reaches_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def sometimes_nan(parameters: list[torch.Tensor], max_norm: float) -> float:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            parameters[0].grad.fill_(torch.nan)  # type: ignore[union-attr]
        return clip_grad_norm(parameters, max_norm)

    monkeypatch.setattr("lmkit.rnn.learner.clip_grad_norm", sometimes_nan)
    model, points = fit(epochs=10)
    assert all(np.isfinite(array).all() for array in model.arrays().values())
    assert all(point["train_loss"] is None or np.isfinite(point["train_loss"]) for point in points)


def test_steps_that_were_left_out_are_counted_when_training_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0

    def nan_for_a_while(parameters: list[torch.Tensor], max_norm: float) -> float:
        nonlocal calls
        calls += 1
        return torch.nan if 20 <= calls < 25 else clip_grad_norm(parameters, max_norm)

    monkeypatch.setattr("lmkit.rnn.learner.clip_grad_norm", nan_for_a_while)
    _, points = fit(epochs=40)
    assert calls >= 40
    assert sum(point["skipped"] for point in points) == 5


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_the_shortest_texts_can_be_trained_on(length: int) -> None:
    ids = np.append(np.full(length - 1, 3), 2).astype(np.int32)
    model, _ = fit(ids, epochs=2)
    assert np.isfinite(model.score(["aa"])).all()


def test_what_cannot_be_built_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="lstm"):
        fit(cell="lstm", activation="relu", epochs=1)


def test_unknown_words_have_a_probability_that_was_learnt() -> None:
    text = "".join(f"the fox{i} saw the owl\n" for i in range(200))
    model = lmkit.train(
        text,
        backend="rnn",
        tokenizer="word",
        holdout=0,
        hidden_size=16,
        epochs=20,
        bptt=8,
        dropout=0.0,
        learning_rate=0.02,
        threads=1,
        device="cpu",
    )
    logprobs = model.score(["the zebra saw the owl"])
    assert np.exp(logprobs[1]) > 0.1  # half of the words after "the" at a line's start were hidden


def test_validation_is_measured_on_one_part_of_the_text_spread_over_all_of_it() -> None:
    ids = np.arange(3, 100_003)
    part = part_of(ids, 4000)
    assert part.shape == (251, 16)
    assert part[0].tolist() == [2, *(ids[i * 6250 - 1] for i in range(1, 16))]
    easy_then_hard = np.append(np.tile([3, 3, 4, 2], 4000), np.random.default_rng(0).integers(3, 5, 16_000))
    _, points = fit(np.tile(CYCLE, 4), easy_then_hard.astype(np.int32), epochs=5)
    assert len({point["valid_tokens"] for point in points}) == 1


def test_the_shortest_training_still_takes_a_step_at_a_rate() -> None:
    _, points = fit(epochs=0.001)
    assert points[-1]["step"] == 1
    assert points[-1]["learning_rate"] > 0


def test_a_budget_that_is_over_before_the_first_step_still_takes_one() -> None:
    said: list[str] = []
    points: list[Any] = []
    config = RnnConfig(hidden_size=4, budget="0.001s", device="cpu", threads=1)
    train(CYCLE, tokenizer=TOKENIZER, config=config, valid=CYCLE[:200], report=said.append, log=points.append)
    assert any("before the first step" in line and "--budget" in line for line in said)
    assert [point["step"] for point in points] == [1]
    assert points[0]["learning_rate"] > 0


@pytest.mark.parametrize("cell", ["lstm", "auto"])
def test_layers_that_the_device_cannot_read_in_a_precision_are_refused(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: Any) -> None:
        raise RuntimeError("no primitive")

    monkeypatch.setattr(CELLS["lstm"], "forward", unable)
    with pytest.raises(UsageError, match="lstm in bfloat16"):
        fit(cell=cell, precision="bfloat16", epochs=0.001)


def test_training_leaves_the_randomness_of_the_caller_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit(epochs=1)
    check(RnnConfig(cell="lstm", weight_drop=0.3, device="cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_an_interrupted_training_gives_the_model_it_had_come_to(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Trainer._step

    def interrupted(self: Trainer, *arguments: Any) -> tuple[float, float]:
        if self.schedule.step == 30:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    with pytest.raises(Stopped) as stop:
        fit(epochs=50, valid=CYCLE[:200])
    assert stop.value.exit_code == 130
    assert isinstance(stop.value.model, lmkit.RnnModel)
    assert np.isfinite(stop.value.model.score(["aab"])).all()


def test_options_are_checked_before_any_work() -> None:
    for options in (
        {"budget": "soon"},
        {"cell": "gru", "activation": "relu"},
        {"cell": "sru", "weight_drop": 0.5},
        {"device": "tpu"},
        {"device": "cpu", "precision": "float16"},
    ):
        with pytest.raises(UsageError):
            check(RnnConfig(**options))  # type: ignore[arg-type]


def test_where_no_text_can_have_an_unknown_token_none_is_learnt() -> None:
    text = "".join(chr(0x21 + i) + "ab\n" for i in range(60))  # each first byte is met once
    network = lmkit.train(
        text, backend="rnn", tokenizer="byte", hidden_size=8, epochs=20, holdout=0, device="cpu"
    )
    assert network.tokenizer.unk == "none"
    start = np.exp(network.next_logprobs(network.start()))[0]
    assert start[0] < 0.01  # hidden at every other reading, they would be half of all


def test_an_average_that_could_never_begin_is_refused() -> None:
    for options in ({}, {"patience": 0}):
        with pytest.raises(UsageError, match="asgd"):
            fit(averaging="asgd", **options)


@pytest.mark.parametrize(
    ("options", "limited"), [({}, True), ({"budget": "2s"}, True), ({"epochs": 1}, False)]
)
def test_a_long_validation_is_left_out_wherever_there_is_a_time(
    options: dict[str, Any], limited: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lmkit.RnnModel, "seconds_per_token", lambda self, ids: 1e3)
    monkeypatch.setattr("lmkit.rnn.schedule.DEFAULT_STEPS", 20)
    monkeypatch.setattr("lmkit.rnn.schedule.DEFAULT_EPOCHS", 1.0)
    (tmp_path / "valid.txt").write_text("abba\n" * 9)
    said: list[str] = []
    lmkit.train(
        "abab\n" * 40,
        valid=tmp_path / "valid.txt",
        backend="rnn",
        tokenizer="char",
        hidden_size=4,
        device="cpu",
        report=said.append,
        **options,
    )
    assert any("the whole validation text is not measured" in line for line in said) == limited
    assert any(line.startswith("validation perplexity") for line in said) != limited
