"""Windows of text for truncated back-propagation through time.

The text is laid out as B streams side by side, each read window after window from its beginning to its end, so that
the hidden state after one window is the hidden state before the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lmkit.text.vocabulary import EOS, UNK


@dataclass(frozen=True)
class Window:
    """A few steps of every stream: (T, B) int64 inputs and targets.

    Attributes:
        before: (S, B) all inputs of the streams before it, as the text has them.
    """

    inputs: np.ndarray
    targets: np.ndarray
    before: np.ndarray

    @property
    def first(self) -> bool:
        """Whether the streams begin with it."""
        return not len(self.before)

    def __len__(self) -> int:
        return self.inputs.size


class Reader:
    """Reads a text again and again, each time cut elsewhere; where it is, is two numbers.

    Everything random in a pass over the text comes from (seed, epoch), so that reading can go on from any window.

    >>> reader = Reader(np.arange(40), vocab_size=40, batch_size=2, bptt=2, seed=1)
    >>> window = next(reader)
    >>> window.inputs.shape, window.first, (reader.epoch, reader.window)
    ((2, 2), True, (0, 1))
    """

    def __init__(
        self,
        ids: np.ndarray,
        *,
        vocab_size: int,
        batch_size: int,
        bptt: int,
        seed: int = 0,
        vary: bool = False,
        known: int = 0,
    ) -> None:
        self.ids = ids
        self.vocab_size = vocab_size
        self.batch_size = max(
            1, min(batch_size, len(ids) // 16)
        )  # streams of some tokens, in the shortest text
        self.bptt = bptt
        self.seed = seed
        self.vary = vary
        self.known = known
        self.seek(0, 0)

    @property
    def windows_per_epoch(self) -> int:
        """About how many windows a pass over the text has."""
        return len(cuts(len(self.ids) // self.batch_size, self.bptt)) - 1

    @property
    def position(self) -> float:
        """How many times the text has been read."""
        return self.epoch + self.cuts[self.window] / self.cuts[-1]

    def seek(self, epoch: int, window: int) -> None:
        """Go to a window of a pass over the text."""
        self.epoch, self.window = epoch, window
        rng = np.random.default_rng([self.seed, epoch])
        text = hide_singletons(self.ids, self.vocab_size, rng, known=self.known)
        offset = int(rng.integers(max(1, min(self.bptt, len(text) // self.batch_size))))
        self.columns = streams(text, self.batch_size, offset=offset)
        self.cuts = cuts(len(self.columns) - 1, self.bptt, rng if self.vary else None)

    def __next__(self) -> Window:
        if self.window == len(self.cuts) - 1:
            self.seek(self.epoch + 1, 0)
        begin, end = self.cuts[self.window : self.window + 2]
        self.window += 1
        return _window(self.columns, begin, end)


def streams(ids: np.ndarray, batch_size: int, *, offset: int = 0) -> np.ndarray:
    """Lay a text (T,) out as (length + 1, B): column b holds its stream, and before it the token that precedes it.

    Up to B - 1 tokens at the end, and `offset` at the beginning, are left out; a text shorter than B tokens gives
    fewer columns. Before the first token of all stands `</s>`, as between lines.

    >>> streams(np.array([5, 6, 7, 8, 9]), 2).T.tolist()
    [[2, 5, 6], [6, 7, 8]]
    """
    text = np.concatenate([np.array([EOS], ids.dtype), ids])[offset:]
    batch_size = max(1, min(batch_size, len(text) - 1))
    length = (len(text) - 1) // batch_size
    return sliding_window_view(text, length + 1)[::length][:batch_size].T  # (length + 1, B), a view


def cuts(length: int, bptt: int, rng: np.random.Generator | None = None) -> list[int]:
    """Give where windows of `bptt` steps begin and end in streams of a length; with `rng`, of varied sizes.

    Varied as by Merity et al. 2018, section 5: N(bptt, bptt / 14), and one in twenty half as long, so that no two
    passes cut a text at the same distances. A rest of a few steps is joined to the window before.

    >>> cuts(7, 3)
    [0, 3, 7]
    """
    edges = [0]
    while edges[-1] < length:
        size = bptt
        if rng is not None:
            size = round(rng.normal(bptt / (2 if rng.random() < 0.05 else 1), bptt / 14))
        edges.append(edges[-1] + max(1, size))
    if len(edges) > 2 and length - edges[-2] <= bptt // 2:
        edges.pop()
    return [*edges[:-1], length]


def windows(columns: np.ndarray, bptt: int) -> Iterator[Window]:
    """Cut streams (length + 1, B) into windows of about `bptt` steps."""
    edges = cuts(len(columns) - 1, bptt)
    for begin, end in pairwise(edges):
        yield _window(columns, begin, end)


def _window(columns: np.ndarray, begin: int, end: int) -> Window:
    inputs, targets = (columns[i : i + end - begin].astype(np.int64) for i in (begin, begin + 1))
    return Window(inputs, targets, columns[:begin])


def hide_singletons(
    ids: np.ndarray, vocab_size: int, rng: np.random.Generator, share: float = 0.5, *, known: int = 0
) -> np.ndarray:
    """Replace a share of the tokens that occur only once by `<unk>`, so that the model learns what to expect of it.

    The mass of unseen words is about that of words seen once (Good 1953), but a text that has lost no word to a
    vocabulary limit never shows `<unk>` to a network. A text that does is left as it is, and so are the words below
    `known`, which a model knows from elsewhere.
    """
    counts = np.bincount(ids, minlength=vocab_size)
    if counts[UNK]:
        return ids
    return np.where((counts[ids] == 1) & (ids >= known) & (rng.random(len(ids)) < share), UNK, ids)
