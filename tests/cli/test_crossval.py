"""`lmkit crossval` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_commands import MANY, ok, refused

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_options_are_ranked_and_the_winner_is_saved(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    grid = ("--grid", "order=1,2", "--grid", "interpolate-unigrams=true,false")
    run = lmkit("crossval", "c.txt", "-k", "3", *grid, "--refit", "-o", "best")
    head, *rows, test, signature = ok(run).splitlines()
    assert head.split() == [
        "order",
        "interpolate_unigrams",
        "perplexity",
        "deviation",
        "training",
        "capacity",
        "seconds",
    ]
    means = [float(row.split()[2]) for row in rows]
    assert len(means) == 4
    assert means == sorted(means)
    assert run.stderr.count(b"fold") == 12
    assert "trained on all folds: test perplexity" in test
    assert f"order:{rows[0].split()[0]}" in signature
    assert "order=" in ok(lmkit("info", "-m", "best"))
    again = json.loads(ok(lmkit("ppl", "-m", "best", "--test", "--json")))
    assert f"{again['perplexity']:.4f}" == test.split()[-1]
    assert again["test_uses"] == 2  # crossval's own was the first
    facts = json.loads(ok(lmkit("crossval", "c.txt", "--grid", "order=2", "-q", "--json")))
    assert facts["best"] == {"order": 2}
    assert len(facts["configurations"][0]["perplexities"]) == 5
    assert facts["test"] is None


def test_what_cannot_be_compared_is_refused(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    refused(lmkit("crossval", "c.txt", "--grid", "order"), 2, "--grid order", "--grid order=2,3,4")
    refused(lmkit("crossval", "c.txt", "--grid", "vocab_size=5,9"), 2, "do not compare")
    refused(lmkit("crossval", "c.txt", "--grid", "ordr=2"), 2, "'ordr'", "order")
    refused(lmkit("crossval", "c.txt", "--grid", "backend=ngram,rnn"), 2, "'backend'")
    refused(lmkit("crossval", "c.txt", "--grid", "order=2", "--grid", "order=3"), 2, "given twice")
    refused(lmkit("crossval", "c.txt", "--grid", "order=2,x"), 2, "'x'")
    ok(lmkit("crossval", "-", "-k", "2", "--grid", "prune=0,0;1;1", stdin=MANY.encode()))
    refused(lmkit("crossval", "none.txt", "--grid", "order=2"), 2, "none.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.txt"]


def test_the_picture_of_capacity(lmkit: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    (tmp_path / "c.txt").write_text(MANY)
    asked = ("crossval", "c.txt", "-q", "-k", "2", "--grid", "order=1,2,3", "--picture")
    refused(lmkit(*asked, "capacity.doc"), 2, "capacity.doc", ".png")
    ok(lmkit(*asked, "capacity.svg"))
    drawn = (tmp_path / "capacity.svg").read_text()
    assert drawn.startswith("<?xml")
    refused(lmkit(*asked, "capacity.svg"), 2, "--force")
    assert ok(lmkit(*asked, "capacity.svg", "--force"))
    assert (tmp_path / "capacity.svg").read_text() == drawn


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all_processes(tmp_path: Path, number: int, code: int) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    asked = ("c.txt", "--backend", "rnn", "--epochs", "100000", "--grid", "hidden_size=8", "--jobs", "2")
    command = [sys.executable, "-m", "lmkit", "crossval", *asked]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as run:
        time.sleep(8)  # as a rule both are at work then; the end must be the same in any case
        if number == signal.SIGINT:
            os.killpg(run.pid, number)  # as a terminal does
        else:
            run.send_signal(number)
        _, error = run.communicate(timeout=60)  # until nobody can write any more
    assert run.returncode == code
    assert b"Traceback" not in error
