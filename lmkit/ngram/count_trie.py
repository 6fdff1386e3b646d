"""Counting: the distinct n-grams of every order and how often each occurs, as a trie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmkit.errors import ResourceError
from lmkit.ngram.kernels import counting
from lmkit.ngram.suffix_sort import MAX_TOKENS, SortedWindows
from lmkit.scratch import Scratch, release
from lmkit.threads import in_threads


@dataclass(frozen=True)
class CountTrie:
    """The n-grams of a text as the nodes of a trie, order after order, each order in lexicographic order.

    Attributes:
        order: the longest n-gram.
        level: (order + 1,) int64; order n has the nodes level[n - 1] to level[n]. A unigram's node is its id.
        word: (nodes,) int32, the last word of each n-gram.
        first: (contexts + 1,) uint32; n-grams that extend node g are the nodes first[g] to first[g + 1].
        count: (nodes,) int32, how often it occurs.
    """

    order: int
    level: np.ndarray
    word: np.ndarray
    first: np.ndarray
    count: np.ndarray


def count_ngrams(windows: SortedWindows, *, scratch: Scratch) -> CountTrie:
    """Count the n-grams of all orders in some sorted windows.

    Raises:
        ResourceError: there are more n-grams than can be numbered.
    """
    rows = windows.rows.sum(axis=0)
    vocab_size = len(windows.counts)
    rows[:2] = 0, vocab_size  # every word is a unigram, met or not
    level = np.cumsum(rows)
    nodes, contexts = int(level[-1]), int(level[-2])
    if contexts > MAX_TOKENS or nodes >= 1 << 32:
        raise ResourceError(
            f"{nodes:,} n-grams are more than can be numbered; use a lower order or less text"
        )
    word, count = scratch.empty(nodes, np.int32), scratch.zeros(nodes, np.int32)
    word[:vocab_size] = np.arange(vocab_size)
    count[:vocab_size] = windows.counts
    first = scratch.zeros(contexts + 1, np.uint32)
    _collect(windows, level, word, count, first[1:])
    first[0] = total = vocab_size
    for piece in scratch.pieces(first[1:]):
        total = counting.accumulate(piece, total)
    return CountTrie(order=len(level) - 1, level=level, word=word, first=first, count=count)


def _collect(
    windows: SortedWindows, level: np.ndarray, word: np.ndarray, count: np.ndarray, children: np.ndarray
) -> None:
    """Fill `word`, `count` and `children`, a range of the sorted windows at a time."""
    before = np.cumsum(windows.rows, axis=0) - windows.rows  # n-grams of earlier ranges
    before[:, 1:] += level[:-1]

    def collect(r: int) -> None:
        current = np.zeros(len(level), np.int64)
        for part in windows.parts(r):
            counting.collect_nodes(*part, current, before[r], word, count, children)
            release(word, count, children)

    in_threads(collect, range(len(before)))
