"""When texts must be over, whether or not they have come to an end."""

from __future__ import annotations

import time

from lmkit.quantities import seconds


class Deadline:
    """A point in time, `max_time` from now on, or never; or at once, when somebody says so.

    >>> deadline = Deadline()
    >>> deadline.passed
    >>> deadline.interrupt()
    >>> deadline.passed
    'interrupted'
    """

    def __init__(self, max_time: str | None = None) -> None:
        self._until = float("inf") if max_time is None else time.monotonic() + seconds(max_time)
        self._interrupted = False

    @property
    def passed(self) -> str | None:
        """Why texts must be over: `interrupted` or `max_time`; None if they may go on."""
        if self._interrupted:
            return "interrupted"
        return "max_time" if time.monotonic() > self._until else None

    def interrupt(self) -> None:
        """Let it be over now."""
        self._interrupted = True
