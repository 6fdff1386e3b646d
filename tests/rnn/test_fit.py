"""Curves as lessons draw them: overfitting and underfitting are named, a sound training is left alone."""

from __future__ import annotations

from typing import Any

import pytest

import lmkit
from lmkit.rnn.fit import judged


def curve(train: list[float], valid: list[float | None], epochs: float = 8.0) -> list[dict[str, Any]]:
    return [
        {"epoch": epochs * (i + 1) / len(train), "train_loss": t, "valid_loss": v}
        for i, (t, v) in enumerate(zip(train, valid, strict=True))
    ]


def test_validation_that_rises_while_training_falls_is_overfitting() -> None:
    found = judged(curve([5.0, 4.5, 4.2, 4.0, 3.8], [5.0, 4.6, 4.5, 4.6, 4.8]))
    assert found is not None
    assert found.startswith("it overfits: from pass 4.8 over the text on")
    assert "90.0 to 121.5" in found
    assert "--regularize" in found


def test_validation_that_rises_with_training_is_not() -> None:
    assert judged(curve([5.0, 4.2, 4.3, 4.6, 4.9], [5.0, 4.2, 4.3, 4.6, 4.9])) is None


def test_a_wide_gap_is_overfitting_unless_the_two_do_not_compare() -> None:
    wide = curve([5.0, 4.0, 3.5, 3.0], [5.0, 4.5, 4.4, 4.3])
    assert "it overfits" in str(judged(wide))
    assert judged(wide, comparable=False) is None


def test_a_text_that_was_hardly_read_is_not_learnt() -> None:
    short = curve([6.0, 5.5, 5.2, 5.1], [6.0, 5.5, 5.2, 5.1], epochs=0.9)
    assert (
        judged(short) == "it underfits: the text was read 0.9 times; give it more time (--budget, --epochs)"
    )
    assert judged(short, rested=True) is None
    assert judged(curve([5.1] * 4, [5.1] * 4, epochs=0.9)) is None  # more of it would change nothing


@pytest.mark.parametrize(
    "points",
    [
        [],
        curve([5.0, 4.0, 3.0], [5.0, 4.0, 9.0]),  # too few points for a word
        curve([5.0, 4.8, 4.6, 4.4], [5.0, 4.8, 4.7, 4.6]),  # all is well
        curve([5.0] * 9, [None] * 9),
    ],
)
def test_where_nothing_is_plain_nothing_is_said(points: list[dict[str, Any]]) -> None:
    assert judged(points) is None


def test_a_training_says_so() -> None:
    said: list[str] = []
    text = "".join(f"{'ab' * (n % 9)}{n % 7}\n" for n in range(600))
    options: dict[str, Any] = {"hidden_size": 16, "device": "cpu", "threads": 1, "tokenizer": "char"}
    lmkit.train(text, backend="rnn", epochs=1, bptt=10, patience=0, report=said.append, **options)
    assert any(line.startswith("it underfits: the text was read 1.0 times") for line in said)
