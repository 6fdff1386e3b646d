"""Filtering: which lines are kept, and that none is lost or changed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit.errors import UsageError
from lmkit.filtering import parted
from tests.conftest import STORY

Run = Callable[..., subprocess.CompletedProcess[bytes]]
TEXT = STORY + "zebra yak\n\nthe the the\nran over the hill .\nfüchs\n"


@pytest.fixture(scope="module", params=["ngram", "rnn"])
def model(request: pytest.FixtureRequest) -> lmkit.LanguageModel:
    options = {"hidden_size": 8, "epochs": 2, "device": "cpu"} if request.param == "rnn" else {"order": 3}
    return lmkit.train(STORY, backend=request.param, tokenizer="word", holdout=0, **options)


def test_lines_are_kept_by_their_perplexity(model: lmkit.LanguageModel) -> None:
    scores = list(lmkit.line_scores(model, TEXT, context="line"))
    limit = float(np.median([score.perplexity for score in scores])) * 1.0001
    (part,) = lmkit.filter_lines(model, TEXT, max_ppl=limit)
    kept = [score.text for score in scores if score.perplexity <= limit]
    assert 0 < len(kept) < len(scores)
    assert part.kept.decode().splitlines() == kept
    assert part.rest.decode().splitlines() == [score.text for score in scores if score.perplexity > limit]
    assert (part.lines, part.lines_kept) == (len(scores), len(kept))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 1.0])
def test_a_quantile_is_a_share_of_the_lines(model: lmkit.LanguageModel, share: float) -> None:
    scores = sorted(lmkit.line_scores(model, TEXT, context="line"), key=lambda score: score.perplexity)
    (part,) = lmkit.filter_lines(model, TEXT, quantile=share)
    wanted = max(1, int(np.ceil(share * len(scores))))
    assert part.lines_kept >= wanted
    assert part.kept.count(b"\n") == part.lines_kept
    worst = max(score.perplexity for score in scores if score.text in part.kept.decode().split("\n")[:-1])
    assert worst == pytest.approx(scores[wanted - 1].perplexity, rel=1e-5)


@pytest.mark.parametrize("share", [0.07, 0.14, 0.28, 0.55])
def test_a_share_is_counted_as_it_is_written(share: float) -> None:
    unigram = lmkit.train(STORY, order=1, tokenizer="word", holdout=0)
    text = "".join(" ".join(["fox"] * n + ["the"] * (100 - n)) + "\n" for n in range(100))  # no two alike
    (part,) = lmkit.filter_lines(unigram, text, quantile=share)
    assert part.lines_kept == round(100 * share)


@given(st.lists(st.tuples(st.binary(max_size=4).map(lambda line: line.replace(b"\n", b"")), st.booleans())))
def test_no_line_is_lost(lines: list[tuple[bytes, bool]]) -> None:
    part = parted(b"".join(line + b"\n" for line, _ in lines), np.array([kept for _, kept in lines], bool))
    assert part.kept == b"".join(line + b"\n" for line, kept in lines if kept)
    assert part.rest == b"".join(line + b"\n" for line, kept in lines if not kept)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quantile": 0.0},
        {"quantile": 1.5},
        {"max_ppl": 0.5},
        {"max_ppl": 9, "quantile": 0.5},
    ],
    ids=str,
)
def test_what_cannot_be(model: lmkit.LanguageModel, options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        list(lmkit.filter_lines(model, TEXT, **options))  # type: ignore[arg-type]


def test_on_the_command_line(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT * 50)
    assert lmkit("train", "text.txt", "--order", 3, "--holdout", 0, "-q").returncode == 0
    run = lmkit("filter", "text.txt", "--quantile", 0.5, "-o", "good.txt", "--rest", "bad.txt")
    assert run.returncode == 0
    assert b"of 600 lines" in run.stderr
    good, bad = (tmp_path / "good.txt").read_text(), (tmp_path / "bad.txt").read_text()
    assert sorted((good + bad).splitlines()) == sorted((TEXT * 50).splitlines())
    piped = lmkit("filter", "-", "--quantile", 0.5, stdin=(TEXT * 50).encode())
    assert piped.stdout.decode() == good
    assert lmkit("filter", "text.txt", "--quantile", 0.5, "-o", "good.txt").returncode == 2
    assert lmkit("filter", "text.txt").returncode == 2
    same = lmkit("filter", "text.txt", "--quantile", 0.5, "-o", "x", "--rest", "./x", "--force")
    assert same.returncode == 2
    assert b"two places" in same.stderr
    assert not (tmp_path / "x").exists()
    assert lmkit("filter", "-", "--max-ppl", 9, stdin=b"\xff\n").returncode == 3
