"""Progress on a terminal: the stages of a piece of work, how fast it goes and how much memory it holds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from lmkit.scratch import resident

T = TypeVar("T")


class Progress:
    """A bar that goes through named stages, on stderr where that is a terminal.

    >>> with Progress(["sorting", "counting"], show=False) as progress:
    ...     progress.stage("sorting")
    ...     list(progress.over([1, 2, 3]))
    [1, 2, 3]
    """

    def __init__(self, stages: Sequence[str], *, show: bool, tokens: int = 0) -> None:
        """Name the stages.

        Args:
            stages: What is done, in this order.
            show: Whether anybody wants to see it.
            tokens: How many tokens the work is about, for its speed; 0 if that is not known.
        """
        self.stages = list(stages)
        self.tokens = tokens
        self.began = time.monotonic()
        self.bar = tqdm(
            total=len(stages),
            disable=None if show else True,
            leave=False,
            bar_format="{desc:10}{bar:30}{postfix}",
        )

    def stage(self, name: str) -> None:
        """Begin a stage; those before it are done."""
        self.bar.set_description_str(name, refresh=False)
        self._move(self.stages.index(name))

    def over(self, items: Sequence[T]) -> Iterator[T]:
        """Give the items of a stage, and move the bar on with each."""
        begun = self.bar.n
        for i, item in enumerate(items):
            self._move(begun + i / len(items))
            yield item

    def _move(self, place: float) -> None:
        if self.bar.disable:
            return
        speed = self.tokens / max(time.monotonic() - self.began, 1e-3)
        rate = f"{speed / 1e6:.2f} M tokens/s, " if self.tokens else ""
        self.bar.n = place
        self.bar.set_postfix_str(f"{rate}{resident() / 1e9:.2f} GB of memory")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
