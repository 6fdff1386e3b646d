"""Scores of lines: their sums, their contexts, and which line is the likeliest."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lmkit
from lmkit.errors import UsageError
from tests.conftest import STORY

Run = Callable[..., subprocess.CompletedProcess[bytes]]
TEXT = "the old fox sat .\n\na zebra ran under the tree .\n"


@pytest.fixture(scope="module", params=["ngram", "rnn"])
def model(request: pytest.FixtureRequest) -> lmkit.LanguageModel:
    options = {"hidden_size": 8, "epochs": 2, "device": "cpu"} if request.param == "rnn" else {"order": 3}
    return lmkit.train(STORY, backend=request.param, tokenizer="word", holdout=0, **options)


def test_the_scores_of_lines_sum_to_that_of_the_text(model: lmkit.LanguageModel) -> None:
    scores = list(lmkit.line_scores(model, TEXT))
    whole = lmkit.perplexity(model, TEXT)
    assert [score.text for score in scores] == TEXT.split("\n")[:-1]
    assert sum(score.logprob for score in scores) == pytest.approx(whole.logprob, rel=1e-6)
    assert sum(score.tokens for score in scores) == whole.tokens
    assert [score.oov for score in scores] == [0, 0, 1]
    assert scores[0].perplexity == pytest.approx(math.exp(-scores[0].logprob / 6))


def test_a_line_alone_is_scored_as_the_first_of_a_text(model: lmkit.LanguageModel) -> None:
    for score in lmkit.line_scores(model, TEXT, context="line"):
        assert score.logprob == pytest.approx(model.score(score.text).sum(dtype=np.float64), rel=1e-5)
    read_on = [score.logprob for score in lmkit.line_scores(model, TEXT, context="stream")]
    alone = [score.logprob for score in lmkit.line_scores(model, TEXT, context="line")]
    assert read_on[0] == pytest.approx(alone[0], rel=1e-5)
    assert (read_on[2] == pytest.approx(alone[2], rel=1e-5)) == (model.context == "line")


def test_the_likelier_line_comes_first_whatever_the_order(model: lmkit.LanguageModel) -> None:
    lines = ["tree the under sat", "the fox sat under the tree .", "the fox"]
    found = lmkit.rank(model, lines)
    assert [score.logprob for score in found] == sorted((s.logprob for s in found), reverse=True)
    assert [s.text for s in lmkit.rank(model, reversed(lines))] == [s.text for s in found]
    means = [score.per_token for score in lmkit.rank(model, lines, per_token=True)]
    assert means == sorted(means, reverse=True)


def test_lines_that_cannot_be_ranked(model: lmkit.LanguageModel) -> None:
    for lines in ([], ["the\nfox"]):
        with pytest.raises(UsageError, match="rank"):
            lmkit.rank(model, lines)


def test_on_the_command_line(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(STORY * 5)
    assert lmkit("train", "text.txt", "--order", 3, "--holdout", 0, "-q").returncode == 0
    ranked = lmkit("rank", "fox the ran", "the fox ran").stdout.decode().splitlines()
    assert [line.split("\t")[-1] for line in ranked] == ["the fox ran", "fox the ran"]
    piped = lmkit("rank", "-", stdin=b"fox the ran\nthe fox ran\n")
    assert piped.stdout.decode().splitlines() == ranked
    head, *lines = lmkit("score", "text.txt").stdout.decode().splitlines()
    assert head.split("\t") == ["logprob", "tokens", "oov", "perplexity", "text"]
    assert [line.split("\t")[-1] for line in lines] == (STORY * 5).splitlines()
    facts = [
        json.loads(line) for line in lmkit("score", "-", "--json", stdin=b"the\tfox\n").stdout.splitlines()
    ]
    assert (facts[0]["text"], facts[0]["tokens"]) == ("the\tfox", 3)
    refused = lmkit("score", "-", stdin=b"\xff\xfe")
    assert refused.returncode == 3
    assert refused.stdout.count(b"\n") <= 1
    assert lmkit("rank", "-", stdin=b"\xff").returncode == 3
