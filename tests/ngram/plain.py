"""Each compiled loop of the n-gram engine in plain numpy: slow, short, and what the loops are compared with."""

from __future__ import annotations

import numpy as np

from lmkit.text.vocabulary import BOS, EOS


def with_line_starts(ids: np.ndarray) -> np.ndarray:
    at_start = np.concatenate([[True], ids[:-1] == EOS]) if len(ids) else np.zeros(0, bool)
    return np.insert(ids, np.flatnonzero(at_start), BOS)


def windows(stream: np.ndarray, order: int) -> np.ndarray:
    """The next tokens at each position, filled up with -1 behind `</s>` (and behind the text)."""
    padded = np.concatenate([stream, np.full(order, EOS)])
    rows = padded[np.arange(len(stream))[:, None] + np.arange(order)]
    ended = np.cumsum(rows == EOS, axis=1) - (rows == EOS) > 0
    return np.where(ended, -1, rows)


def sort(rows: np.ndarray) -> np.ndarray:
    """The order of the rows, equal ones as they come."""
    return np.lexsort(rows.T[::-1])


def lengths(rows: np.ndarray) -> np.ndarray:
    return (rows >= 0).sum(axis=1)


def shared(rows: np.ndarray) -> np.ndarray:
    """How many leading tokens each row has in common with the one before."""
    same = np.zeros(rows.shape, bool)
    same[1:] = (rows[1:] == rows[:-1]) & (rows[1:] >= 0)
    return np.cumprod(same, axis=1).sum(axis=1)


def grams(rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct n-grams that begin in some windows, in order, and how often each does."""
    complete = rows[lengths(rows) >= n, :n]
    return np.unique(complete, axis=0, return_counts=True)


def places(needles: np.ndarray, hay: np.ndarray) -> np.ndarray:
    """Where each row stands among distinct rows."""
    if not len(needles):
        return np.empty(0, np.int64)
    found = (needles[:, None, :] == hay[None, :, :]).all(axis=2)
    assert (found.sum(axis=1) == 1).all()
    return found.argmax(axis=1)


def smooth(
    adjusted: np.ndarray, context: np.ndarray, lower: np.ndarray, kept: np.ndarray, discount: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated probabilities of some n-grams, and the weight of the lower order after each context.

    `context` numbers the context of each n-gram, `lower` is the probability of the n-gram without its first word.
    """
    taken = discount[np.minimum(adjusted, 3)]
    total = np.maximum(np.bincount(context, adjusted), 1)  # 1 where nothing extends a context
    weight = np.bincount(context, np.where(kept, taken, adjusted)) / total
    return (adjusted - taken) / total[context] + weight[context] * lower, weight
