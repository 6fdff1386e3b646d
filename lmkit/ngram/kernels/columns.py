"""Columns of a trie: what kernels read node by node, whatever form it is held in.

Kernels are written once, for columns. numba compiles them for plain arrays and for compact forms alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from lmkit.compiled import prefetch


def at(column: Any, place: Any) -> Any:
    """Give the entry of a column at a place; negative places are not looked for."""


def span(first: Any, node: Any) -> Any:
    """Give where the children of a node begin and end."""


def fetch(column: Any, place: Any) -> Any:
    """Ask for the cache line of an entry ahead of its use; a place outside the column does no harm."""


@overload(at)
def _at(column, place):
    if isinstance(column, types.Array):
        return lambda column, place: column[np.uint64(place)]
    return None


@overload(span)
def _span(first, node):
    if isinstance(first, types.Array):
        return lambda first, node: (np.int64(first[np.uint64(node)]), np.int64(first[np.uint64(node + 1)]))
    return None


@overload(fetch)
def _fetch(column, place):
    if isinstance(column, types.Array):
        return lambda column, place: prefetch(column, place)
    return None
