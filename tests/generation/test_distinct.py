"""Texts without replacement against draws with replacement, of which repetitions are thrown away."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lmkit
from lmkit.errors import UsageError
from lmkit.model import LanguageModel
from tests.generation.test_beam import exhaustive

SMALL = "ab ba aab\nb abba\naa bb ab\nbaba\n" * 5


def test_texts_are_drawn_without_replacement() -> None:
    model = lmkit.train(SMALL, order=3, tokenizer="char", holdout=0)
    p = {text: math.exp(score) for score, text in exhaustive(model, "a", 2, 0.0)}
    assert sum(p.values()) == pytest.approx(1, abs=1e-4)
    runs = 3_000
    first: dict[tuple[int, ...], int] = dict.fromkeys(p, 0)
    second = dict(first)
    for seed in range(runs):
        one, two = lmkit.generate(model, "a", samples=2, distinct=True, max_tokens=2, lines=1, seed=seed)
        assert one.ids != two.ids
        first[tuple(one.ids)] += 1
        second[tuple(two.ids)] += 1
    after = {text: sum(p[a] * p[text] / (1 - p[a]) for a in p if a != text) for text in p}
    for drawn, wanted in ((first, p), (second, after)):
        for text in p:
            assert abs(drawn[text] - wanted[text] * runs) < 5 * math.sqrt(wanted[text] * runs) + 2


def test_all_texts_that_there_are_come_once() -> None:
    model = lmkit.train(SMALL, order=3, tokenizer="char", holdout=0)
    wanted = exhaustive(model, "a", 3, 0.0)
    found = lmkit.generate(model, "a", samples=1000, distinct=True, max_tokens=3, lines=1, seed=1)
    assert sorted(tuple(sample.ids) for sample in found) == sorted(text for _, text in wanted)
    for sample in found:
        read = np.concatenate([model.tokenizer.encode("a"), sample.ids])
        assert sum(sample.logprobs) == pytest.approx(float(model.score_ids(read)[0][1:].sum()), abs=1e-4)


def test_rules_hold_and_texts_differ(words: LanguageModel, network: LanguageModel) -> None:
    for model in (words, network):
        found = lmkit.generate(
            model, ["the", "a yo"], samples=12, distinct=True, seed=1, lines=1, ban=["fox"], raw=True
        )
        assert len(found) == 24
        for of_prefix in (found[:12], found[12:]):
            assert len({tuple(sample.ids) for sample in of_prefix}) == 12
        assert all("fox" not in sample.text.split() for sample in found)
        assert all(sample.text.startswith("a young") for sample in found[12:])
        again = lmkit.generate(
            model, "a yo", samples=12, distinct=True, seed=1, lines=1, ban=["fox"], raw=True
        )
        assert [sample.text for sample in again] == [sample.text for sample in found[12:]]
    with pytest.raises(UsageError, match="distinct"):
        lmkit.generate(words, "the", distinct=True, beams=2)
    with pytest.raises(UsageError, match="distinct"):
        lmkit.stream(words, "the", distinct=True)
