"""Counting: the distinct n-grams of every order, how often each occurs, and how they hang together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmkit.errors import ResourceError
from lmkit.ngram.kernels import counting
from lmkit.ngram.suffix_sort import MAX_TOKENS, SortedSuffixes, sort_suffixes
from lmkit.text.vocabulary import BOS
from lmkit.threads import chunks, in_threads


@dataclass(frozen=True)
class Counts:
    """The n-grams of a text as the nodes of a trie, order after order, each order in lexicographic order.

    Attributes:
        order: the longest n-gram.
        level: (order + 1,) int64; order n has the nodes level[n - 1] to level[n]. A unigram's node is its id.
        word: (nodes,) int32, the last word of each n-gram.
        first: (contexts + 1,) uint32; n-grams that extend node g are the nodes first[g] to first[g + 1].
        suffix: (nodes,) int32, the n-gram without its first word; meaningless for unigrams.
        count: (nodes,) int32, how often it occurs.
        adjusted: (nodes,) int32, how many different words it follows (Kneser & Ney 1995), or `count` for the
            highest order and for what begins with `<s>`.
    """

    order: int
    level: np.ndarray
    word: np.ndarray
    first: np.ndarray
    suffix: np.ndarray
    count: np.ndarray
    adjusted: np.ndarray


def count_ngrams(ids: np.ndarray, *, order: int, vocab_size: int) -> Counts:
    """Count the n-grams of all orders in a stream of ids (T,) int32, each line ended by `</s>`.

    Raises:
        ResourceError: there are more n-grams than can be numbered.
    """
    suffixes = sort_suffixes(ids, order=order, vocab_size=vocab_size)
    rows = suffixes.rows.sum(axis=0)
    rows[:2] = 0, vocab_size  # every word is a unigram, met or not
    level = np.cumsum(rows)
    nodes, contexts = int(level[-1]), int(level[-2])
    if contexts > MAX_TOKENS or nodes >= 1 << 32:
        raise ResourceError(
            f"{nodes:,} n-grams are more than can be numbered; use a lower order or less text"
        )
    word, count = np.empty(nodes, np.int32), np.empty(nodes, np.int32)
    word[:vocab_size] = np.arange(vocab_size)
    count[:vocab_size] = suffixes.counts
    children = np.zeros(contexts, np.uint32)
    suffix = _collect(suffixes, level, word, count, children)
    first = np.empty(contexts + 1, np.uint32)
    first[0] = vocab_size
    np.cumsum(children, dtype=np.uint32, out=first[1:])
    first[1:] += np.uint32(vocab_size)
    del suffixes, children
    return Counts(
        order=order,
        level=level,
        word=word,
        first=first,
        suffix=suffix,
        count=count,
        adjusted=_adjusted(count, suffix, level, first),
    )


def _collect(
    suffixes: SortedSuffixes, level: np.ndarray, word: np.ndarray, count: np.ndarray, children: np.ndarray
) -> np.ndarray:
    """Fill `word`, `count` and `children`, a range of the sorted suffixes at a time; give the suffix of each n-gram."""
    order, stream = len(level) - 1, suffixes.stream
    place = np.empty(len(word), np.int32)
    node_at = np.empty((max(order - 2, 0), len(stream)), np.int32)
    before = np.cumsum(suffixes.rows, axis=0) - suffixes.rows  # n-grams of earlier ranges
    before[:, 1:] += level[:-1]

    def collect(r: int) -> None:
        part = slice(suffixes.bounds[r], suffixes.bounds[r + 1])
        counting.collect_nodes(
            stream, suffixes.positions[part], suffixes.shared[part], suffixes.length[part], order,
            before[r], word, count, place, children, node_at,
        )  # fmt: skip

    in_threads(collect, range(len(before)))
    suffix = np.empty(len(word), np.int32)
    pieces = [(n, *piece) for n in range(2, order + 1) for piece in chunks(int(level[n - 1]), int(level[n]))]
    in_threads(
        lambda piece: counting.link_suffixes(stream, place, piece[0], node_at, piece[1], piece[2], suffix),
        pieces,
    )
    return suffix


def _adjusted(count: np.ndarray, suffix: np.ndarray, level: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Give the adjusted counts: how many different words an n-gram follows, or how often it occurs.

    The latter for the highest order and for what begins with `<s>`, which nothing can precede.
    """
    order = len(level) - 1
    adjusted = count.copy()
    adjusted[: level[order - 1]] = 0
    orders = sorted(range(2, order + 1), key=lambda n: int(level[n - 1] - level[n]))  # the largest first
    in_threads(  # each order counts into the one below: threads never meet
        lambda n: counting.count_continuations(suffix, int(level[n - 1]), int(level[n]), adjusted), orders
    )
    begin, end = BOS, BOS + 1
    for _ in range(2, order):
        begin, end = int(first[begin]), int(first[end])
        adjusted[begin:end] = count[begin:end]
    adjusted[BOS] = 0
    return adjusted
