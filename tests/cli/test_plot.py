"""`lmkit plot` as a user meets it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_commands import MANY, ok, refused

Run = Callable[..., subprocess.CompletedProcess[bytes]]
POINTS = "".join(
    json.dumps({"seconds": i, "train_loss": 3 - i / 5, "valid_loss": 2 + (i - 2) ** 2}) + "\n"
    for i in range(4)
)


def test_a_picture_of_two_trainings(lmkit: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    (tmp_path / "c.txt").write_text(MANY)
    ok(lmkit("train", "c.txt", "--backend", "rnn", "--epochs", "1", "--hidden-size", "8", "-q"))
    (tmp_path / "metrics.jsonl").write_text(POINTS)
    drawn = lmkit("plot")
    assert ok(drawn) == ""  # words go to stderr
    assert b"lmkit-model: best validation perplexity" in drawn.stderr
    assert b"wrote curve.png" in drawn.stderr
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    drawn = lmkit("plot", "lmkit-model", "metrics.jsonl", "-o", "both.svg")
    assert ok(drawn) == ""
    assert b"best validation perplexity 7.39 at seconds 2" in drawn.stderr
    assert b"<svg" in (tmp_path / "both.svg").read_bytes()
    refused(lmkit("plot"), 2, "curve.png: exists already", "--force")
    ok(lmkit("plot", "--x", "epoch", "--force"))
    refused(lmkit("plot", "metrics.jsonl", "--x", "epoch", "-o", "e.png"), 2, "nothing of epoch")


def test_the_functions_that_networks_are_made_of(lmkit: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    for name in ("losses", "activations"):
        assert ok(lmkit("plot", name, "-o", f"{name}.svg")) == ""
        assert b"<svg" in (tmp_path / f"{name}.svg").read_bytes()
    refused(lmkit("plot", "losses", "-o", "losses.svg"), 2, "exists already")


def test_what_cannot_be_drawn_leaves_no_file(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    (tmp_path / "metrics.jsonl").write_text(POINTS + "{}}\n")
    ok(lmkit("train", "c.txt", "--order", "2", "-q"))
    before = sorted(tmp_path.iterdir())
    refused(lmkit("plot"), 2, "lmkit-model/metrics.jsonl", "--backend rnn")
    refused(lmkit("plot", "none"), 2, "none: there is no model")
    refused(lmkit("plot", "metrics.jsonl"), 3, "metrics.jsonl:5: is no entry")
    refused(lmkit("plot", "c.txt"), 3, "c.txt:1: is no entry", "metrics.jsonl")
    refused(lmkit("plot", "-o", "curve.jpg"), 2, "curve.jpg", ".png, .svg, .pdf")
    refused(lmkit("plot", "-o", "no/curve.png"), 5, "no such folder")
    refused(lmkit("plot", "--x", "tokens"), 2, "'tokens'")
    assert sorted(tmp_path.iterdir()) == before
    with (tmp_path / "lmkit-model" / "metrics.jsonl").open("a") as file:
        file.write(POINTS)
    refused(lmkit("plot"), 4, "metrics.jsonl", "damaged")


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("matplotlib", "plot", ["plot", "metrics.jsonl"]),
        ("matplotlib", "plot", ["crossval", "c.txt", "--grid", "order=1,2", "--picture", "curve.png"]),
        ("tensorboard", "tensorboard", ["train", "metrics.jsonl", "--tensorboard", "runs"]),
    ],
)
def test_a_missing_extra_is_said_with_the_line_that_installs_it(
    lmkit: Run, tmp_path: Path, package: str, extra: str, arguments: list[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text(POINTS)
    (tmp_path / f"{package}.py").write_text("raise ImportError")  # found first: in the current folder
    refused(lmkit(*arguments), 5, f"pip install 'lmkit[{extra}]'")
    assert not (tmp_path / "lmkit-model").exists()
    assert not (tmp_path / "curve.png").exists()


def test_events_for_tensorboard(lmkit: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra: tensorboard")
    (tmp_path / "c.txt").write_text(MANY)
    ok(lmkit("train", "c.txt", "--order", "2", "--tensorboard", "runs/a"))
    assert len(list((tmp_path / "runs" / "a").glob("events.out.tfevents.*"))) == 1
