"""The learning curve of trainings as a picture (extra `plot`: matplotlib).

Above, perplexity in training and validation on a logarithmic scale: while both fall together the model may still
underfit, where validation rises and training goes on falling it overfits. Below, what drove it: the learning rate and
the norm of the gradient. Of several trainings, how far each is above or below the first at the same time, in between.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.bundle import check
from lmkit.errors import InputError, LmkitWarning, UsageError, did_you_mean
from lmkit.nn.preprocessing import KINDS, resample
from lmkit.report.picture import blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = "metrics.jsonl"
AXES = {"seconds": "seconds of training", "epoch": "passes over the text", "step": "steps"}
_LOSSES = {"train_loss": ("training", "--"), "valid_loss": ("validation", "-")}
_DRIVERS = {"learning_rate": "-", "gradient_norm": ":"}
_LONGEST_LINE = 1 << 20  # bytes; no entry comes near it
_LARGEST_LOSS = 100.0  # a perplexity of 1e43 says as much as any above it, and axes have room for it


@dataclass(frozen=True, eq=False)
class Curve:
    """What was measured in the course of one training.

    Attributes:
        name: what the picture calls it.
        columns: the measurements by their names in metrics.jsonl, each (N,) float64 at the N points of the curve,
            NaN where there is none.

    >>> curve = Curve("my-rnn", {"valid_loss": np.array([2.0, 0.0, 0.5])})
    >>> curve.best(), float(curve.perplexity("valid_loss")[curve.best()])
    (1, 1.0)
    """

    name: str
    columns: dict[str, np.ndarray]

    def has(self, column: str) -> bool:
        """Tell whether something was measured at one point at least."""
        return not np.isnan(self.columns[column]).all()

    def perplexity(self, loss: str) -> np.ndarray:
        """Give exp of `train_loss` or `valid_loss` (nats per token), (N,)."""
        return np.exp(np.clip(self.columns[loss], -_LARGEST_LOSS, _LARGEST_LOSS))

    def best(self) -> int | None:
        """Give the point of the lowest validation, if there was any."""
        return int(np.nanargmin(self.columns["valid_loss"])) if self.has("valid_loss") else None


def read_curve(path: str | os.PathLike[str]) -> Curve:
    """Read the learning curve of a model folder, or of a metrics.jsonl file, which may still be growing.

    Raises:
        UsageError: there is no such folder or file, or the training had no curve.
        InputError: the file is empty, or a line of it is damaged.
        ModelFormatError: the folder is no model, or a damaged one.
    """
    place = Path(path)
    single = place.exists() and not place.is_dir()
    file = place if single else check(place) / METRICS
    names = (*AXES, *_LOSSES, *_DRIVERS)
    points = [
        [_number(entry.get(name), f"{file}:{line}: {name}") for name in names]
        for line, entry in _entries(file, growing=single)
        if _LOSSES.keys() & entry.keys()
    ]
    if not points:
        raise UsageError(
            f"{file}: holds no loss of training or validation, so there is no curve to draw; n-gram models have "
            "none, name a model trained with --backend rnn"
        )
    name = str(place.parent if single and place.name == METRICS else place)
    curve = Curve(name, dict(zip(names, np.array(points).T, strict=True)))
    if not any(curve.has(loss) for loss in _LOSSES):
        raise InputError(f"{file}: no loss in it is finite; train again with a lower --learning-rate")
    return curve


def draw(curves: Sequence[Curve], *, x: str = "seconds", between: str = "linear") -> Figure:
    """Draw learning curves over `seconds`, `epoch` or `step`, and mark the best validation of each.

    Args:
        curves: The first is the one that others are compared with.
        x: What runs to the right.
        between: What its validation is taken for where it was not measured: see `resample`.

    Raises:
        UsageError: a curve says nothing of `x`, or there is no such way.
        ResourceError: matplotlib is not installed.
    """
    if between not in KINDS:
        raise UsageError(f"unknown interpolation {between!r}; {did_you_mean(between, KINDS)}")
    for curve in curves:
        if not curve.has(x):
            others = ", ".join(name for name in AXES if curve.has(name)) or "nothing else"
            raise UsageError(f"{curve.name}: its entries say nothing of {x}, only of {others}; choose by --x")
    figure = blank()
    from matplotlib.ticker import LogFormatter

    drivers = [name for name in _DRIVERS if any(curve.has(name) for curve in curves)]
    compared = [curve for curve in curves[1:] if curve.has("valid_loss") and curves[0].has("valid_loss")]
    heights = [3, *([1] if compared else []), *([1] if drivers else [])]
    rows = np.atleast_1d(figure.subplots(len(heights), sharex=True, height_ratios=heights))
    above, below = rows[0], rows[-1]
    if compared:
        _draw_difference(rows[1], curves, x=x, between=between)
    if drivers:
        for name in drivers:
            _draw_driver(below if name == drivers[0] else below.twinx(), name, curves, x=x)
    for number, curve in enumerate(curves):
        _draw_perplexity(above, curve, x=x, colour=f"C{number}", named=len(curves) > 1)
    above.set(yscale="log", ylabel="perplexity")
    above.yaxis.set_major_formatter(LogFormatter())
    above.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))  # 20 and 50 in so many decades
    above.grid(alpha=0.3)
    above.legend()
    below.set_xlabel(AXES[x])
    return figure


def _draw_perplexity(axes: Axes, curve: Curve, *, x: str, colour: str, named: bool) -> None:
    of = f" of {_plain(curve.name)}" if named else ""
    at = curve.columns[x]
    for loss, (word, style) in _LOSSES.items():
        if curve.has(loss):
            axes.plot(at, curve.perplexity(loss), style, marker=".", color=colour, label=f"{word}{of}")
    if (best := curve.best()) is not None:
        lowest = curve.perplexity("valid_loss")[best]
        axes.plot(at[best], lowest, "*", markersize=13, color=colour, label=f"best{of}: {lowest:.4g}")


def difference(curve: Curve, first: Curve, *, x: str, between: str = "linear") -> np.ndarray:
    """Give how far the validation perplexity of a training is above that of another at the same x, (N,), in per cent.

    The other was measured elsewhere: its loss is taken between its points (see `resample`), and nothing beyond them.
    """
    at, places, losses = curve.columns[x], first.columns[x], first.columns["valid_loss"]
    known = ~(np.isnan(places) | np.isnan(losses))
    order = np.argsort(places[known], kind="stable")
    places, losses = places[known][order], losses[known][order]
    there = resample(places, losses, at, kind=between)
    there[~((at >= places.min(initial=np.inf)) & (at <= places.max(initial=-np.inf)))] = np.nan
    return 100 * np.expm1(np.clip(curve.columns["valid_loss"] - there, -_LARGEST_LOSS, _LARGEST_LOSS))


def _draw_difference(axes: Axes, curves: Sequence[Curve], *, x: str, between: str) -> None:
    for number, curve in enumerate(curves):
        if number and curve.has("valid_loss"):
            above = difference(curve, curves[0], x=x, between=between)
            axes.plot(curve.columns[x], above, marker=".", color=f"C{number}")
    axes.axhline(0, color="C0", linewidth=1)
    axes.set_ylabel("validation against\nthe first, %")
    axes.grid(alpha=0.3)


def _draw_driver(axes: Axes, name: str, curves: Sequence[Curve], *, x: str) -> None:
    for number, curve in enumerate(curves):
        axes.plot(
            curve.columns[x],
            curve.columns[name],
            _DRIVERS[name],
            marker=".",
            markersize=3,
            color=f"C{number}",
        )
    kind = "solid" if _DRIVERS[name] == "-" else "dotted"
    axes.set_ylabel(f"{name.replace('_', ' ')}\n({kind})")
    axes.set_ylim(bottom=0)


def _entries(file: Path, *, growing: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the entries of a metrics file with the numbers of their lines."""
    try:
        with file.open("rb") as lines:
            for number in count(1):
                if not (line := lines.readline(_LONGEST_LINE)):
                    break
                try:
                    entry = json.loads(line)
                    if not isinstance(entry, dict):
                        raise ValueError("it is no object")
                except (ValueError, RecursionError) as error:
                    if growing and not line.endswith(b"\n") and number > 1:
                        return  # the training is just writing it
                    raise InputError(
                        f"{file}:{number}: is no entry of a learning curve ({error}); give a model folder, or the "
                        f"{METRICS} of one, and take out the line if it is damaged"
                    ) from None
                yield number, entry
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    if number == 1:
        raise InputError(
            f"{file}: is empty (0 bytes); a training writes an entry for each point of its curve"
        )


def _number(value: Any, where: str) -> float:
    """Give a measurement, NaN where there is none or where it was not finite."""
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where} is {json.dumps(value)[:40]}, not a number; is this a learning curve?")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        warnings.warn(f"{where} is not finite; the point is left out", LmkitWarning, stacklevel=2)
        return np.nan
    return number


def _plain(name: str) -> str:
    """Give a name that is drawn as it is: matplotlib reads what stands between dollars as formulas."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name).replace("$", r"\$")
