"""The bootstrap: how far a difference between two models is one of the text at hand (Efron 1979; Koehn 2004).

Parts of the text are drawn anew, with replacement, again and again; the spread of the differences found is that which
other texts of its kind would have. It is paired: both models are measured on the same lines each time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lmkit.seeds import check_seed

RESAMPLES = 10_000
_GROUPS = 100  # of neighbouring lines, drawn together: long ones, for articles are
_LINES = 5  # a group, if there are enough
_FEWEST = 20  # groups from which something can be said
_AT_ONCE = 500
_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of two ratios.

    Attributes:
        estimate: on the text as it is.
        low, high: between these 95 % of the differences on redrawn texts are.
        p_value: how often redrawn texts say the opposite, of both sides; small where the difference is no accident.

    The last three are NaN where there are too few lines, or a line that one of the models has for impossible.
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
        resamples: How often a text is drawn.
        seed: Of the draws.

    Groups of neighbouring lines are drawn together, for lines that stand together depend on each other (a block
    bootstrap, Künsch 1989): a hundredth of the text each, five lines at least; where there are not a hundred lines,
    20 groups. Of fewer than 20 lines, or where a difference is infinite, nothing but the difference itself can be said.

    >>> found = paired_bootstrap(np.arange(100.0), np.full(100, 10.0))
    >>> found.estimate, found.low < 4.95 < found.high, found.p_value < 0.001
    (4.95, True, True)
    >>> paired_bootstrap(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]))
    Difference(estimate=2.0, low=nan, high=nan, p_value=nan)
    """
    if len(sizes) < _FEWEST or not np.isfinite(differences).all():
        estimate = float(differences.sum(dtype=np.float64) / sizes.sum(dtype=np.float64))
        return Difference(estimate=estimate, low=math.nan, high=math.nan, p_value=math.nan)
    count = min(_GROUPS, max(_FEWEST, len(sizes) // _LINES))
    starts = np.linspace(0, len(sizes), count, endpoint=False).astype(np.int64)
    summed = np.stack([np.add.reduceat(column.astype(np.float64), starts) for column in (differences, sizes)])
    rng, groups = np.random.default_rng(check_seed(seed)), len(starts)
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
