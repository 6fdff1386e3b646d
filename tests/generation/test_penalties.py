"""Rules against repetition and about what may be written, each against its definition."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import UsageError
from lmkit.generation import constraints, penalties
from lmkit.generation.distributions import normalize

V = 5  # a network in the same process may have switched subnormal numbers off
distributions = st.lists(st.floats(-20, -1e-3, allow_subnormal=False), min_size=V, max_size=V).map(
    lambda x: normalize(np.array([x]))
)
pasts = st.lists(st.integers(0, V - 1), min_size=0, max_size=8)


def array(past: list[int]) -> np.ndarray:
    """Tokens as rules see them, with two places in front where there were none."""
    return np.array([[-1, -1, *past]], np.int32)


def is_proportional(shaped: np.ndarray, p: list[float]) -> bool:
    return bool(np.exp(shaped[0]) == pytest.approx(np.array(p) / math.fsum(p), abs=1e-9))


@given(logprobs=distributions, past=pasts, penalty=st.floats(0, 3, allow_subnormal=False))
def test_repetition_penalty_is_a_power(logprobs: np.ndarray, past: list[int], penalty: float) -> None:
    p = [math.exp(x) ** (penalty if i in past else 1) for i, x in enumerate(logprobs[0])]
    if math.fsum(p) > 1e-200:
        assert is_proportional(penalties.repetition_penalty(logprobs, array(past), penalty), p)


@given(logprobs=distributions, past=pasts, nats=st.floats(-3, 3, allow_subnormal=False))
def test_frequency_and_presence_penalties(logprobs: np.ndarray, past: list[int], nats: float) -> None:
    count = Counter(past)
    by_count = [math.exp(x - nats * count[i]) for i, x in enumerate(logprobs[0])]
    by_presence = [math.exp(x - nats * (i in count)) for i, x in enumerate(logprobs[0])]
    assert is_proportional(penalties.frequency_penalty(logprobs, array(past), nats), by_count)
    assert is_proportional(penalties.presence_penalty(logprobs, array(past), nats), by_presence)


@given(logprobs=distributions, past=pasts, n=st.integers(1, 4))
def test_no_n_gram_is_completed_again(logprobs: np.ndarray, past: list[int], n: int) -> None:
    grams = {tuple(past[i : i + n]) for i in range(len(past) - n + 1)}
    again = [len(past) >= n - 1 and (*past[len(past) - n + 1 :], i) in grams for i in range(V)]
    p = [0.0 if bad and not all(again) else math.exp(x) for bad, x in zip(again, logprobs[0], strict=True)]
    assert is_proportional(penalties.no_repeat_ngram(logprobs, array(past), n), p)


@given(
    logprobs=distributions,
    past=pasts,
    words=st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=3)),
)
def test_a_banned_sequence_is_not_completed(
    logprobs: np.ndarray, past: list[int], words: list[list[int]]
) -> None:
    shaped = constraints.ban(logprobs, array(past), [np.array(word) for word in words])
    bad = {
        word[-1]
        for word in words
        if len(past) >= len(word) - 1 and past[len(past) - len(word) + 1 :] == word[:-1]
    }
    p = [0.0 if i in bad and len(bad) < V else math.exp(x) for i, x in enumerate(logprobs[0])]
    assert is_proportional(shaped, p)


@given(logprobs=distributions, allowed=st.lists(st.booleans(), min_size=V, max_size=V))
def test_only_allowed_words(logprobs: np.ndarray, allowed: list[bool]) -> None:
    p = [math.exp(x) if ok or not any(allowed) else 0.0 for ok, x in zip(allowed, logprobs[0], strict=True)]
    assert is_proportional(constraints.only(logprobs, np.array(allowed)), p)


@given(logprobs=distributions, written=st.integers(0, 4), least=st.integers(0, 4))
def test_no_early_line_end(logprobs: np.ndarray, written: int, least: int) -> None:
    p = [0.0 if i == 2 and written < least else math.exp(x) for i, x in enumerate(logprobs[0])]
    assert is_proportional(constraints.min_tokens(logprobs, np.array([written]), least), p)


@given(logprobs=distributions, missing=st.sampled_from([-1, 3, 4]), now=st.booleans())
def test_a_forced_word_takes_the_place_of_the_line_end(logprobs: np.ndarray, missing: int, now: bool) -> None:
    p = np.exp(logprobs[0])
    if missing >= 0:
        p[missing], p[2] = p[missing] + p[2], 0.0
        p = np.eye(V)[missing] if now else p
    assert is_proportional(constraints.force(logprobs, np.array([missing]), np.array([now])), p.tolist())


def test_numbers_that_change_nothing_and_those_that_cannot_be() -> None:
    logprobs, past = np.log(np.full((1, V), 1 / V)), array([1, 1, 2])
    for same in (
        penalties.repetition_penalty(logprobs, past, 1),
        penalties.frequency_penalty(logprobs, past, 0),
        penalties.presence_penalty(logprobs, past, 0),
        penalties.no_repeat_ngram(logprobs, past, 0),
        penalties.no_repeat_ngram(logprobs, past, 99),
        constraints.ban(logprobs, past, []),
    ):
        assert np.exp(same) == pytest.approx(np.exp(logprobs))
    for value in (-1, math.nan, math.inf):
        with pytest.raises(UsageError, match="repetition_penalty"):
            penalties.repetition_penalty(logprobs, past, value)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(UsageError, match="frequency_penalty"):
            penalties.frequency_penalty(logprobs, past, value)
        with pytest.raises(UsageError, match="presence_penalty"):
            penalties.presence_penalty(logprobs, past, value)
    with pytest.raises(UsageError, match="no_repeat_ngram"):
        penalties.no_repeat_ngram(logprobs, past, -1)
    with np.errstate(divide="ignore"):
        certain = np.log(np.array([[0.0, 1.0, 0.0, 0.0, 0.0]]))
    assert np.exp(penalties.repetition_penalty(certain, array([0, 1]), 0.0)).tolist() == [[0, 1, 0, 0, 0]]
    assert np.exp(penalties.no_repeat_ngram(certain, array([1]), 1)).tolist() == [[0, 1, 0, 0, 0]]


@pytest.mark.parametrize("past", [[0, 0, 0], [0, 0, 1, 1, 2, 3, 4], []])
def test_penalties_beyond_all_measure_leave_a_distribution(past: list[int]) -> None:
    logprobs = normalize(np.log([[0.4, 0.3, 0.1, 0.1, 0.1]]))
    for largest in (1e308, -1e308):
        for rule in (penalties.frequency_penalty, penalties.presence_penalty):
            assert np.exp(rule(logprobs, array(past), largest)).sum() == pytest.approx(1)
    assert np.exp(penalties.repetition_penalty(logprobs, array(past), 1e308)).sum() == pytest.approx(1)
    favoured = penalties.frequency_penalty(logprobs, array([0, 0, 0]), -1e308)
    assert np.exp(favoured[0]).tolist() == [1, 0, 0, 0, 0]


def test_rows_do_not_meet() -> None:
    logprobs = np.log(np.full((2, V), 1 / V))
    past = np.array([[-1, 3], [4, 4]], np.int32)
    shaped = penalties.frequency_penalty(logprobs, past, 1.0)
    for row in range(2):
        assert shaped[row] == pytest.approx(
            penalties.frequency_penalty(logprobs[:1], past[row : row + 1], 1.0)[0]
        )
