"""Training goes on from a checkpoint as if it had never stopped, whatever moment it stopped at."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmkit
from lmkit.bundle import read_config
from lmkit.checkpoints import Checkpoints
from lmkit.errors import DivergedError, ModelFormatError, ResourceError, Stopped, UsageError
from lmkit.nn.clip import clip_grad_norm
from lmkit.nn.precision import Precision
from lmkit.rnn.trainer import Trainer
from lmkit.rnn.validation import Validation
from tests.rnn.conftest import TEXT

OPTIONS: dict[str, Any] = {
    "backend": "rnn",
    "hidden_size": 16,
    "epochs": 12,
    "bptt": 10,
    "batch_size": 4,
    "device": "cpu",
    "threads": 1,
    "checkpoint": "0.001s",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "sampled": {"head": "sampled", "samples": 20},
    "asgd": {"optimizer": "sgd", "learning_rate": 1.0, "averaging": "asgd", "patience": 1},
    "mean": {"averaging": "mean", "cell": "gru", "vary_bptt": True, "weight_drop": 0.3},
    "taught": {"taught": True},
    "rescued": {"learning_rate": 5.0, "grad_clip": 0.0, "averaging": "mean"},
}
RESCUE = "back to the last good weights"


def train(texts: Path, output: Path, *, taught: bool = False, **options: Any) -> lmkit.RnnModel:
    if taught:
        options["teacher"] = lmkit.train(texts / "train.txt", order=3, holdout=0)
    model = lmkit.train(
        texts / "train.txt", valid=texts / "valid.txt", output=output, **{**OPTIONS, **options}
    )
    assert isinstance(model, lmkit.RnnModel)
    return model


def same(one: lmkit.LanguageModel, other: lmkit.LanguageModel) -> bool:
    assert isinstance(one, lmkit.RnnModel)
    assert isinstance(other, lmkit.RnnModel)
    ours, theirs = one.arrays(), other.arrays()
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def points(folder: Path) -> list[dict[str, Any]]:
    """Give the learning curve of a model."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [point for point in found if "epoch" in point]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_that_breaks_off_anywhere_ends_with_the_same_weights(
    texts: Path, tmp_path: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = VARIANTS[variant]
    monkeypatch.setattr("lmkit.rnn.trainer._AVERAGED_EVERY", 3)
    said: list[str] = []
    whole = train(texts, tmp_path / "whole", report=said.append, **options)
    assert any(RESCUE in line for line in said) == (variant == "rescued")
    real, rng = Trainer._step, random.Random(0)

    def breaks(self: Trainer) -> int:
        if rng.random() < 0.1:
            raise ZeroDivisionError("the power fails")
        return real(self)

    monkeypatch.setattr(Trainer, "_step", breaks)
    broken, resume = 0, False
    while True:
        try:
            model = train(texts, tmp_path / "broken", resume=resume, **options)
            break
        except ZeroDivisionError:
            broken += 1
            resume = (tmp_path / "broken.checkpoint").exists()
    assert broken >= 3
    assert same(model, whole)
    assert not (tmp_path / "broken.checkpoint").exists()
    curves = [points(tmp_path / name) for name in ("whole", "broken")]
    for point in (*curves[0], *curves[1]):
        del point["seconds"], point["tokens_per_second"]
    assert curves[0] == curves[1]


def test_a_training_that_is_killed_ends_with_the_same_weights(texts: Path, tmp_path: Path) -> None:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    command = [
        sys.executable,
        "-m",
        "lmkit",
        "train",
        "train.txt",
        "--valid=valid.txt",
        *flags,
        "--epochs=60",
    ]
    subprocess.run([*command, "-o", tmp_path / "whole"], cwd=texts, check=True, capture_output=True)
    rng = random.Random(1)
    place = tmp_path / "killed.checkpoint"
    for _ in range(3):
        resume = ["--resume"] if place.exists() and any(place.glob("state-*/manifest.json")) else ["--force"]
        process = subprocess.Popen(
            [*command, "-o", tmp_path / "killed", *resume], cwd=texts, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        seen = {path.name for path in place.glob("state-*")} if resume == ["--resume"] else set()
        while process.poll() is None and time.monotonic() < deadline:
            if {path.name for path in place.glob("state-*")} - seen:
                break
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    how = "--resume" if place.exists() else "--force"
    subprocess.run([*command, "-o", tmp_path / "killed", how], cwd=texts, check=True, capture_output=True)
    one, other = (lmkit.load(tmp_path / name) for name in ("whole", "killed"))
    assert same(one, other)


def test_a_signal_leaves_a_model_and_a_checkpoint_to_go_on_from(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(texts, tmp_path / "whole")
    real = Trainer._step

    def interrupted(self: Trainer) -> int:
        tokens = real(self)
        if self.schedule.step == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return tokens

    monkeypatch.setattr(Trainer, "_step", interrupted)
    with pytest.raises(Stopped):
        train(texts, tmp_path / "stopped", checkpoint="1h")
    assert isinstance(lmkit.load(tmp_path / "stopped"), lmkit.RnnModel)
    monkeypatch.setattr(Trainer, "_step", real)
    assert same(train(texts, tmp_path / "stopped", resume=True), whole)


def test_what_cannot_be_resumed_is_refused(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        train(texts, tmp_path / "none", resume=True)
    with pytest.raises(UsageError, match="-o MODEL"):
        lmkit.train(TEXT, resume=True, **OPTIONS)
    with pytest.raises(UsageError, match="keeps none"):
        lmkit.train(TEXT, resume=True, output=tmp_path / "ngram")


@pytest.fixture
def broken(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training that broke off at its twentieth step."""
    real = Trainer._step

    def breaks(self: Trainer) -> int:
        if self.schedule.step == 20:
            raise ZeroDivisionError
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", breaks)
        with pytest.raises(ZeroDivisionError):
            train(texts, tmp_path / "broken", patience=0)
    return tmp_path / "broken"


def test_another_text_or_network_is_no_resumption(texts: Path, broken: Path) -> None:
    with pytest.raises(UsageError, match="hidden_size is 16 in the checkpoint, and 17"):
        train(texts, broken, resume=True, hidden_size=17)
    with pytest.raises(UsageError, match="other texts"):
        lmkit.train(TEXT, output=broken, resume=True, **OPTIONS)


def test_another_model_to_begin_from_is_no_resumption(texts: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(texts, tmp_path / f"{seed}", epochs=1, seed=seed)
    with stopped(after=9):
        train(texts, tmp_path / "new", init_from=tmp_path / "0")
    for other in ({"init_from": tmp_path / "1"}, {}):
        with pytest.raises(UsageError, match="another model"):
            train(texts, tmp_path / "new", resume=True, **other)
    train(texts, tmp_path / "new", init_from=tmp_path / "0", resume=True)


def test_another_teacher_is_no_resumption(texts: Path, tmp_path: Path) -> None:
    one, other = (
        lmkit.train(texts / "train.txt", order=3, holdout=0, discount_fallback=discounts)
        for discounts in ((0.5, 1.0, 1.5), (0.1, 0.2, 0.3))
    )
    with stopped(after=9):
        train(texts, tmp_path / "new", teacher=one)
    with pytest.raises(UsageError, match="another teacher"):
        train(texts, tmp_path / "new", teacher=other, resume=True)


def test_a_number_of_passes_takes_the_place_of_a_time(texts: Path, tmp_path: Path) -> None:
    budget: dict[str, Any] = {**OPTIONS, "epochs": None, "budget": "1h"}
    with stopped(after=9):
        lmkit.train(texts / "train.txt", holdout=0, output=tmp_path / "model", **budget)
    lmkit.train(
        texts / "train.txt", holdout=0, output=tmp_path / "model", resume=True, epochs=1, backend="rnn"
    )
    assert points(tmp_path / "model")[-1]["epoch"] == pytest.approx(1, abs=0.1)


def test_a_resumption_that_writes_no_checkpoints_writes_one_when_it_is_stopped(
    texts: Path, tmp_path: Path
) -> None:
    whole = train(texts, tmp_path / "whole")
    for more in ({}, {"resume": True, "checkpoint": "0"}):
        with stopped(after=19):
            train(texts, tmp_path / "model", **more)
    (state,) = (tmp_path / "model.checkpoint").glob("state-*")
    assert json.loads((state / "state.json").read_text())["schedule"]["step"] == 38
    assert same(train(texts, tmp_path / "model", resume=True), whole)


def test_what_is_asked_for_holds_though_it_is_the_usual(texts: Path, tmp_path: Path) -> None:
    options = {name: value for name, value in OPTIONS.items() if name not in ("epochs", "threads")}
    with stopped(after=9):
        train(texts, tmp_path / "model", grad_clip=0.01)
    shutil.copytree(tmp_path / "model.checkpoint", tmp_path / "other.checkpoint")
    for name, more, clip in (("model", {}, 0.01), ("other", {"grad_clip": 1.0}, 1.0)):
        lmkit.train(
            texts / "train.txt",
            valid=texts / "valid.txt",
            output=tmp_path / name,
            resume=True,
            **options,
            **more,
        )
        assert read_config(tmp_path / name)["options"]["grad_clip"] == clip
        assert read_config(tmp_path / name)["options"]["epochs"] == OPTIONS["epochs"]
    assert not same(lmkit.load(tmp_path / "model"), lmkit.load(tmp_path / "other"))


def test_a_checkpoint_is_not_lost_by_starting_again(texts: Path, broken: Path) -> None:
    with pytest.raises(UsageError, match=r"--resume.*--force"):
        train(texts, broken)
    assert isinstance(train(texts, broken, force=True, epochs=1), lmkit.RnnModel)


def test_a_checkpoint_is_not_lost_by_a_wrong_option(texts: Path, broken: Path) -> None:
    with pytest.raises(UsageError, match="hidden_size"):
        train(texts, broken, force=True, hidden_size=0)
    train(texts, broken, resume=True)


def test_more_time_may_be_given(texts: Path, broken: Path) -> None:
    train(texts, broken, resume=True, epochs=15)
    assert (broken / "metrics.jsonl").read_text().splitlines()[-1].find('"epoch": 15') > 0


def test_less_time_than_is_over_is_refused_and_loses_nothing(texts: Path, broken: Path) -> None:
    with pytest.raises(UsageError, match=r"passes and .* are over.*--epochs"):
        train(texts, broken, resume=True, epochs=0.25)
    train(texts, broken, resume=True)
    assert points(broken)[-1]["epoch"] == pytest.approx(12, abs=0.1)


def test_where_there_is_no_checkpoint_it_is_said_why(texts: Path, tmp_path: Path, broken: Path) -> None:
    train(texts, tmp_path / "done", epochs=1)
    (step,) = broken.with_name("broken.checkpoint").glob("state-*")
    step.rename(step.with_name(f".{step.name}.tmp-1"))
    for name in ("done", "broken"):
        with pytest.raises(UsageError, match="done keeps none, nor has one that broke off before its first"):
            train(texts, tmp_path / name, resume=True)
    train(texts, broken, epochs=1)
    assert not step.parent.exists()


def test_what_is_not_ours_stays_beside_the_checkpoints(texts: Path, broken: Path) -> None:
    place = broken.with_name("broken.checkpoint")
    (place / "thesis.tex").write_text("all of it")
    shutil.copytree(next(place.glob("state-*")), place / "2024")
    train(texts, broken, resume=True)
    train(texts, broken, force=True)
    assert sorted(path.name for path in place.iterdir()) == ["2024", "thesis.tex"]


def test_what_a_kill_leaves_half_written_is_neither_read_nor_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "model.checkpoint")
    checkpoints.write({"a": np.zeros(2)}, {"step": 1})
    left = checkpoints.folder / ".state-2.tmp-x"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    again = Checkpoints(checkpoints.folder)
    assert again.read()[1]["step"] == 1
    again.write({"a": np.ones(2)}, {"step": 1})
    assert len(list(again.folder.iterdir())) == 1
    assert again.read()[0]["a"].tolist() == [1.0, 1.0]
    again.remove()
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"model\.checkpoint: cannot be written"):
        Checkpoints(tmp_path / "file" / "model.checkpoint").write({}, {})


def test_a_damaged_checkpoint_is_refused(texts: Path, broken: Path) -> None:
    (step,) = broken.with_name("broken.checkpoint").glob("state-*")
    content = bytearray((step / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (step / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFormatError, match="changed"):
        train(texts, broken, resume=True)


def test_a_rate_far_too_high_leaves_the_model_of_before_and_nothing_else(texts: Path, tmp_path: Path) -> None:
    good = train(texts, tmp_path / "model", epochs=2)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DivergedError, match="--learning-rate"):
        train(texts, tmp_path / "model", force=True, learning_rate=1000.0, grad_clip=0.0)
    assert same(lmkit.load(tmp_path / "model"), good)
    assert sorted(tmp_path.iterdir()) == before


def test_a_divergence_that_is_found_at_the_end_leaves_no_checkpoint(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Validation, "loss", lambda self: math.nan)
    with pytest.raises(DivergedError, match="no loss in validation was finite"):
        train(texts, tmp_path / "model", epochs=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]


@pytest.mark.parametrize("after", [9, 59])
@pytest.mark.parametrize("checkpoint", ["1h", "0.001s"])
def test_a_resumption_that_diverges_can_be_resumed_at_another_rate(
    texts: Path, tmp_path: Path, checkpoint: str, after: int
) -> None:
    whole = train(texts, tmp_path / "whole", patience=0)
    with stopped(after=after):
        train(texts, tmp_path / "model", patience=0)
    often: dict[str, Any] = {"checkpoint": checkpoint, "resume": True}
    with pytest.raises(DivergedError):
        train(texts, tmp_path / "model", **often, learning_rate=1000.0, grad_clip=0.0)
    if checkpoint == "1h":  # so that nothing was written on the way
        assert same(train(texts, tmp_path / "model", resume=True), whole)
    else:
        train(texts, tmp_path / "model", resume=True, learning_rate=0.01, grad_clip=1.0)
        assert points(tmp_path / "model")[-1]["epoch"] > 11


def test_a_training_that_diverges_at_its_end_is_gone_on_with_from_before(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    alone: dict[str, Any] = {**OPTIONS, "holdout": 0, "output": tmp_path / "model", "report": said.append}
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_training_loss", lambda self: math.inf)
        with pytest.raises(DivergedError, match="inf nats"):
            lmkit.train(texts / "train.txt", **alone)
    said.clear()
    lmkit.train(texts / "train.txt", **alone, resume=True, learning_rate=0.001)
    assert any("100%" in line for line in said)
    steps = [point["step"] for point in points(tmp_path / "model")]
    assert all(before < after for before, after in itertools.pairwise(steps))
    assert points(tmp_path / "model")[-1]["epoch"] == pytest.approx(12, abs=0.1)


def no_number_in(steps: range) -> Callable[[list[torch.Tensor], float], float]:
    """Give a clipping of gradients that finds no finite norm in those steps, counted from 1."""
    count = itertools.count(1)

    def clip(parameters: list[torch.Tensor], max_norm: float) -> float:
        return math.nan if next(count) in steps else clip_grad_norm(parameters, max_norm)

    return clip


def test_a_training_that_diverges_late_can_be_resumed_from_its_last_good_weights(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lmkit.rnn.learner.clip_grad_norm", no_number_in(range(60, 10_000)))
        with pytest.raises(DivergedError, match="not been finite"):
            train(texts, tmp_path / "model")
    model = train(texts, tmp_path / "model", resume=True, learning_rate=0.001)
    assert lmkit.perplexity(model, texts / "valid.txt").perplexity < 15
    steps = [point["step"] for point in points(tmp_path / "model")]
    assert all(before < after for before, after in itertools.pairwise(steps))


def test_a_training_that_is_made_longer_goes_back_to_what_was_sound(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped(after=59):
        train(texts, tmp_path / "model")
    monkeypatch.setattr("lmkit.rnn.learner.clip_grad_norm", no_number_in(range(1, 6)))
    said: list[str] = []
    train(texts, tmp_path / "model", resume=True, epochs=15, report=said.append)
    assert any(RESCUE in line for line in said)
    curve = points(tmp_path / "model")
    steps_per_pass = round(curve[2]["step"] / curve[2]["epoch"])
    for_nothing = curve[-1]["step"] - curve[-1]["epoch"] * steps_per_pass
    assert for_nothing == pytest.approx(64 - curve[2]["step"], abs=0.1)  # the last point before it broke off


@contextmanager
def stopped(*, after: int) -> Iterator[None]:
    """Expect a training that an interrupt stops after so many steps."""
    real, steps = Trainer._step, 0

    def step(self: Trainer) -> int:
        nonlocal steps
        steps += 1
        if steps > after:
            raise KeyboardInterrupt
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        try:
            yield
        except Stopped:
            return
        pytest.fail("nothing stopped it")


def test_a_tuning_is_resumed_by_the_options_it_was_begun_with(texts: Path, tmp_path: Path) -> None:
    train(texts, tmp_path / "old", epochs=2)
    tuning: dict[str, Any] = {"init_from": tmp_path / "old", "valid": texts / "valid.txt"}
    tuning |= {"backend": "rnn", "device": "cpu", "threads": 1, "epochs": 4, "bptt": 10, "batch_size": 4}
    own = {"learning_rate": 0.002, "num_layers": 3, "checkpoint": "1s"}
    whole = lmkit.train(texts / "train.txt", **tuning, **own)
    with stopped(after=9):
        lmkit.train(texts / "train.txt", output=tmp_path / "new", **tuning, **own)
    resumed = lmkit.train(texts / "train.txt", output=tmp_path / "new", resume=True, **tuning)
    assert same(whole, resumed)


def test_what_was_said_of_the_machine_is_kept_too(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped(after=9):
        train(texts, tmp_path / "model", checkpoint="7m")
    seen: list[float] = []
    real = Trainer.run

    def run(self: Trainer) -> None:
        assert self.checkpoints is not None
        seen.append(self.checkpoints.every)
        real(self)

    monkeypatch.setattr(Trainer, "run", run)
    options = {name: value for name, value in OPTIONS.items() if name not in ("checkpoint", "threads")}
    lmkit.train(
        texts / "train.txt", valid=texts / "valid.txt", output=tmp_path / "model", resume=True, **options
    )
    assert seen == [420.0]


def test_a_disk_that_takes_no_checkpoint_costs_nothing_but_the_checkpoint(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, arrays: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    said: list[str] = []
    whole = train(texts, tmp_path / "whole")
    monkeypatch.setattr("lmkit.checkpoints.write_tensors", full)
    model = train(texts, tmp_path / "model", report=said.append)
    assert same(whole, model)
    assert any("no checkpoint was written" in line and "disk is full" in line for line in said)
    with stopped(after=9):
        train(texts, tmp_path / "stopped")
    assert isinstance(lmkit.load(tmp_path / "stopped"), lmkit.RnnModel)


def test_a_scale_of_one_precision_is_none_of_another() -> None:
    wide, half = (Precision(name, torch.device("cuda")) for name in ("bfloat16", "float16"))
    half.restore(wide.state())
    assert half.scale == 2.0**16
    half.adapt(finite=False)
    half.restore(wide.state())
    assert half.scale == 2.0**16
    half.adapt(finite=False)
    again = Precision("float16", torch.device("cuda"))
    again.restore(half.state())
    assert again.state() == half.state() == {"name": "float16", "scale": 2.0**15, "steady": 0}


def test_a_model_that_is_done_is_not_replaced_by_one_that_is_not(texts: Path, tmp_path: Path) -> None:
    done = train(texts, tmp_path / "model", epochs=2)
    whole = train(texts, tmp_path / "whole")
    for how in ({"force": True}, {"resume": True}):
        with stopped(after=9):
            train(texts, tmp_path / "model", **how)
        assert same(lmkit.load(tmp_path / "model"), done)
    assert same(train(texts, tmp_path / "model", resume=True), whole)
    assert same(lmkit.load(tmp_path / "model"), whole)


def test_a_part_of_the_validation_text_is_the_same_if_training_breaks_off_before_it_is_chosen(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmkit.rnn.trainer.FEWEST_TOKENS", 1)
    few = {"batch_size": 2, "bptt": 5}
    train(texts, tmp_path / "whole", **few)
    with stopped(after=9):
        train(texts, tmp_path / "broken", **few)
    train(texts, tmp_path / "broken", resume=True, **few)
    (tokens,) = {point["valid_tokens"] for point in points(tmp_path / "whole")}
    assert tokens > 20
    assert {point["valid_tokens"] for point in points(tmp_path / "broken")} == {tokens}


def test_a_training_that_came_to_rest_goes_on_for_as_many_passes_as_are_asked_for(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rising, falling = itertools.count(1.0, 0.01), itertools.count(1.0, -0.001)
    with monkeypatch.context() as patch, stopped(after=48):
        patch.setattr(Validation, "loss", lambda self: next(rising))
        train(texts, tmp_path / "model", patience=2)
    monkeypatch.setattr(Validation, "loss", lambda self: next(falling))
    said: list[str] = []
    train(texts, tmp_path / "model", resume=True, patience=2, epochs=30, report=said.append)
    found = points(tmp_path / "model")
    assert found[-1]["epoch"] == pytest.approx(30, abs=0.5)
    later = [point["progress"] for point in found[-18:]]
    assert all(0 < after - before < 0.07 for before, after in itertools.pairwise(later))
    assert not any("to rest" in line for line in said)
