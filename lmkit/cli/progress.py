"""A progress bar on stderr, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def token_bar(what: str) -> Iterator[Callable[[int], None]]:
    """Give a function that takes the number of tokens done so far."""
    if not sys.stderr.isatty():
        yield lambda tokens: None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit=" tokens", unit_scale=True, leave=False) as bar:
        yield lambda tokens: bar.update(tokens - bar.n)
