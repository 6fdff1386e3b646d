"""How much of a training is over: by time, by steps, or by whichever is further."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from lmkit.config import RnnConfig

DEFAULT_EPOCHS = 40.0  # at most, where neither a time nor a number of epochs is asked for,
DEFAULT_STEPS = 2000  # but at least so many steps, in a small text
_FIRST_STEPS = 20  # in which an adaptive optimiser learns how large gradients are


@dataclass
class Schedule:
    """A clock that runs from 0 to 1 in `budget` seconds or `total_steps` steps, either of which may be infinite.

    >>> schedule = Schedule(budget=math.inf, total_steps=4)
    >>> schedule.middle_of_step, schedule.advance(), schedule.advance()
    (0.125, 0.25, 0.5)
    >>> schedule.hurry(0.5)  # the other half in half as many steps as have been taken
    >>> schedule.advance()
    1.0
    """

    budget: float
    total_steps: float
    step: int = 0
    began: float = field(default_factory=time.monotonic)
    passed: tuple[float, float, int] = (
        0.0,
        0.0,
        0,
    )  # progress, seconds and steps before its pace last changed

    @classmethod
    def of(cls, config: RnnConfig, steps_per_epoch: int, *, began: float | None = None) -> Schedule:
        """Make the schedule that a config asks for, whose clock began just now, or earlier."""
        epochs = config.epochs if config.epochs is not None else math.inf
        if config.budget is None and config.epochs is None:
            epochs = default_epochs(steps_per_epoch)
        began = time.monotonic() if began is None else began
        return cls(budget=config.time, total_steps=max(1.0, epochs * steps_per_epoch), began=began)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    @property
    def progress(self) -> float:
        """How much is over, from 0 to 1."""
        return self._progress_at(self.step)

    @property
    def middle_of_step(self) -> float:
        """How much will be over in the middle of the step that comes: the place to read a learning rate at."""
        return self._progress_at(self.step + 0.5)

    def _progress_at(self, step: float) -> float:
        progress, elapsed, steps = self.passed
        share = max((self.elapsed - elapsed) / self.budget, (step - steps) / self.total_steps)
        return progress + (1.0 - progress) * min(1.0, share)

    @property
    def warmth(self) -> float:
        """How far the first steps are over, from 0 to 1, however little of the time they take (at most a tenth)."""
        return min(1.0, (self.step + 1) / max(1.0, min(_FIRST_STEPS, 0.1 * self.total_steps)))

    def state(self) -> dict[str, Any]:
        """Give what `restore` needs; an infinite span is None."""
        spans = [span if math.isfinite(span) else None for span in (self.budget, self.total_steps)]
        return {"spans": spans, "step": self.step, "elapsed": self.elapsed, "passed": list(self.passed)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there, as if no time had passed since."""
        self.budget, self.total_steps = (math.inf if span is None else span for span in state["spans"])
        self.step = state["step"]
        self.began = time.monotonic() - state["elapsed"]
        progress, elapsed, steps = state["passed"]
        self.passed = (progress, elapsed, steps)

    def advance(self) -> float:
        """Count a step; give the progress after it."""
        self.step += 1
        return self.progress

    def hurry(self, share: float) -> None:
        """Let what is left pass in a share of what has been spent so far, if that is sooner."""
        _, elapsed, steps = self.passed
        now = (self.progress, self.elapsed, self.step)
        if math.isfinite(self.budget):
            self.budget = max(1e-3, min(share * now[1], self.budget - (now[1] - elapsed)))
        if math.isfinite(self.total_steps):
            self.total_steps = max(1.0, min(share * now[2], self.total_steps - (now[2] - steps)))
        self.passed = now


def default_epochs(steps_per_epoch: float) -> float:
    """Give the most passes over a text where neither a time nor a number of epochs is asked for.

    >>> default_epochs(1000), default_epochs(10)
    (40.0, 200.0)
    """
    return max(DEFAULT_EPOCHS, DEFAULT_STEPS / max(steps_per_epoch, 1e-3))
