"""Goodness of fit, read off a learning curve: has a model learnt its text by heart, or not yet what there is to learn?

overfitting     validation rises while training goes on falling, or lies far above it
underfitting    the text has hardly been read, and validation is still falling
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_RISEN = 0.02  # nats, by which validation is plainly above its best, or has fallen in the second half
_FAR = 0.7  # nats between training and validation: half the perplexity
_READ = 2.0  # passes, before which more of them are worth more than anything else


def judged(
    entries: Sequence[Mapping[str, Any]], *, comparable: bool = True, rested: bool = False
) -> str | None:
    """Say what a learning curve shows, with advice; nothing where it shows neither.

    Args:
        entries: Points of the curve, in their order.
        comparable: Whether losses in training are of the same words as those in validation.
        rested: Whether it came to its end because validation no longer fell, so that more time is no help.

    >>> curve = [{"epoch": i, "train_loss": 3 - i / 4, "valid_loss": 3.0} for i in range(5)]
    >>> judged(curve)
    'it overfits: a perplexity of 7.4 in training, 20.1 in validation; take more noise (--regularize), or fewer units'
    """
    points = [e for e in entries if e.get("valid_loss") is not None and e.get("train_loss") is not None]
    if len(points) < 4:
        return None
    best, last = min(points, key=lambda point: point["valid_loss"]), points[-1]
    less = "take more noise (--regularize), or fewer units"
    if last["valid_loss"] > best["valid_loss"] + _RISEN and last["train_loss"] < best["train_loss"]:
        return (
            f"it overfits: from pass {best['epoch']:.1f} over the text on, validation rose from a perplexity of "
            f"{_perplexity(best['valid_loss'])} to {_perplexity(last['valid_loss'])} while training fell; {less}"
        )
    if comparable and last["valid_loss"] > last["train_loss"] + _FAR:
        trained, validated = _perplexity(last["train_loss"]), _perplexity(last["valid_loss"])
        return f"it overfits: a perplexity of {trained} in training, {validated} in validation; {less}"
    falling = points[len(points) // 2]["valid_loss"] - last["valid_loss"] > _RISEN
    if last["epoch"] < _READ and falling and not rested:
        return f"it underfits: the text was read {last['epoch']:.1f} times; give it more time (--budget, --epochs)"
    return None


def _perplexity(loss: float) -> str:
    return f"{math.exp(min(loss, 700.0)):.1f}"
