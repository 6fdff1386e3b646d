"""Continuations: what an n-gram is without its first word, and how many different words it follows.

Kneser & Ney 1995, "Improved backing-off for m-gram language modeling": a short n-gram matters as much as the number of
different words that it is met after, not as often as it occurs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lmkit.errors import InputError
from lmkit.ngram.count_trie import CountTrie
from lmkit.ngram.kernels import counting
from lmkit.ngram.suffix_sort import MAX_TOKENS
from lmkit.scratch import Scratch, release
from lmkit.text.vocabulary import BOS
from lmkit.threads import chunks, in_threads

CONTEXT_BYTES = 128  # that a context takes with what extends it, while a loop goes through them


@dataclass(frozen=True)
class Continuations:
    """What belongs to each n-gram (node of `CountTrie`) beside its count.

    Attributes:
        suffix: (nodes,) int32, the n-gram without its first word; 0 for unigrams.
        adjusted: (nodes,) int32, how many different words it follows, or its count for the highest order and for
            what begins with `<s>`, which nothing can precede.
    """

    suffix: np.ndarray
    adjusted: np.ndarray


def continuations(counts: CountTrie, *, scratch: Scratch) -> Continuations:
    """Find the suffix of every n-gram, and count what each follows.

    Raises:
        InputError: an n-gram has no suffix: these are not the counts of whole lines.
    """
    suffix = _suffixes(counts, scratch)
    return Continuations(suffix, _adjusted(counts, suffix, scratch))


def suffix_ranges(counts: CountTrie, n: int, *, room: int) -> list[tuple[int, int]]:
    """Cut the suffixes of the contexts of order n - 1 into ranges; what extends those of one fits into memory.

    Looking up an n-gram's suffix goes all over the order below: where that order is on disk, a part of it at a time.

    Args:
        counts: All n-grams.
        n: the order of the n-grams whose suffixes are looked up.
        room: bytes for two numbers of four bytes each for a suffix and what extends it.
    """
    if n == 2:  # contexts are words, whose suffix is nothing
        return [(0, 1)]
    level, first = counts.level, counts.first
    begin, end = int(level[n - 3]), int(level[n - 2])
    extensions = np.arange(int(level[n - 2]), int(level[n - 1]), max(room // 16, 1), dtype=np.uint32)[1:]
    cuts = np.searchsorted(first[begin:end], extensions) + begin
    return list(pairwise(sorted({begin, *cuts.tolist(), end})))


def _suffixes(counts: CountTrie, scratch: Scratch) -> np.ndarray:
    """Give each n-gram (nodes,) int32 the node of the n-gram without its first word."""
    level, word, first = counts.level, counts.word, counts.first
    suffix = scratch.zeros(int(level[-1]), np.int32)
    if counts.order > 1:
        suffix[level[1] : level[2]] = word[level[1] : level[2]]

    def link(piece: tuple[int, int, int, int]) -> None:
        begin, end, low, high = piece
        if counting.link_suffixes(begin, end, low, high, word, first, suffix) >= 0:
            raise _incomplete()
        extensions = slice(first[begin], first[end])
        release(suffix[begin:end], first[begin:end], word[extensions], suffix[extensions])

    for n in range(3, counts.order + 1):  # each order needs the one below
        contexts = chunks(int(level[n - 2]), int(level[n - 1]), scratch.at_a_time(CONTEXT_BYTES))
        for ends in suffix_ranges(counts, n, room=scratch.room):
            in_threads(link, [(*context, *ends) for context in contexts])
            release(word, first)
    return suffix


def _adjusted(counts: CountTrie, suffix: np.ndarray, scratch: Scratch) -> np.ndarray:
    """Give the adjusted counts; see `Continuations`."""
    level, count, order = counts.level, counts.count, counts.order
    adjusted = scratch.zeros(len(count), np.int32)
    for begin, end in chunks(int(level[order - 1]), int(level[order])):
        adjusted[begin:end] = count[begin:end]
        release(adjusted[begin:end], count[begin:end])

    def count_into(n: int) -> None:
        part = scratch.at_a_time(8, most=MAX_TOKENS)
        for low, high in chunks(int(level[n - 2]), int(level[n - 1]), part):
            for begin, end in chunks(int(level[n - 1]), int(level[n]), scratch.at_a_time(8, most=1 << 20)):
                counting.count_continuations(suffix, begin, end, low, high, adjusted)
                release(suffix[begin:end])
            release(adjusted)

    orders = sorted(range(2, order + 1), key=lambda n: int(level[n - 1] - level[n]))  # the largest first
    in_threads(count_into, orders)  # each order counts into the one below: threads never meet
    begin, end = BOS, BOS + 1
    for _ in range(2, order):
        begin, end = int(counts.first[begin]), int(counts.first[end])
        adjusted[begin:end] = count[begin:end]
    adjusted[BOS] = 0
    words = slice(BOS + 1, int(level[1]))
    at_odds = (
        (count[words] == 0) != (adjusted[words] == 0)
    ).any()  # what occurs follows something, and the reverse
    if at_odds or any((piece < 1).any() for piece in scratch.pieces(adjusted[level[1] :])):
        raise _incomplete()
    return adjusted


def _incomplete() -> InputError:
    return InputError(
        "the counts are not complete: some n-gram is counted, but not the one without its first word, or nothing "
        "before it. Counts of whole lines are needed, of every order and with no n-gram left out for being rare"
    )
