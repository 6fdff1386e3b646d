"""Beam search against the search through everything."""

from __future__ import annotations

import itertools
from threading import Timer
from typing import Any

import numpy as np
import pytest

import lmkit
from lmkit.generation.deadline import Deadline
from lmkit.generation.streaming import Text, Token
from lmkit.model import LanguageModel
from lmkit.text.vocabulary import BOS, EOS, UNK

SMALL = "ab ba aab\nb abba\naa bb ab\nbaba\n" * 5


def exhaustive(
    model: LanguageModel, prefix: str, longest: int, power: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Score every text that ends a line within so many tokens, or has as many; no <unk>, renormalised without it."""
    tokens = [t for t in range(len(model.tokenizer.vocab)) if t not in (UNK, BOS)]
    found = []
    for length in range(1, longest + 1):
        for text in itertools.product(tokens, repeat=length):
            if EOS in text[:-1] or (text[-1] != EOS and length < longest):
                continue
            state, total = model.score_ids(model.tokenizer.encode(prefix), model.start())[1], 0.0
            for token in text:
                p = np.exp(model.next_logprobs(state)[0].astype(np.float64))
                total += np.log(p[token] / (p.sum() - p[UNK]))
                state = model.step(state, np.array([token]))
            found.append((total / length**power, text))
    return sorted(found, reverse=True)


@pytest.fixture(scope="module", params=["3-gram", "network"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    if request.param == "network":
        tiny = {"backend": "rnn", "hidden_size": 6, "epochs": 2, "device": "cpu", "threads": 1}
        return lmkit.train(SMALL, tokenizer="char", holdout=0, **tiny)
    return lmkit.train(SMALL, order=3, tokenizer="char", holdout=0)


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_the_likeliest_texts_are_those_of_exhaustive_search(model: LanguageModel, power: float) -> None:
    everything = exhaustive(model, "a", 4, power)
    score_of, wanted = {text: score for score, text in everything}, everything[:5]
    options = {"beams": 200, "max_tokens": 4, "length_penalty": power, "lines": 1}
    found = lmkit.generate(model, "a", samples=5, **options)
    scores = [score for score, _ in wanted]
    assert [score_of[tuple(sample.ids)] for sample in found] == pytest.approx(scores, abs=1e-6)
    assert len({tuple(sample.ids) for sample in found}) == 5
    if power == 0:
        by_likelihood = [sample.score(0) for sample in found]
        assert by_likelihood == sorted(by_likelihood, reverse=True)


@pytest.mark.parametrize("beams", [2, 3, 8])
def test_a_narrow_search_finds_nothing_likelier_than_a_wide_one(model: LanguageModel, beams: int) -> None:
    options = {"max_tokens": 6, "length_penalty": 0, "lines": 1}
    widest = lmkit.generate(model, "b", beams=400, **options)[0].score(0)
    assert lmkit.generate(model, "b", beams=beams, **options)[0].score(0) <= widest + 1e-6


def test_the_search_keeps_rules_and_prefixes(words: LanguageModel, characters: LanguageModel) -> None:
    found = lmkit.generate(words, ["the old", "a yo"], samples=3, beams=6, ban=["fox"], raw=True)
    assert len(found) == 6
    assert len({sample.text for sample in found}) == 6
    assert all("fox" not in sample.text.split() for sample in found)
    assert all(sample.text.startswith("the old ") for sample in found[:3])
    assert all(sample.text.startswith("a young") for sample in found[3:])
    assert all(sample.reason == "line end" for sample in found)
    forced = lmkit.generate(words, "the", beams=4, force=["high"], raw=True)[0]
    assert "high" in forced.text.split()
    whole = lmkit.generate(characters, "the old ", beams=4)[0].text
    cut = lmkit.generate(characters, "the old ", beams=4, stop=[whole[10:13]])[0]
    assert (cut.text, cut.reason) == (whole[: whole.find(whole[10:13], 8)], "stop")
    repeated = lmkit.generate(words, "the", beams=4, lines=0, max_tokens=30, no_repeat_ngram=2)[0].ids
    assert len({tuple(repeated[i : i + 2]) for i in range(len(repeated) - 1)}) == len(repeated) - 1


def test_the_search_ends_in_time(words: LanguageModel) -> None:
    endless: dict[str, Any] = {"lines": 0, "max_tokens": 10**6, "max_time": "0.2s"}
    for way in ({"beams": 4}, {"distinct": True, "samples": 3}, {"best_of": 3}):
        found = lmkit.generate(words, ["the", "a"], seed=1, **endless, **way)
        assert {sample.prefix for sample in found} == {"the", "a"}
        assert {sample.reason for sample in found} == {"max_time"}
        assert found[0].ids


def test_a_search_that_is_interrupted_gives_what_it_has_come_to(words: LanguageModel) -> None:
    for way in ({"beams": 4}, {"distinct": True, "samples": 3}, {"best_of": 3}):
        deadline = Deadline()
        Timer(0.2, deadline.interrupt).start()
        found = lmkit.generate(words, "the", lines=0, max_tokens=10**6, deadline=deadline, seed=1, **way)
        assert {sample.reason for sample in found} == {"interrupted"}
        assert len(found[0].ids) > 1


def test_of_several_texts_those_that_are_over_are_the_best(
    words: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmkit.generation.streaming._ROWS", 5)
    deadline = Deadline()
    take = Text.take

    def interrupted(self: Text, *what: Any, **more: Any) -> Token:  # as soon as one is over
        token = take(self, *what, **more)
        if token.reason == "line end":
            deadline.interrupt()
        return token

    monkeypatch.setattr(Text, "take", interrupted)
    found = lmkit.generate(words, "the", best_of=20, samples=20, deadline=deadline, seed=3)
    reasons = [sample.reason for sample in found]
    over = reasons.count("line end")
    assert 0 < over < 5
    assert reasons == ["line end"] * over + ["interrupted"] * (20 - over)
    assert [bool(sample.ids) for sample in found] == [True] * 5 + [False] * 15


def test_hypotheses_are_looked_at_some_at_a_time(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, int]] = [{"beams": 9, "samples": 4}, {"distinct": True, "samples": 9, "seed": 3}]
    wanted = [lmkit.generate(model, "a", max_tokens=5, lines=1, **options) for options in asked]
    most, next_logprobs = [], type(model).next_logprobs

    def counted(self: LanguageModel, state: Any) -> np.ndarray:
        most.append(len(state))
        return next_logprobs(self, state)

    monkeypatch.setattr(type(model), "next_logprobs", counted)
    monkeypatch.setattr("lmkit.model._DISTRIBUTIONS", 2 * len(model.tokenizer.vocab))
    found = [lmkit.generate(model, "a", max_tokens=5, lines=1, **options) for options in asked]
    assert [[s.ids for s in each] for each in found] == [[s.ids for s in each] for each in wanted]
    assert max(most) == 2
