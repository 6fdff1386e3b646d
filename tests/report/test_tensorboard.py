"""Events for TensorBoard: the numbers of metrics.jsonl, while training goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.errors import LmkitWarning, ResourceError, UsageError
from lmkit.report import tensorboard
from lmkit.report.tensorboard import check_events, event_log, scalars
from tests.conftest import STORY


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read back what was written: (step, value) by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


@pytest.mark.parametrize("backend", ["ngram", "rnn"])
def test_the_events_of_a_training_are_its_metrics(tmp_path: Path, backend: str) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra: tensorboard")
    options: dict[str, Any] = (
        {"epochs": 1, "hidden_size": 8, "threads": 1} if backend == "rnn" else {"order": 2}
    )
    lmkit.train(STORY * 20, backend=backend, output="m", tensorboard=tmp_path / "runs" / "m", **options)
    lines = [json.loads(line) for line in Path("m/metrics.jsonl").read_text().splitlines()][1:]
    found = events(tmp_path / "runs" / "m")
    for step, line in enumerate(lines):
        for tag, value in scalars(line).items():
            assert (line.get("step", step), pytest.approx(value, rel=1e-6)) in found[tag]
    assert ("valid_perplexity" in found) == (backend == "rnn")


def test_points_can_be_seen_before_the_training_ends(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra: tensorboard")
    with event_log(tmp_path / "runs", [].append) as log:
        log({"step": 7, "train_loss": 0.5, "gradient_norm": None})
        assert events(tmp_path / "runs")["train_loss"] == [(7, 0.5)]


def test_a_disk_that_fills_up_costs_the_events_and_not_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, log_dir: str) -> None:
            self.log_dir = log_dir

        def add_scalar(self, *_: Any) -> None:
            raise OSError(28, "No space left on device")

        close = add_scalar

    monkeypatch.setattr(tensorboard, "_library", lambda: Full)
    kept: list[dict[str, Any]] = []
    with event_log("runs", kept.append) as log:
        with pytest.warns(LmkitWarning, match=r"the disk is full.*training goes on"):
            log({"train_loss": 1.0})
        log({"train_loss": 2.0})  # said once
    assert [entry["train_loss"] for entry in kept] == [1.0, 2.0]


def test_places_that_cannot_be_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "_library", lambda: None)
    (tmp_path / "file").touch()
    for place in ("file", "file/runs"):
        with pytest.raises(UsageError, match="is a file"):
            check_events(tmp_path / place, output=None)
    for place in ("m", "m/runs"):
        with pytest.raises(UsageError, match="in the model folder"):
            check_events(tmp_path / place, output=Path("m"))
    check_events(tmp_path / "new" / "runs", output=tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_package_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ResourceError, match=r"pip install 'lmkit\[tensorboard\]'"):
        lmkit.train("no such file", output="m", tensorboard="runs")


def test_without_a_folder_the_log_is_left_alone() -> None:
    with event_log(None, print) as log:
        assert log is print
