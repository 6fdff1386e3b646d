"""Gaps against the probabilities of all texts that could fill them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import lmkit
from lmkit.errors import UsageError
from lmkit.model import LanguageModel
from lmkit.text.vocabulary import BOS, EOS, UNK

SMALL = "ab ba aab\nb abba\naa bb ab\nbaba\n" * 5


def every_gap(model: LanguageModel, prefix: str, suffix: str, lengths: range) -> dict[tuple[int, ...], float]:
    """The definition: the probability of each gap and of all that follows, by the sum of all."""
    before, behind = model.tokenizer.encode(prefix), model.tokenizer.encode_lines([suffix])
    tokens = [t for t in range(len(model.tokenizer.vocab)) if t not in (UNK, BOS, EOS)]
    found = {}
    for length in lengths:
        for gap in itertools.product(tokens, repeat=length):
            ids = np.concatenate([before, gap, behind]).astype(np.int32)
            found[gap] = math.exp(model.score_ids(ids)[0][len(before) :].sum(dtype=np.float64))
    whole = sum(found.values())
    return {gap: p / whole for gap, p in found.items()}


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize(("prefix", "suffix"), [("a", "ba"), ("", "b"), ("ab ", ""), ("bb", "aab ab")])
def test_gaps_come_as_often_as_they_are_probable(order: int, prefix: str, suffix: str) -> None:
    model = lmkit.train(SMALL, order=order, tokenizer="char", holdout=0)
    p = every_gap(model, prefix, suffix, range(5))
    count = 4_000
    samples = lmkit.infill(model, prefix, suffix, samples=count, max_tokens=4, seed=1)
    assert all(sample.text.startswith(prefix) and sample.text.endswith(suffix) for sample in samples)
    drawn: dict[tuple[int, ...], int] = dict.fromkeys(p, 0)
    for sample in samples:
        drawn[tuple(sample.ids)] += 1
    common = [gap for gap in p if p[gap] * count >= 5]
    rest = count - sum(drawn[gap] for gap in common), count * (1 - sum(p[gap] for gap in common))
    pairs = [(drawn[gap], p[gap] * count) for gap in common] + ([rest] if rest[1] >= 5 else [])
    chi_square = sum((a - b) ** 2 / b for a, b in pairs)
    degrees = len(pairs) - 1
    assert chi_square < degrees + 4 * math.sqrt(2 * degrees) + 4


def test_a_pruned_model_and_lengths_that_are_given() -> None:
    model = lmkit.train(SMALL, order=4, tokenizer="char", holdout=0, prune=(0, 0, 6))
    p = every_gap(model, "a", "b", range(2, 3))
    samples = lmkit.infill(model, "a", "b", samples=3_000, max_tokens=2, min_tokens=2, seed=2)
    for gap, probability in p.items():
        found = sum(tuple(sample.ids) == gap for sample in samples)
        assert abs(found - 3_000 * probability) < 5 * math.sqrt(3_000 * probability) + 1


def test_words_are_joined_to_the_texts_beside_them(words: LanguageModel) -> None:
    samples = lmkit.infill(words, "the old", "the hill .", samples=20, seed=1)
    assert len({sample.text for sample in samples}) > 1
    for sample in samples:
        assert sample.text.startswith("the old ")
        assert sample.text.endswith(" the hill.")
        assert "  " not in sample.text
    raw = lmkit.infill(words, "the old", "the hill .", samples=20, seed=1, raw=True)
    assert [sample.ids for sample in raw] == [sample.ids for sample in samples]
    for sample in raw:
        scored = words.score(sample.text)
        assert scored[2 : 2 + len(sample.ids)] == pytest.approx(sample.logprobs, abs=1e-5)
    assert [s.text for s in samples[:3]] == [
        s.text for s in lmkit.infill(words, "the old", "the hill .", samples=3, seed=1)
    ]
    assert lmkit.infill(words, "the", "zebra", seed=1)[0].text.endswith(" zebra")


def test_what_cannot_be_filled(words: LanguageModel, network: LanguageModel) -> None:
    for model, options, word in (
        (network, {}, "n-gram"),
        (lmkit.train(SMALL, order=1, holdout=0), {}, "order 2"),
        (lmkit.train(SMALL, order=2, holdout=0, quantize=8), {}, "quantised"),
        (words, {"temperature": 0.5}, "temperature"),
        (words, {"min_tokens": 21}, "min_tokens"),
        (words, {"seed": -1}, "seed"),
    ):
        with pytest.raises(UsageError, match=word):
            lmkit.infill(model, "the", "fox", **options)
    with pytest.raises(UsageError, match="line end"):
        lmkit.infill(words, "the", "fox\nran")
