"""Windows of text for truncated back-propagation through time.

The text is laid out as B streams side by side, each read window after window from its beginning to its end, so that
the hidden state after one window is the hidden state before the next.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmkit.text.vocabulary import EOS, UNK

Window = tuple[np.ndarray, np.ndarray]  # inputs and targets, (T, B) int64 each


def streams(ids: np.ndarray, batch_size: int, *, offset: int = 0) -> np.ndarray:
    """Lay a text (T,) out as (length + 1, B): column b holds its stream, and before it the token that precedes it.

    Up to B - 1 tokens at the end, and `offset` at the beginning, are left out; a text shorter than B tokens gives
    fewer columns. Before the first token of all stands `</s>`, as between lines.

    >>> streams(np.array([5, 6, 7, 8, 9]), 2).T.tolist()
    [[2, 5, 6], [6, 7, 8]]
    """
    text = np.concatenate([[EOS], ids])[offset:]
    batch_size = max(1, min(batch_size, len(text) - 1))
    length = (len(text) - 1) // batch_size
    starts = np.arange(batch_size) * length
    return np.asarray(text[starts[None, :] + np.arange(length + 1)[:, None]], np.int64)  # (length + 1, B)


def windows(columns: np.ndarray, bptt: int) -> Iterator[Window]:
    """Cut streams (length + 1, B) into windows of at most `bptt` steps, each with its inputs and its targets."""
    for begin in range(0, len(columns) - 1, bptt):
        end = min(begin + bptt, len(columns) - 1)
        yield columns[begin:end], columns[begin + 1 : end + 1]


def hide_singletons(
    ids: np.ndarray, vocab_size: int, rng: np.random.Generator, share: float = 0.5
) -> np.ndarray:
    """Replace a share of the tokens that occur only once by `<unk>`, so that the model learns what to expect of it.

    The mass of unseen words is about that of words seen once (Good 1953), but a text that has lost no word to a
    vocabulary limit never shows `<unk>` to a network. A text that does is left as it is.
    """
    counts = np.bincount(ids, minlength=vocab_size)
    if counts[UNK]:
        return ids
    return np.where((counts[ids] == 1) & (rng.random(len(ids)) < share), UNK, ids)
