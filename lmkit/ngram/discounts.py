"""The three discounts of modified Kneser-Ney, estimated for each order from its counts of counts.

Chen & Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling", section 4.1.6:

    Y = n1 / (n1 + 2 n2)        D_k = k - (k + 1) Y n_{k+1} / n_k        k = 1, 2, 3 and more

where n_k is the number of n-grams with the adjusted count k.
"""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np

from lmkit.errors import LmkitWarning, UsageError
from lmkit.scratch import release
from lmkit.threads import chunks


def discounts(adjusted: np.ndarray) -> np.ndarray | None:
    """Give D_0 = 0, D_1, D_2, D_3+ (4,) of one order, or None where its counts cannot tell.

    That is so in small, artificial or character texts, in which some count up to 3 does not occur.

    Args:
        adjusted: The adjusted counts of the n-grams of this order, before pruning.

    >>> discounts(np.repeat([1, 2, 3, 4], [40, 20, 10, 5])).tolist()
    [0.0, 0.5, 1.25, 2.0]
    """
    n = np.zeros(5)
    for begin, end in chunks(0, len(adjusted)):
        some = adjusted[begin:end]
        n += np.bincount(some[some <= 4], minlength=5)
        release(adjusted)
    if not n[1:4].all():
        return None
    k = np.arange(1, 4)
    estimate = k - (k + 1) * (n[1] / (n[1] + 2 * n[2])) * n[2:5] / n[1:4]
    return np.concatenate([[0.0], estimate]) if ((estimate >= 0) & (estimate <= k)).all() else None


def discounts_by_order(
    adjusted: np.ndarray, level: np.ndarray, fallback: tuple[float, ...]
) -> list[np.ndarray]:
    """Give the discounts (4,) of every order, and warn of the orders that had to fall back.

    Args:
        adjusted: (nodes,) the adjusted counts of all n-grams, order after order.
        level: (order + 1,) where each order begins and ends.
        fallback: What to take where the counts cannot tell; the last one is repeated.
    """
    substitute = np.concatenate([[0.0], fallback, np.repeat(fallback[-1:], 3)])[:4]
    estimates = [discounts(adjusted[begin:end]) for begin, end in pairwise(level)]
    missing = [n for n, d in enumerate(estimates, start=1) if d is None and level[n] > level[n - 1]]
    if missing:
        orders, given = ", ".join(map(str, missing)), ", ".join(f"{d:g}" for d in fallback)
        warnings.warn(
            f"too few different counts to estimate the discounts of order {orders}; took {given} there",
            LmkitWarning,
            stacklevel=2,
        )
    return [substitute if d is None else d for d in estimates]


def check_fallback(fallback: tuple[float, ...]) -> None:
    """Refuse fallback discounts that are not up to three numbers, the k-th between 0 and k.

    Raises:
        UsageError: they are not.
    """
    if not 1 <= len(fallback) <= 3 or not all(0 <= d <= k for k, d in enumerate(fallback, start=1)):
        raise UsageError(f"discount_fallback {fallback}: give up to three numbers, at most 1, 2 and 3")
