"""Points of a learning curve: what the steps since the point before came to, and a line that tells people of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmkit.rnn.learner import Step


def over_steps(steps: Sequence[Step], *, clip: float) -> dict[str, Any]:
    """Give the means over those steps that moved the weights, None where there are none, and how many did not.

    >>> over_steps([Step(2.0, 0.5), Step(4.0, 1.5), Step(math.nan, 1.0)], clip=1.0)
    {'train_loss': 3.0, 'gradient_norm': 1.0, 'clipped': 0.5, 'skipped': 1}
    """
    good = [step for step in steps if step.finite]
    return {
        "train_loss": float(np.mean([step.loss for step in good])) if good else None,
        "gradient_norm": float(np.mean([step.norm for step in good])) if good else None,
        "clipped": float(np.mean([step.norm > clip for step in good])) if good else None,
        "skipped": len(steps) - len(good),
    }


def as_line(entry: dict[str, Any]) -> str:
    """Write a point of the learning curve for people."""
    valid = f", validation {_perplexity(entry['valid_loss'])}" if "valid_loss" in entry else ""
    train, speed = _perplexity(entry["train_loss"]), f"{entry['tokens_per_second']:,} tokens/s"
    norm = "-" if entry["gradient_norm"] is None else f"{entry['gradient_norm']:.2f}"
    when = f"{entry['progress']:4.0%} {entry['seconds']:6.0f} s, epoch {entry['epoch']:.2f}"
    return f"{when}: perplexity {train} in training{valid}, gradient {norm}, {speed}"


def _perplexity(loss: float | None) -> str:
    if loss is None:
        return "-"
    found = math.exp(min(loss, 700.0))
    return f"{found:.2f}" if found < 1e9 else f"{found:.0e}"  # of what diverges, the size is enough
