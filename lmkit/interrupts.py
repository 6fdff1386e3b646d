"""Signals that wait: what has begun is finished before Ctrl-C or a SIGTERM is answered."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def finished_first(hurry: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the end of the block, where the handlers of before are called.

    Weights half moved could not be gone on from. Outside the main thread, which no signal reaches, nothing is done; a
    signal that is ignored stays so.

    Args:
        hurry: Called when a signal comes, so that the block can come to its end sooner; a second signal is answered at
            once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append((number, frame))
        if hurry is not None and len(held) > 1:
            release()
            answer(*held.pop())
        elif hurry is not None:
            hurry()

    def release() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def answer(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            signal.raise_signal(number)

    heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, hold) for number in heeded}
    try:
        yield
    finally:
        release()
    for signalled in held:
        answer(*signalled)
