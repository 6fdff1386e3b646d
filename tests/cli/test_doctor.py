"""`lmkit doctor` as a user meets it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cli.test_commands import MANY, ok, refused

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_a_model_is_examined(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    options = "--backend rnn --epochs 20 --hidden-size 32 --holdout 0 -o m -q"
    ok(lmkit("train", "c.txt", *options.split()))
    shown = ok(lmkit("doctor", "--gradients", "m", "c.txt"))
    assert "embedding.weight" in shown
    assert "steps back" in shown
    assert "nothing is wrong" in shown
    facts = json.loads(ok(lmkit("doctor", "--gradients", "m", "c.txt", "--json")))
    assert {"loss", "gradients", "signals", "radii", "reach", "memory", "findings", "schema"} <= facts.keys()
    assert facts["findings"] == []
    assert 0 < facts["confidence"] < 1
    assert 0 <= facts["accuracy"] <= 1
    assert "is right in" in shown
    assert facts["loss"] < facts["frequencies"]
    fresh = json.loads(ok(lmkit("doctor", "--gradients", "m", "c.txt", "--json", "--init", "orthogonal")))
    assert fresh["loss"] != facts["loss"]
    assert all(0.9 < radius < 1.1 for radius in fresh["radii"].values())
    refused(lmkit("doctor", "--gradients", "m", "c.txt", "--init", "orthogonl"), 2, "'orthogonal'")
    assert ok(lmkit("doctor", "--gradients", "m", "c.txt")) == shown
    (tmp_path / "short.txt").write_text("\n")
    refused(lmkit("doctor", "--gradients", "m", "short.txt"), 3, "too short")
    assert 1 <= facts["memory"] < len(facts["reach"])


def test_what_cannot_be_examined_is_refused(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    ok(lmkit("train", "c.txt", "--order", "2", "-o", "m", "-q"))
    refused(lmkit("doctor", "--gradients", "m", "c.txt"), 2, "ngram", "no gradients")
    refused(lmkit("doctor", "--gradients", "none", "c.txt"), 2, "none: there is no model")
    refused(lmkit("doctor", "--gradients", "m"), 2, "FILE")
    refused(lmkit("doctor", "m", "c.txt"), 2, "--gradients")


def test_a_network_that_has_learnt_nothing_but_frequencies_is_not_called_sound(
    lmkit: Run, tmp_path: Path
) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    options = "--backend rnn --epochs 0.01 --hidden-size 8 --holdout 0 --learning-rate 0 -o m -q"
    ok(lmkit("train", "c.txt", *options.split()))
    assert "hardly learnt" in ok(lmkit("doctor", "--gradients", "m", "c.txt"))
    assert "nothing is wrong" in ok(lmkit("doctor", "--gradients", "m", "c.txt", "--init", "xavier"))
