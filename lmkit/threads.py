"""Work for several cores: compiled loops and numpy's sort let go of the interpreter's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Give how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_main_process() -> bool:
    """Whether this is the only process, or the first of those that torchrun started: the one that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def in_threads(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Do a piece of work for every item, as many at a time as there are cores; the first error is raised."""
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, items):
            pass


def in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Give the result for every item, in their order, while the next ones are worked on.

    Items are taken only a few ahead of what is asked for, so that they may be blocks of a text of any size.
    """
    with ThreadPoolExecutor(cores()) as pool:
        begun: deque[Future[R]] = deque()
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > cores():
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def chunks(begin: int, end: int, size: int = 1 << 20) -> list[tuple[int, int]]:
    """Cut a range of numbers into pieces of at most `size`.

    >>> chunks(3, 10, 4)
    [(3, 7), (7, 10)]
    """
    return [(low, min(low + size, end)) for low in range(begin, end, size)]
