"""Goodness of fit, read off a learning curve: has a model learnt its text by heart, or not yet what there is to learn?

overfitting     validation rises while training goes on falling, or lies far above it
underfitting    the text has hardly been read, or noise keeps training above validation
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_RISEN = 0.02  # nats, by which validation is plainly above its best
_FAR = 0.7  # nats between training and validation: half the perplexity
_KEPT_UP = 0.05  # nats, by which noise may keep training above validation
_NOISY = 0.3  # of the dial
_READ = 2.0  # passes, before which more of them are worth more than anything else


def judged(
    entries: Sequence[Mapping[str, Any]], *, regularize: float, sampled: bool = False, rested: bool = False
) -> str | None:
    """Say what a learning curve shows, with advice; nothing where it shows neither.

    Args:
        entries: Points of the curve, in their order.
        regularize: The dial that it was trained with.
        sampled: Whether losses in training are estimates, which are not compared with those in validation.
        rested: Whether it came to its end because validation no longer fell, so that more time is no help.

    >>> curve = [{"progress": i / 4, "epoch": i, "train_loss": 3 - i / 4, "valid_loss": 3.0} for i in range(5)]
    >>> judged(curve, regularize=0.0)
    'it overfits: a perplexity of 7.4 in training, 20.1 in validation; raise --regularize (0), or take a smaller --size'
    """
    points = [e for e in entries if e.get("valid_loss") is not None and e.get("train_loss") is not None]
    if len(points) < 4:
        return None
    best, last = min(points, key=lambda point: point["valid_loss"]), points[-1]
    less = f"raise --regularize ({regularize:g}), or take a smaller --size"
    risen = last["valid_loss"] > best["valid_loss"] + _RISEN and last["train_loss"] < best["train_loss"]
    if risen:
        return (
            f"it overfits: from {best['progress']:.0%} of the training on, validation rose from a perplexity of "
            f"{_perplexity(best['valid_loss'])} to {_perplexity(last['valid_loss'])} while training fell; {less}"
        )
    trained, validated = _perplexity(last["train_loss"]), _perplexity(last["valid_loss"])
    if not sampled and last["valid_loss"] > last["train_loss"] + _FAR:
        return f"it overfits: a perplexity of {trained} in training, {validated} in validation; {less}"
    if last["epoch"] < _READ and not rested:
        return f"it underfits: the text was read {last['epoch']:.1f} times; give it more time (--budget, --epochs)"
    if not sampled and regularize > _NOISY and last["train_loss"] > last["valid_loss"] + _KEPT_UP:
        return (
            f"it underfits: noise keeps training at a perplexity of {trained}, above the {validated} of validation; "
            f"lower --regularize ({regularize:g}), or take a larger --size"
        )
    return None


def _perplexity(loss: float) -> str:
    return f"{math.exp(min(loss, 700.0)):.1f}"
