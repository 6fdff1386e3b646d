"""`lmkit mix`, and `lmkit ppl --cache`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lmkit import train
from tests.conftest import STORY

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with two texts, a model of each, and a text of both."""
    folder = tmp_path_factory.mktemp("models")
    cats = STORY.replace("fox", "cat")
    (folder / "text.txt").write_text(STORY * 20)
    (folder / "cats.txt").write_text(cats * 20)
    (folder / "other.txt").write_text(STORY + cats)
    train(folder / "text.txt", output=folder / "three", order=3)
    train(folder / "cats.txt", output=folder / "one", order=1)
    return folder


@pytest.fixture
def models(trained: Path, tmp_path: Path) -> Path:
    """Give the test's own copy, in its own folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_mixture_is_a_model(lmkit: Run, models: Path) -> None:
    run = lmkit("mix", "three", "one", "--tune", "other.txt", "-o", "both")
    assert run.returncode == 0, run.stderr
    assert run.stdout == b""
    assert run.stderr.count(b"weight") >= 2
    assert b"saved both" in run.stderr
    assert lmkit("ppl", "-m", "both").returncode == 0  # on the test lines that the first held out
    parts = [
        json.loads(lmkit("ppl", "-m", name, "other.txt", "--json").stdout)
        for name in ("three", "one", "both")
    ]
    assert parts[2]["oov"] < parts[0]["oov"]
    assert parts[2]["perplexity"] < min(parts[0]["perplexity"], parts[1]["perplexity"])
    assert "backend:mixture" in parts[2]["signature"]
    assert lmkit("generate", "-m", "both", "--prefix", "the old", "--seed", 1).stdout.startswith(b"the old")
    described = lmkit("info", "-m", "both").stdout
    assert b"models       widened, widened" in described  # each into the vocabulary of both
    assert b"made of      three, one\n" in described


def test_weights_are_found_on_what_the_first_model_held_out(lmkit: Run, models: Path) -> None:
    run = lmkit("mix", "three", "one", "-o", "both", "--json")
    assert run.returncode == 0, run.stderr
    facts = json.loads(run.stdout)
    assert sum(facts["weights"]) == pytest.approx(1)
    assert facts["models"] == ["three", "one"]
    assert b"three/valid.txt" in run.stderr
    given = lmkit("mix", "three", "one", "--weights", "0.25,0.75", "-o", "given", "--json")
    assert json.loads(given.stdout)["weights"] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one",), b"two models"),
        (("one", "nowhere"), b"nowhere"),
        (("nowhere", "neither"), b"there is no model"),
        (("one", "three", "--weights", "a,b"), b"a number for each model"),
        (("one", "three", "--weights", "0.5,0.6"), b"of sum 1"),
        (("one", "three", "--weights", "0.5,0.5", "--tune", "other.txt"), b"one of them"),
        (("one", "three", "--tune", "missing.txt"), b"missing.txt"),
    ],
)
def test_what_cannot_be_mixed(lmkit: Run, models: Path, arguments: tuple[str, ...], message: bytes) -> None:
    run = lmkit("mix", *arguments, "-o", "both")
    assert run.returncode == 2
    assert message in run.stderr
    assert b"Traceback" not in run.stderr
    assert not (models / "both").exists()


def test_an_existing_model_is_kept(lmkit: Run, models: Path) -> None:
    assert lmkit("mix", "one", "three", "-o", "one").returncode == 2
    assert lmkit("mix", "one", "three", "-o", "three", "--force").returncode == 0


def test_perplexity_with_a_cache(lmkit: Run, models: Path) -> None:
    plain = json.loads(lmkit("ppl", "-m", "one", "other.txt", "--json").stdout)
    run = lmkit("ppl", "-m", "one", "other.txt", "--cache")
    assert b"adaptive" in run.stdout
    cached = json.loads(lmkit("ppl", "-m", "one", "other.txt", "--cache", "--json").stdout)
    assert cached["perplexity"] < plain["perplexity"]
    assert "adaptive:yes" in cached["signature"]
    assert lmkit("ppl", "-m", "one", "other.txt", "--tune", "text.txt").returncode == 2
    lmkit("train", "other.txt", "-o", "small", "--holdout", 0, "-q")
    run = lmkit("ppl", "-m", "small", "other.txt", "--cache")
    assert run.returncode == 2
    assert b"--tune" in run.stderr
    (models / "empty.txt").write_text("")
    run = lmkit("ppl", "-m", "one", "empty.txt", "--cache", "--tune", "other.txt")
    assert run.returncode == 3
    assert b"fitted" not in run.stderr
    itself = lmkit("ppl", "-m", "one", "other.txt", "--cache", "--tune", "other.txt")
    assert itself.returncode == 0
    assert b"flatters" in itself.stderr


def test_perplexity_of_a_network_that_learns(lmkit: Run, models: Path) -> None:
    options = ("--backend", "rnn", "--epochs", 1, "--hidden-size", 8, "--holdout", 0, "--device", "cpu", "-q")
    assert lmkit("train", "text.txt", "-o", "network", *options).returncode == 0
    plain = json.loads(lmkit("ppl", "-m", "network", "other.txt", "--json").stdout)
    adapting = ("--cache", "--dynamic", "--tune", "text.txt")
    run = lmkit("ppl", "-m", "network", "other.txt", *adapting, "--each", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    steps = found["steps"]
    assert [step["name"] for step in steps] == [
        "as it is",
        "learning",
        "continuous cache",
        "cache of n-grams",
    ]
    assert [step["adaptive"] for step in steps] == [False, True, True, True]
    assert steps[0]["perplexity"] == plain["perplexity"]
    assert steps[-1]["perplexity"] == found["perplexity"]
    shown = lmkit("ppl", "-m", "network", "other.txt", *adapting, "--each").stdout.decode().splitlines()
    assert [line.split()[-1] for line in shown[:4]] == [f"{step['perplexity']:.4f}" for step in steps]
    assert found["perplexity"] < plain["perplexity"]
    assert all(
        name in found["signature"]
        for name in ("dynamic=", "cache=continuous", "cache:4-gram", "adaptive:yes")
    )
    assert b"fitted to the first" in run.stderr
    by_line = lmkit("ppl", "-m", "network", "other.txt", *adapting, "--context", "line")
    assert by_line.returncode == 2
    assert b"--context line" in by_line.stderr
    refused = lmkit("ppl", "-m", "one", "other.txt", "--dynamic", "--tune", "text.txt")
    assert refused.returncode == 2
    assert b"recurrent" in refused.stderr


def test_bytes_that_are_no_text_are_held_out_as_they_are(lmkit: Run, tmp_path: Path) -> None:
    lines = [f"l'\xe9t\xe9 {number} \xe0 la plage\n".encode("latin-1") for number in range(300)]
    (tmp_path / "latin.txt").write_bytes(b"".join(lines))
    for order in (2, 4):
        run = lmkit("train", "latin.txt", "--tokenizer", "byte", "--order", order, "-o", f"of-{order}")
        assert run.returncode == 0, run.stderr
    run = lmkit("mix", "of-2", "of-4", "-o", "both")
    assert run.returncode == 0, run.stderr
    for name in ("valid.txt", "test.txt"):
        assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "of-2" / name).read_bytes()


def test_a_text_that_is_gone_is_no_part_of_the_mixture(lmkit: Run, models: Path) -> None:
    (models / "test.txt").write_text("the fox ran .\n")
    for name in ("a", "b"):
        options = ("--valid", "other.txt", "--test", "test.txt", "-o", name, "-q")
        assert lmkit("train", "text.txt", *options).returncode == 0
    (models / "test.txt").unlink()
    run = lmkit("mix", "a", "b", "-o", "both")
    assert run.returncode == 0, run.stderr
    assert b"test.txt: is gone" in run.stderr
    assert (models / "both" / "valid.txt").exists()
    assert not (models / "both" / "test.txt").exists()
