"""Capacity against perplexity, as a picture (extra `plot`: matplotlib): underfitting, overfitting, and what is between.

A model that can keep little learns neither its own text nor another; one that can keep much learns its own by heart. In
training, perplexity falls with every number more; in validation it falls, and rises again where a model begins to learn
what is true of its text alone (Goodfellow, Bengio and Courville 2016, section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lmkit.report.picture import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(NamedTuple):
    """A model: what it is called, what it can keep, its perplexity in validation, give or take, and in training."""

    name: str
    capacity: int
    validation: float
    deviation: float
    training: float


def draw(models: Sequence[Point]) -> Figure:
    """Draw the perplexity of each model in validation and in training; those that diverged are left out.

    Raises:
        ResourceError: matplotlib is not installed.
    """
    figure = blank()
    from matplotlib.ticker import EngFormatter, LogFormatter, LogLocator

    axes = figure.subplots()
    points = sorted((p for p in models if math.isfinite(p.validation)), key=lambda point: point.capacity)
    at, valid = [p.capacity for p in points], [p.validation for p in points]
    deviations = [p.deviation for p in points]
    joined, dashed = (
        ("-", "--") if len(set(at)) == len(at) else ("", "")
    )  # of one capacity, nothing is between
    axes.errorbar(
        at, valid, deviations, fmt=f"o{joined}", capsize=3, label="validation (deviation between folds)"
    )
    axes.plot(at, [p.training for p in points], f"o{dashed}", label="training")
    for point in points:
        label = point.name.replace("$", r"\$")
        place = (point.capacity, point.validation)
        axes.annotate(label, place, (0, 8), textcoords="offset points", rotation=45, fontsize=8)
    if points:
        best = min(points, key=lambda point: point.validation)
        name = f"best: {best.validation:.4g}"
        axes.plot(best.capacity, best.validation, "*", markersize=15, color="C0", zorder=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel="capacity (n-grams or parameters)", ylabel="perplexity")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(EngFormatter())
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.margins(x=0.12, y=0.12)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
