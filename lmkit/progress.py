"""Progress on a terminal: the stages of a piece of work, how fast it goes and how much memory it holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from lmkit.scratch import resident

T = TypeVar("T")
_SETTLED = 0.2  # seconds after which a speed means something


class Progress:
    """A bar that goes through named stages, on stderr where that is a terminal.

    >>> with Progress(["sorting", "counting"], show=False) as progress:
    ...     progress.stage("sorting")
    ...     list(progress.over([1, 2, 3], 3))
    [1, 2, 3]
    """

    def __init__(self, stages: Sequence[str], *, show: bool, amount: float = 0, unit: str = "tokens") -> None:
        """Name the stages.

        Args:
            stages: What is done, in this order.
            show: Whether anybody wants to see it.
            amount: How much of something the work is about, for its speed; 0 if that is not known.
            unit: What it is an amount of.
        """
        self.stages = list(stages)
        self.amount = amount
        self.unit = unit
        self.name = ""
        self.began = self.since = time.monotonic()
        self.seconds: dict[str, float] = {}  # that each stage took
        self.bar = tqdm(
            total=len(stages), disable=None if show else True, leave=False, bar_format="{bar:24} {desc}"
        )

    def stage(self, name: str) -> None:
        """Begin a stage; those before it are done."""
        self._end_stage()
        self.name = name
        self._move(self.stages.index(name))

    def over(self, items: Iterable[T], total: int) -> Iterator[T]:
        """Give the items of a stage, and move the bar on with each."""
        begun = self.bar.n
        for i, item in enumerate(items, start=1):
            yield item
            self._move(begun + i / total)

    def advance(self, amount: float) -> None:
        """Say that so much more is done, where the whole is not known."""
        self.amount += amount
        self._move(self.bar.n)

    def _end_stage(self) -> None:
        now = time.monotonic()
        if self.name:
            self.seconds[self.name] = round(now - self.since, 3)
        self.since = now

    def _move(self, place: float) -> None:
        if self.bar.disable:
            return
        elapsed = time.monotonic() - self.began
        speed = (
            f"{self.amount / elapsed / 1e6:.1f} M {self.unit}/s, "
            if self.amount and elapsed > _SETTLED
            else ""
        )
        self.bar.n = place
        self.bar.set_description_str(f"{self.name}, {speed}{resident() / 1e9:.2f} GB of memory")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage()
        self.bar.close()
