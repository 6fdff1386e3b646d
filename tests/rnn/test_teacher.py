"""A network that learns from a model beside the text."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmkit
from lmkit.errors import UsageError
from lmkit.rnn.batches import streams, windows
from lmkit.rnn.teacher import Teacher
from tests.rnn.conftest import TEXT

Run = Callable[..., subprocess.CompletedProcess[bytes]]
QUICK: dict[str, Any] = {
    "backend": "rnn", "hidden_size": 16, "epochs": 4, "bptt": 10, "device": "cpu", "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def ngram() -> lmkit.LanguageModel:
    return lmkit.train(TEXT, order=4, holdout=0)


def test_a_teacher_reads_along_and_finds_its_place_again(ngram: lmkit.LanguageModel) -> None:
    ids = ngram.tokenizer.encode_lines(TEXT.splitlines())
    columns = streams(ids, 4)
    teacher = Teacher(ngram, kind="l2", share=0.5)
    for number, window in enumerate(windows(columns, 9)):
        taught = teacher.read(window, slice(1, 3))
        assert taught.shape == (len(window.inputs), 2, len(ngram.tokenizer.vocab))
        late = Teacher(ngram, kind="l2", share=0.5).read(window, slice(1, 3))
        torch.testing.assert_close(late, taught)
        if number == 0:
            state = ngram.step(ngram.start(2), window.inputs[0, 1:3])
            assert np.array_equal(taught[0].numpy(), ngram.next_logprobs(state))


@pytest.mark.parametrize("loss", ["cross_entropy", "l2", "l1", "huber"])
def test_who_is_taught_comes_nearer_to_the_teacher(
    ngram: lmkit.LanguageModel, loss: str, tmp_path: Path
) -> None:
    known = tmp_path / "words.txt"
    known.write_text("\n".join(ngram.tokenizer.vocab.tokens[3:]))
    few = "".join(TEXT.splitlines(keepends=True)[::7])
    options = {**QUICK, "epochs": 40, "holdout": 0, "vocab": str(known)}
    alone = lmkit.train(few, **options)
    taught = lmkit.train(few, teacher=ngram, loss=loss, teacher_share=0.9, **options)

    def distance(model: lmkit.LanguageModel) -> float:
        state, own, total = model.start(), ngram.start(), 0.0
        for token in ngram.tokenizer.encode_lines(TEXT.splitlines()[:30]):
            ours, theirs = model.next_logprobs(state)[0], ngram.next_logprobs(own)[0]
            possible = np.isfinite(theirs)
            total += float(np.abs(ours[possible] - theirs[possible]).mean())
            state, own = model.step(state, np.array([token])), ngram.step(own, np.array([token]))
        return total

    if loss == "cross_entropy":  # which does not mind how unlikely the unlikely are
        assert lmkit.perplexity(taught, TEXT).perplexity < lmkit.perplexity(alone, TEXT).perplexity
    else:
        assert distance(taught) < 0.8 * distance(alone)


def test_who_cannot_teach(ngram: lmkit.LanguageModel) -> None:
    with pytest.raises(UsageError, match="same vocabulary"):
        lmkit.train(TEXT + "a new word\n", teacher=ngram, holdout=0, **QUICK)
    with pytest.raises(UsageError, match="sampled"):
        lmkit.train(TEXT, teacher=ngram, holdout=0, head="sampled", **QUICK)
    with pytest.raises(UsageError, match="text alone"):
        lmkit.train(TEXT, teacher=ngram, holdout=0)
    for option in ({"loss": "l1"}, {"teacher_share": 0.1}):
        with pytest.raises(UsageError, match="--teacher MODEL"):
            lmkit.train(TEXT, holdout=0, **option, **QUICK)


def test_from_the_command_line(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    assert lmkit("train", "text.txt", "--holdout", 0, "-o", "ngram", "-q").returncode == 0
    command = [
        "train",
        "text.txt",
        "--holdout",
        0,
        "--backend",
        "rnn",
        "--epochs",
        1,
        "--hidden-size",
        8,
        "-q",
    ]
    run = lmkit(*command, "--teacher", "ngram", "--loss", "huber", "-o", "small")
    assert run.returncode == 0, run.stderr
    missing = lmkit(*command, "--teacher", "nowhere", "-o", "other")
    assert missing.returncode == 2
    assert b"nowhere" in missing.stderr
