"""Holding out lines for validation and test, by what they say: the same line is never in two splits.

A line goes where the hash of its bytes says, so that every copy of it goes the same way, in this corpus and in any
other, and nothing has to be remembered. Blank lines stay in training: there is nothing in them to hold out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lmkit.errors import UsageError
from lmkit.text.corpus import BLOCK_BYTES, Corpus
from lmkit.text.sources import Source, Spool

HOLDOUT = 0.1
MIN_LINES = 100  # with fewer there is too little to measure on, and every line is for training


def hashed_lines(block: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Give the hash of each line as a number in [0, 1), and the length of each in bytes, its end included.

    >>> shares, lengths = hashed_lines(b"the fox\\n\\nthe fox\\n")
    >>> bool(shares[0] == shares[2]), lengths.tolist()
    (True, [8, 1, 8])
    """
    from lmkit.text import kernels

    count = block.count(b"\n")
    hashes, ends = np.empty(count, np.uint64), np.empty(count, np.int64)
    kernels.hash_lines(np.frombuffer(block, np.uint8), hashes, ends)
    return hashes.astype(np.float64) / 2**64, np.diff(ends, prepend=0)


class HeldOutLines:
    """Lines put aside, on disk: a tenth of a text that does not fit into memory may not fit either."""

    def __init__(self, *, raw: bool) -> None:
        self.count = 0
        self.raw = raw
        self._spool = Spool()

    def add(self, part: bytes) -> None:
        """Put whole lines behind the others."""
        if part:
            self.count += part.count(b"\n")
            self._spool.add(part)

    def corpus(self, name: str) -> Corpus:
        """Give them as a text, named for messages."""
        return Corpus([Source(name, self._spool, lasting=False)], raw=self.raw)


class TrainingLines(Corpus):
    """The lines of a corpus that are not held out; the others gather in `valid` and `test` on the way.

    A line is held out if its hash, read as a number in [0, 1), is below `holdout`: for validation below half of it,
    for test above.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        holdout: float = HOLDOUT,
        valid: bool = True,
        test: bool = True,
        watch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Decide whether the corpus is large enough to be split.

        Args:
            corpus: All lines.
            holdout: The share of them to hold out, half for validation and half for test.
            valid, test: Whether to hold out that half; if not, its lines are for training too.
            watch: Is told the size of every block that is read.

        Raises:
            UsageError: `holdout` is not a share below one.
        """
        if not 0 <= holdout < 1:
            raise UsageError(f"holdout {holdout} is no share of the lines; give a number from 0 to below 1")
        super().__init__(corpus.sources, raw=corpus.raw, refuse_specials=corpus.refuse_specials)
        self.corpus = corpus
        self.holdout = holdout
        self.halves = (valid, test)
        self.watch = watch
        self.lines_read = 0
        self.valid, self.test = HeldOutLines(raw=self.raw), HeldOutLines(raw=self.raw)
        if holdout and not self._is_large_enough():
            self.holdout = 0.0

    def _is_large_enough(self) -> bool:
        lines, train, held_out = 0, False, False
        for block in self.corpus.blocks():
            lines += block.count(b"\n")
            parts = self._split(block)
            train |= bool(parts[0].strip())
            held_out |= any(parts[1:])
            if lines >= MIN_LINES and train and held_out:
                return True
        return False

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Give the training lines, and gather the others."""
        self.lines_read = 0
        self.valid, self.test = HeldOutLines(raw=self.raw), HeldOutLines(raw=self.raw)
        for block in self.corpus.blocks(size):
            self.lines_read += block.count(b"\n")
            self.watch(len(block))
            if not self.holdout:
                yield block
                continue
            train_part, valid_part, test_part = self._split(block)
            self.valid.add(valid_part)
            self.test.add(test_part)
            if train_part:
                yield train_part

    def _split(self, block: bytes) -> tuple[bytes, bytes, bytes]:
        shares, lengths = hashed_lines(block)
        valid, test = self.halves
        part = np.zeros(len(shares), np.uint8)
        part[shares < self.holdout] = 2 if test else 0
        part[shares < self.holdout / 2] = 1 if valid else 0
        part[lengths == 1] = 0
        data, of_byte = np.frombuffer(block, np.uint8), np.repeat(part, lengths)
        train_part, valid_part, test_part = (data[of_byte == k].tobytes() for k in range(3))
        return train_part, valid_part, test_part

    def record(self) -> dict[str, Any]:
        """Say what was held out and by which rule, for `splits.json`."""
        return {
            "rule": "FNV-1a hash of the line's bytes, mixed; validation below holdout / 2, test below holdout",
            "sources": [source.name for source in self.sources],
            "holdout": self.holdout,
            "lines": self.lines_read,
            "valid_lines": self.valid.count,
            "test_lines": self.test.count,
        }
