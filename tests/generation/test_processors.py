"""The chain of rules: its order, and that what comes out is a distribution whatever is asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.config import GenerationConfig
from lmkit.errors import UsageError
from lmkit.generation import constraints, penalties, truncation
from lmkit.generation.distributions import normalize
from lmkit.generation.processors import Past, chain
from lmkit.text.character import CharTokenizer
from lmkit.text.vocabulary import EOS, UNK, Vocabulary
from lmkit.text.word import WordTokenizer

WORDS = WordTokenizer(vocab=Vocabulary.from_tokens(["the", "fox", "owl", "saw", "old"]))
V = len(WORDS.vocab)
distributions = st.lists(st.floats(-15, -1e-3, allow_subnormal=False), min_size=2 * V, max_size=2 * V).map(
    lambda x: normalize(np.array(x).reshape(2, V))
)
options = st.fixed_dictionaries(
    {},
    optional={
        "ban": st.sampled_from([["fox"], ["fox", "old owl"], ["zebra"]]),
        "allow_unk": st.booleans(),
        "only": st.sampled_from(["[a-z]{3}", "the|saw"]),
        "min_tokens": st.integers(0, 5),
        "force": st.sampled_from([["owl"], ["saw", "the"]]),
        "repetition_penalty": st.floats(0, 3, allow_subnormal=False),
        "frequency_penalty": st.floats(-2, 2, allow_subnormal=False),
        "presence_penalty": st.floats(-2, 2, allow_subnormal=False),
        "no_repeat_ngram": st.integers(0, 3),
        "temperature": st.sampled_from([0, 0.3, 1, 2]),
        "top_k": st.integers(0, 10),
        "top_p": st.floats(0.1, 1, allow_subnormal=False),
        "min_p": st.floats(0, 1, allow_subnormal=False),
        "typical_p": st.floats(0.1, 1, allow_subnormal=False),
        "epsilon_cutoff": st.floats(0, 0.5, allow_subnormal=False),
        "eta_cutoff": st.floats(0, 0.5, allow_subnormal=False),
        "look_back": st.integers(1, 9),
        "max_tokens": st.sampled_from([3, 200]),
    },
)


def past_of(rules: Any) -> Past:
    """Two texts, after prefixes of three tokens and of one, of which two more tokens are written."""
    past = Past.of([np.array([3, 4, 3]), np.array([5])], window=rules.window, forced=rules.forced)
    past.push(np.array([4, 6]))
    past.push(np.array([3, 7]))
    return past


@given(logprobs=distributions, given_options=options)
def test_whatever_is_asked_for_comes_out_as_a_distribution(
    logprobs: np.ndarray, given_options: dict[str, Any]
) -> None:
    rules = chain(GenerationConfig(**given_options), WORDS)
    before = logprobs.copy()
    shaped = rules(logprobs, past_of(rules))
    assert np.exp(shaped).sum(axis=1) == pytest.approx(np.ones(2))
    assert not np.isnan(shaped).any()
    assert (logprobs == before).all()


@given(logprobs=distributions)
def test_rules_are_applied_in_the_order_that_is_written_down(logprobs: np.ndarray) -> None:
    config = GenerationConfig(
        ban=("fox",), min_tokens=5, repetition_penalty=1.5, frequency_penalty=0.3, presence_penalty=0.2,
        no_repeat_ngram=2, temperature=0.7, top_k=5, top_p=0.9, min_p=0.05, typical_p=0.95, epsilon_cutoff=0.01,
        eta_cutoff=0.02,
    )  # fmt: skip
    rules = chain(config, WORDS)
    past = past_of(rules)
    tokens, own = past.tokens, past.own()
    assert own[:, -3:].tolist() == [[-1, 4, 3], [-1, 6, 7]]
    assert tokens[:, -4:].tolist() == [[4, 3, 4, 3], [-1, 5, 6, 7]]
    p = constraints.ban(logprobs, tokens, [np.array([4]), np.array([UNK])])
    p = constraints.min_tokens(p, past.written, 5)
    p = penalties.repetition_penalty(p, tokens, 1.5)
    p = penalties.frequency_penalty(p, own, 0.3)
    p = penalties.presence_penalty(p, own, 0.2)
    p = penalties.no_repeat_ngram(p, tokens, 2)
    p = truncation.top_p(truncation.top_k(truncation.temperature(p, 0.7), 5), 0.9)
    p = truncation.typical(truncation.min_p(p, 0.05), 0.95)
    p = truncation.eta_cutoff(truncation.epsilon_cutoff(p, 0.01), 0.02)
    assert np.exp(rules(logprobs, past)) == pytest.approx(np.exp(p))


def test_cheap_ways_are_taken_only_where_nothing_else_is_asked_for() -> None:
    plain = chain(GenerationConfig(), WORDS)
    assert (plain.banned, plain.temperature, plain.window) == ({UNK}, 1, 0)
    assert chain(GenerationConfig(allow_unk=True), WORDS).banned == frozenset()
    assert chain(GenerationConfig(ban=("fox",)), WORDS).banned == {UNK, 4}
    greedy = chain(GenerationConfig(temperature=0), WORDS)
    assert (greedy.banned, greedy.temperature) == ({UNK}, 0)
    warm = chain(GenerationConfig(temperature=0.5), WORDS)
    assert (warm.banned, warm.temperature) == ({UNK}, 0.5)
    for more in (
        {"top_k": 2},
        {"min_tokens": 1},
        {"ban": ("fox owl",)},
        {"only": "the"},
    ):
        assert chain(GenerationConfig(**more), WORDS).banned is None


def test_words_of_characters_are_banned_as_sequences() -> None:
    tokenizer = CharTokenizer(vocab=Vocabulary.from_tokens("abc "))
    rules = chain(GenerationConfig(ban=("ab", "c")), tokenizer)
    past = Past.of([np.array([3])], window=rules.window, forced=rules.forced)
    even = np.log(np.full((1, 7), 1 / 7))
    assert np.flatnonzero(~np.isfinite(rules(even, past)[0])).tolist() == [UNK, 4, 5]
    past.push(np.array([6]))
    assert np.flatnonzero(~np.isfinite(rules(even, past)[0])).tolist() == [UNK, 5]


def test_the_line_does_not_end_before_a_forced_word() -> None:
    rules = chain(GenerationConfig(force=("owl", "saw"), max_tokens=9), WORDS)
    even = np.log(np.full((1, V), 1 / V))
    past = Past.of([np.array([5])], window=rules.window, forced=rules.forced)
    p = np.exp(rules(even, past))[0]  # the word is in the prefix, but it has to be written
    assert p[EOS] == 0
    assert p[5] == pytest.approx(2 / (V - 1))
    past.push(np.array([5]))
    p = np.exp(rules(even, past))[0]
    assert p[6] == pytest.approx(2 / (V - 1))
    past.push(np.array([6]))
    assert np.exp(rules(even, past))[0, EOS] == pytest.approx(1 / (V - 1))
    late = Past.of([np.array([3])], window=0, forced=rules.forced)
    for _ in range(7):
        late.push(np.array([3]))
    assert np.exp(rules(even, late))[0].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert math.isfinite(rules(even, late)[0, 5])


def test_a_word_is_not_banned_and_forced_at_once() -> None:
    with pytest.raises(UsageError, match="'fox' is banned and forced"):
        chain(GenerationConfig(ban=("fox", "owl"), force=("fox",)), WORDS)
