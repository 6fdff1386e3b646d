"""The best value of one number, found by multiplying and dividing it for as long as that helps."""

from __future__ import annotations

import math
from collections.abc import Callable


def climb(
    score: Callable[[float], float], first: float, *, factor: float, least: float, most: float
) -> tuple[float, float]:
    """Give the number between `least` and `most` that scores highest on the way from `first`, and its score.

    Smaller numbers are tried before larger ones. A score that is no number is lower than every other.

    >>> climb(lambda x: -abs(x - 10), 3.0, factor=2.0, least=1.0, most=100.0)
    (12.0, -2.0)
    """

    def scored(value: float) -> float:
        found = score(value)
        return found if math.isfinite(found) else -math.inf

    best, highest = first, scored(first)
    for step in (1 / factor, factor):
        while least <= best * step <= most:
            found = scored(best * step)
            if found <= highest and math.isfinite(highest):
                break
            best, highest = best * step, found
        if best != first:
            break  # the other way has been left behind
    return best, highest
