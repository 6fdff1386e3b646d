"""Inversion: a uniform number becomes a draw from any distribution (Devroye 1986, chapter II.2).

    u S lies between the sums of the weights before a token and with it, S being the sum of all

Weights need not sum to one. What has no weight is never drawn, however sums are rounded.
"""

from __future__ import annotations

import numpy as np


def place(sums: np.ndarray, goal: float) -> int:
    """Give the first place of growing sums (V,) that is above a goal, at most the last one with a weight.

    >>> place(np.array([0.5, 0.5, 1.0, 1.0]), 0.5), place(np.array([0.5, 0.5, 1.0, 1.0]), 1.0)
    (2, 2)
    """
    return min(int(sums.searchsorted(goal, "right")), int(sums.searchsorted(sums[-1])))


def inverted(weights: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Draw a token (B,) in proportion to weights (B, V), by a point (B,) of [0, 1) each.

    >>> inverted(np.array([[5.0, 3.0, 2.0]] * 3), np.array([0.0, 0.5, 0.99])).tolist()
    [0, 1, 2]
    """
    sums = np.cumsum(weights, axis=1, dtype=np.float64)
    return np.array([place(row, point * row[-1]) for row, point in zip(sums, points, strict=True)], np.int64)


def tempered(logprobs: np.ndarray, temperature: float) -> np.ndarray:
    """Give (log p - max log p) / T (..., V) in float64, whose exp are the weights of p^(1/T).

    >>> np.exp(tempered(np.log([0.8, 0.2]), 0.5)).round(4).tolist()
    [1.0, 0.0625]
    """
    centred = logprobs.astype(np.float64) - logprobs.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # by a tiny temperature: what overflows is not drawn
        return np.asarray(centred / temperature)
