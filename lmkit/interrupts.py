"""Signals that wait: what has begun is finished before Ctrl-C or a SIGTERM is answered."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def finished_first(hurry: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the end of the block, where the handlers of before are called.

    Weights half moved could not be gone on from. Outside the main thread, which no signal reaches, nothing is done.

    Args:
        hurry: Called as soon as a signal comes, so that the block can come to its end sooner.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append((number, frame))
        hurry()

    before = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for held_number, frame in held:
        handler = before[signal.Signals(held_number)]
        if callable(handler):
            handler(held_number, frame)
        elif handler == signal.SIG_DFL:
            signal.raise_signal(held_number)
