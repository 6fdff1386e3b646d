"""The bootstrap: how far a difference between two models is one of the text at hand (Efron 1979; Koehn 2004).

Lines are drawn anew from the text, with replacement, again and again; the spread of the differences found is that which
other texts of its kind would have. It is paired: both models are measured on the same lines each time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
_GROUPS = 1000  # of neighbouring lines, drawn together
_AT_ONCE = 500
_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of two ratios.

    Attributes:
        estimate: on the text as it is.
        low, high: between these 95 % of the differences on redrawn texts are.
        p_value: how often redrawn texts say the opposite, of both sides; small where the difference is no accident.
    """

    estimate: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    differences: np.ndarray, sizes: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Give sum of differences / sum of sizes, and how sure it is.

    Args:
        differences: (L,) what one model has more than the other on each line.
        sizes: (L,) what it is divided by: the line's bytes, or tokens.
        resamples: How often lines are drawn.
        seed: Of the draws.

    Of more than 1,000 lines, as many groups of neighbours are drawn: lines that stand together depend on each other.

    >>> found = paired_bootstrap(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]))
    >>> found.estimate, found.low, found.high, found.p_value < 0.001
    (2.0, 1.0, 3.0, True)
    """
    starts = np.linspace(0, len(sizes), min(_GROUPS, len(sizes)), endpoint=False).astype(np.int64)
    summed = np.stack([np.add.reduceat(column.astype(np.float64), starts) for column in (differences, sizes)])
    rng, groups = np.random.default_rng(seed), len(starts)
    found = []
    for begin in range(0, resamples, _AT_ONCE):
        drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=min(_AT_ONCE, resamples - begin))
        above, below = summed @ drawn.T
        found.append(above / below)
    ratios = np.concatenate(found)
    low, high = np.quantile(ratios, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    opposite = min((ratios <= 0).sum(), (ratios >= 0).sum())
    return Difference(
        estimate=float(summed[0].sum() / summed[1].sum()),
        low=float(low),
        high=float(high),
        p_value=float(min(1.0, 2 * (opposite + 1) / (resamples + 1))),
    )
