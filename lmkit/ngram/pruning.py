"""Pruning: which n-grams stay, by their raw counts and by a list of words.

A removed n-gram still counts in every sum (its mass goes to shorter contexts), so pruning is decided after counting.
"""

from __future__ import annotations

import numpy as np

from lmkit.errors import UsageError
from lmkit.ngram.counting import Counts
from lmkit.ngram.kernels import estimation
from lmkit.text.vocabulary import SPECIALS


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


def keep(counts: Counts, *, thresholds: tuple[int, ...], allowed: np.ndarray | None) -> np.ndarray:
    """Mark the n-grams that stay (nodes,) bool.

    Args:
        counts: All n-grams.
        thresholds: For each order the raw count up to which n-grams go.
        allowed: (V,) bool; n-grams with any other word go. None allows all.
    """
    kept = np.ones(len(counts.word), bool)
    for n, threshold in enumerate(thresholds, start=1):
        if threshold:
            kept[counts.level[n - 1] : counts.level[n]] = (
                counts.count[counts.level[n - 1] : counts.level[n]] > threshold
            )
    if allowed is not None:
        kept &= allowed[counts.word]
    kept[: len(SPECIALS)] = True
    for n in range(2, counts.order + 1):  # an n-gram goes with its context
        begin, end = counts.level[n - 2], counts.level[n - 1]
        estimation.drop_orphans(begin, end, counts.first, kept)
    return kept
