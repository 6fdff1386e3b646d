"""The kinds of head, by name.

full        one score for each word: `full_softmax`
adaptive    words that are rare are scored where one of them comes: `adaptive_softmax`
"""

from __future__ import annotations

from lmkit.errors import UsageError, did_you_mean
from lmkit.nn.adaptive_softmax import AdaptiveHead
from lmkit.nn.full_softmax import FullHead
from lmkit.nn.head import Head

HEADS: dict[str, type[Head]] = {"adaptive": AdaptiveHead, "full": FullHead}


def make_head(kind: str, *, vocab_size: int, input_size: int, never: int | None = None) -> Head:
    """Make the head of that kind; an unknown one is a UsageError.

    >>> make_head("full", vocab_size=9, input_size=4).kind
    'full'
    """
    if kind not in HEADS:
        raise UsageError(f"unknown head {kind!r}; {did_you_mean(kind, HEADS)}")
    return HEADS[kind](vocab_size=vocab_size, input_size=input_size, never=never)
