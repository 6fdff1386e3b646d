"""The one way to compile a loop: by numba, without the interpreter's lock, kept on disk for the next start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop at its first call. Threads may run it side by side."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written: compile at every start
        return njit(nogil=True)(function)
