"""Preprocessing: numbers of one scale, and measurements that were not taken where they are needed.

    standardised    (x - mean) / standard deviation, so that a loss, and a threshold in it, means the same everywhere

What was not measured is NaN. Between two known values it is on the straight line between them, that of the nearest, or
that of the one before; before the first and after the last known value a line goes on level. Where nothing is
known, nothing is filled in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmkit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("linear", "nearest", "previous")
_ROUNDING = 1e-5  # of the mean: a deviation below it is none, in float32


def standardized(x: Tensor, like: Tensor, known: Tensor) -> Tensor:
    """Give x (N, V) in standard deviations from the mean, those of all that is known of `like` (N, V).

    Where all that is known is equal, but for rounding, x is only centred; where nothing is, it stays as it is.

    Args:
        x: (N, V) what is standardised: `like` itself, or what is to be compared with it.
        like: (N, V) whose mean and deviation are taken.
        known: (N, V) which numbers of it count.

    >>> import torch
    >>> x = torch.tensor([[1.0, 3.0, 99.0]])
    >>> standardized(x, x, torch.tensor([[True, True, False]])).tolist()
    [[-1.0, 1.0, 97.0]]
    """
    values = like[known]
    if not len(values):
        return x
    mean, deviation = values.mean(), values.std(correction=0)
    return (x - mean) / deviation.masked_fill(deviation <= _ROUNDING * mean.abs(), 1.0)


def resample(x: ArrayLike, y: ArrayLike, at: ArrayLike, *, kind: str = "linear") -> NDArray[np.float64]:
    """Give the values (M,) at `at` of what was measured as y (N,) at x (N,), which must not fall.

    linear      on the line between the neighbours, level beyond the ends
    nearest     of the nearest, the earlier one of two
    previous    of the last one that is not later; NaN before the first

    Missing values are left out; where nothing is left, everything is NaN, and so is what is wanted at NaN.

    >>> resample([0.0, 10.0], [1.0, 2.0], [5.0, 5.1, 20.0], kind="nearest").tolist()
    [1.0, 2.0, 2.0]
    """
    if kind not in KINDS:
        raise UsageError(f"unknown interpolation {kind!r}; {did_you_mean(kind, KINDS)}")
    places, values, wanted = (np.asarray(given, np.float64) for given in (x, y, at))
    if places.shape != values.shape or places.ndim != 1:
        raise UsageError(
            f"x and y have shapes {places.shape} and {values.shape}; they must be vectors of one length"
        )
    known = ~np.isnan(values)
    places, values = places[known], values[known]
    if (np.diff(places) < 0).any() or np.isnan(places).any():
        raise UsageError("x falls, or is missing somewhere; sort the measurements by x first")
    if not len(values):
        return np.full(wanted.shape, np.nan)
    if kind == "linear":
        return np.interp(wanted, places, values)
    before = np.searchsorted(places, wanted, side="right") - 1  # -1: before the first
    if kind == "previous":
        return np.where((before < 0) | np.isnan(wanted), np.nan, values[np.maximum(before, 0)])
    low = np.maximum(before, 0)
    high = np.minimum(before + 1, len(places) - 1)
    nearest = values[np.where(wanted - places[low] <= places[high] - wanted, low, high)]
    return np.where(np.isnan(wanted), np.nan, nearest)
