"""The compiled loops of counting and estimation against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.compiled import compiled, prefetch
from lmkit.ngram.continuations import continuations
from lmkit.ngram.count_trie import CountTrie, count_ngrams
from lmkit.ngram.external_sort import empty_run, run_of_windows
from lmkit.ngram.kernels import counting, estimation, sorting
from lmkit.ngram.suffix_sort import sort_suffixes, with_line_starts
from lmkit.scratch import MEMORY
from lmkit.text.vocabulary import EOS
from tests.ngram import plain

VOCAB = 9
texts = st.lists(st.lists(st.integers(3, VOCAB - 1), max_size=7), min_size=1, max_size=15).map(
    lambda lines: np.array([token for line in lines for token in (*line, EOS)], np.int32)
)


def counted(ids: np.ndarray, order: int) -> tuple[np.ndarray, CountTrie]:
    stream = with_line_starts(ids, scratch=MEMORY)
    suffixes = sort_suffixes(stream, order=order, vocab_size=VOCAB)
    return plain.windows(stream, order), count_ngrams(suffixes, scratch=MEMORY)


@given(ids=texts)
def test_line_starts(ids: np.ndarray) -> None:
    assert with_line_starts(ids, scratch=MEMORY).tolist() == plain.with_line_starts(ids).tolist()


@given(ids=texts, order=st.integers(1, 6), size=st.integers(0, 40), small=st.booleans())
def test_positions_are_sorted_by_their_windows(ids: np.ndarray, order: int, size: int, small: bool) -> None:
    stream = with_line_starts(ids, scratch=MEMORY)
    size = min(size, len(stream)) if small else len(stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmkit.ngram.suffix_sort._RANGE", 4)
        suffixes = sort_suffixes(stream, order=order, vocab_size=VOCAB, size=size)
    rows = plain.windows(stream, order)[:size]
    expected = plain.sort(rows)
    assert suffixes.positions.tolist() == expected.tolist()
    assert suffixes.length.tolist() == plain.lengths(rows[expected]).tolist()
    shared = plain.shared(rows[expected])
    within = np.isin(np.arange(size), suffixes.bounds, invert=True)  # ranges share nothing
    assert suffixes.shared[within].tolist() == shared[within].tolist()
    assert not suffixes.shared[~within].any()
    assert suffixes.rows.sum(axis=0)[1:].tolist() == [
        len(plain.grams(rows, n)[0]) for n in range(1, order + 1)
    ]


@given(ids=texts, order=st.integers(1, 5))
def test_distinct_windows_and_their_weights(ids: np.ndarray, order: int) -> None:
    rows = plain.windows(with_line_starts(ids, scratch=MEMORY), order)
    filled = np.where(rows < 0, EOS, rows).astype(np.int32)
    weight = np.arange(1, len(rows) + 1, dtype=np.int32)
    space = empty_run(len(filled), order, MEMORY)
    run = run_of_windows(filled, weight, vocab_size=VOCAB, space=space)
    distinct, which = np.unique(filled, axis=0, return_inverse=True)
    assert run.windows.tolist() == distinct.tolist()
    assert run.weight.tolist() == np.bincount(which.ravel(), weight).tolist()
    counts, begun = np.zeros(VOCAB, np.int64), np.zeros(VOCAB, np.int64)
    sorting.count_first_tokens(run.windows, run.weight, counts, begun)
    assert counts.tolist() == np.bincount(filled[:, 0], weight, VOCAB).tolist()
    assert begun.tolist() == np.bincount(distinct[:, 0], minlength=VOCAB).tolist()


@given(ids=texts, order=st.integers(2, 5))
def test_nodes_are_the_distinct_ngrams_in_order(ids: np.ndarray, order: int) -> None:
    rows, counts = counted(ids, order)
    for n in range(2, order + 1):
        expected, how_often = plain.grams(rows, n)
        nodes = slice(counts.level[n - 1], counts.level[n])
        assert counts.word[nodes].tolist() == expected[:, -1].tolist()
        assert counts.count[nodes].tolist() == how_often.tolist()
        contexts = plain.grams(rows, n - 1)[0] if n > 2 else np.arange(VOCAB)[:, None]
        children = np.bincount(plain.places(expected[:, :-1], contexts), minlength=len(contexts))
        first = counts.first[counts.level[n - 2] : counts.level[n - 1] + 1].astype(np.int64)
        assert np.diff(first).tolist() == children.tolist()


@given(ids=texts, order=st.integers(2, 5))
def test_suffixes_and_what_they_follow(ids: np.ndarray, order: int) -> None:
    rows, counts = counted(ids, order)
    found = continuations(counts, scratch=MEMORY)
    for n in range(2, order + 1):
        grams, how_often = plain.grams(rows, n)
        lower = plain.grams(rows, n - 1)[0] if n > 2 else np.arange(VOCAB)[:, None]
        suffix = plain.places(grams[:, 1:], lower)
        nodes = slice(counts.level[n - 1], counts.level[n])
        assert (found.suffix[nodes] - counts.level[n - 2]).tolist() == suffix.tolist()
        below = slice(counts.level[n - 2], counts.level[n - 1])
        follows = np.bincount(suffix, minlength=len(lower))
        begins = lower[:, 0] == 1
        if n > 2:
            follows = np.where(begins, counts.count[below], follows)
        assert found.adjusted[below].tolist() == follows.tolist()
        if n == order:
            assert found.adjusted[nodes].tolist() == how_often.tolist()


@given(ids=texts, seed=st.integers(0, 1000))
def test_smoothing(ids: np.ndarray, seed: int) -> None:
    _, counts = counted(ids, 3)
    found = continuations(counts, scratch=MEMORY)
    rng = np.random.default_rng(seed)
    kept = rng.random(len(counts.word)) < 0.7
    discount = np.array([0.0, 0.5, 0.9, 1.4])
    probability = rng.random(len(counts.word)).astype(np.float32)
    gamma = np.full(int(counts.level[2]), np.nan, np.float32)
    nodes = slice(counts.level[2], counts.level[3])
    begin, end = int(counts.level[1]), int(counts.level[2])
    context = np.repeat(np.arange(begin, end), np.diff(counts.first[begin : end + 1].astype(np.int64)))
    expected, weight = plain.smooth(
        found.adjusted[nodes], context, probability[found.suffix[nodes]], kept[nodes], discount
    )
    estimation.smooth_contexts(
        begin,
        end,
        0,
        begin,
        counts.first,
        found.adjusted,
        kept,
        False,
        discount,
        found.suffix,
        probability,
        gamma,
    )
    assert probability[nodes] == pytest.approx(expected, rel=1e-6)
    present = np.unique(context)
    assert gamma[present] == pytest.approx(weight[present], rel=1e-6)
    assert (np.delete(gamma[begin:end], present - begin) == 1).all()  # nothing extends them: nothing to weigh


@given(values=st.lists(st.integers(0, 100), max_size=20))
def test_accumulate(values: list[int]) -> None:
    numbers = np.array(values, np.uint32)
    assert counting.accumulate(numbers, np.uint32(7)) == 7 + sum(values)
    assert numbers.tolist() == (7 + np.cumsum(values)).tolist()


def test_prefetching_changes_nothing() -> None:
    @compiled
    def total(values):  # type: ignore[no-untyped-def]
        result = 0
        for i in range(len(values)):
            prefetch(values, i + 8)  # any place will do, also one behind the end
            result += values[i]
        return result

    assert total(np.arange(100)) == 4950
