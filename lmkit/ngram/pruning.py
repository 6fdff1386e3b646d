"""Pruning: which n-grams stay, by their raw counts and by a list of words.

A removed n-gram still counts in every sum (its mass goes to shorter contexts), so pruning is decided after counting.
"""

from __future__ import annotations

import numpy as np

from lmkit.errors import UsageError
from lmkit.ngram.count_trie import CountTrie
from lmkit.ngram.kernels import counting, estimation
from lmkit.ngram.trie import Trie
from lmkit.scratch import Scratch, release
from lmkit.text.vocabulary import SPECIALS
from lmkit.threads import chunks


def check_thresholds(prune: tuple[int, ...], order: int) -> tuple[int, ...]:
    """Give one threshold per order, the last one given repeated.

    Raises:
        UsageError: there are too many, or they fall with the order, which would leave n-grams without contexts.
    """
    if len(prune) > order:
        raise UsageError(f"prune {prune}: {len(prune)} thresholds for a model of order {order}")
    thresholds = (prune + prune[-1:] * order)[:order] if prune else (0,) * order
    if list(thresholds) != sorted(thresholds):
        raise UsageError(f"prune {prune}: thresholds must not fall from one order to the next")
    return thresholds


def keep(
    counts: CountTrie, *, thresholds: tuple[int, ...], allowed: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    """Mark the n-grams that stay (nodes,) bool.

    Args:
        counts: All n-grams.
        thresholds: For each order the raw count up to which n-grams go.
        allowed: (V,) bool; n-grams with any other word go. None allows all.
        scratch: Where large arrays are.
    """
    kept = scratch.empty(len(counts.word), np.bool_)
    for n, threshold in enumerate(thresholds, start=1):
        for begin, end in chunks(int(counts.level[n - 1]), int(counts.level[n])):
            kept[begin:end] = counts.count[begin:end] > threshold if threshold else True
            if allowed is not None:
                kept[begin:end] &= allowed[counts.word[begin:end]]
            release(counts.count, counts.word, kept)
    kept[: len(SPECIALS)] = True
    for n in range(2, counts.order + 1):  # an n-gram goes with its context
        for begin, end in chunks(int(counts.level[n - 2]), int(counts.level[n - 1])):
            estimation.drop_orphans(begin, end, counts.first, kept)
            release(counts.first, kept)
    return kept


def compact(trie: Trie, kept: np.ndarray, *, scratch: Scratch) -> Trie:
    """Give the trie of the nodes marked in `kept` (nodes,); words are numbered anew without the gaps."""
    if all(piece.all() for piece in scratch.pieces(kept)):
        return trie
    before = scratch.empty(len(kept) + 1, np.uint32)  # how many kept nodes stand before each
    before[0] = total = 0
    for begin, end in chunks(0, len(kept)):
        before[begin + 1 : end + 1] = kept[begin:end]
        total = counting.accumulate(before[begin + 1 : end + 1], total)
        release(before, kept)

    def chosen(values: np.ndarray, renumber: np.ndarray | None = None, spare: int = 0) -> np.ndarray:
        out = scratch.empty(int(before[len(values)]) + spare, values.dtype.type)
        for begin, end in chunks(0, len(values)):
            some = values[begin:end][kept[begin:end]]
            out[before[begin] : before[end]] = some if renumber is None else renumber[some]
            release(values, kept, before, out)
        return out

    first = chosen(trie.first[:-1], before, spare=1)
    first[-1] = before[trie.first[-1]]
    return Trie(
        level=before[trie.level].astype(np.int64),
        word=chosen(trie.word, before),
        log10_prob=chosen(trie.log10_prob),
        log10_backoff=chosen(trie.log10_backoff),
        first=first,
    )
