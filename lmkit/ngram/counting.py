"""Counting: the distinct n-grams of every order, how often each occurs, and how they hang together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lmkit.errors import ResourceError
from lmkit.ngram.kernels import counting
from lmkit.ngram.suffix_sort import MAX_TOKENS, SortedWindows
from lmkit.scratch import Scratch, release
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
        suffix: (nodes,) int32, the n-gram without its first word; 0 for unigrams.
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


def count_ngrams(windows: SortedWindows, *, scratch: Scratch) -> Counts:
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
    del windows  # nobody else holds them: their memory is wanted
    total = np.uint32(vocab_size)
    first[0] = total
    for piece in scratch.pieces(first[1:]):
        total = counting.accumulate(piece, total)
    return Counts(
        order=len(level) - 1,
        level=level,
        word=word,
        first=first,
        suffix=(suffix := _suffixes(level, word, first, scratch)),
        count=count,
        adjusted=_adjusted(count, suffix, level, first, scratch),
    )


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


def suffix_ranges(level: np.ndarray, first: np.ndarray, n: int, *, room: int) -> list[tuple[int, int]]:
    """Cut the suffixes of the contexts of order n - 1 into ranges; what extends those of one fits into memory.

    Looking up an n-gram's suffix goes all over the order below: where that order is on disk, a part of it at a time.

    Args:
        level, first: see `Counts`.
        n: the order of the n-grams whose suffixes are looked up.
        room: bytes for two numbers of four bytes each for a suffix and what extends it.
    """
    if n == 2:  # contexts are words, whose suffix is nothing
        return [(0, 1)]
    begin, end = int(level[n - 3]), int(level[n - 2])
    extensions = np.arange(int(level[n - 2]), int(level[n - 1]), max(room // 16, 1), np.uint32)[1:]
    cuts = np.searchsorted(first[begin:end], extensions) + begin
    return list(pairwise(sorted({begin, *cuts.tolist(), end})))


def _suffixes(level: np.ndarray, word: np.ndarray, first: np.ndarray, scratch: Scratch) -> np.ndarray:
    """Give each n-gram (nodes,) int32 the node of the n-gram without its first word."""
    suffix = scratch.zeros(int(level[-1]), np.int32)
    if len(level) > 2:
        suffix[level[1] : level[2]] = word[level[1] : level[2]]
    for n in range(3, len(level)):  # each order needs the one below
        for low, high in suffix_ranges(level, first, n, room=scratch.room):

            def link(piece: tuple[int, int], low: int = low, high: int = high) -> None:
                begin, end = piece
                counting.link_suffixes(begin, end, low, high, word, first, suffix)
                extensions = slice(first[begin], first[end])
                release(suffix[begin:end], first[begin:end], word[extensions], suffix[extensions])

            in_threads(link, chunks(int(level[n - 2]), int(level[n - 1]), 1 << 18))
            release(word, first)
    return suffix


def _adjusted(
    count: np.ndarray, suffix: np.ndarray, level: np.ndarray, first: np.ndarray, scratch: Scratch
) -> np.ndarray:
    """Give the adjusted counts: how many different words an n-gram follows, or how often it occurs.

    The latter for the highest order and for what begins with `<s>`, which nothing can precede.
    """
    order = len(level) - 1
    adjusted = scratch.zeros(len(count), np.int32)
    for begin, end in chunks(int(level[order - 1]), int(level[order])):
        adjusted[begin:end] = count[begin:end]
        release(adjusted[begin:end], count[begin:end])

    def count_into(n: int) -> None:
        room = max(scratch.room // 8, 1)  # two orders at a time
        for low, high in chunks(int(level[n - 2]), int(level[n - 1]), room):
            for begin, end in chunks(int(level[n - 1]), int(level[n])):
                counting.count_continuations(suffix, begin, end, low, high, adjusted)
                release(suffix[begin:end])
            release(adjusted)

    orders = sorted(range(2, order + 1), key=lambda n: int(level[n - 1] - level[n]))  # the largest first
    in_threads(count_into, orders)  # each order counts into the one below: threads never meet
    begin, end = BOS, BOS + 1
    for _ in range(2, order):
        begin, end = int(first[begin]), int(first[end])
        adjusted[begin:end] = count[begin:end]
    adjusted[BOS] = 0
    return adjusted
