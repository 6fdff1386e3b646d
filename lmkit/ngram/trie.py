"""The trie: an n-gram model in five arrays, opened by memory map and never unpacked.

Nodes are n-grams, numbered order after order and in lexicographic order within one; a unigram's node is its word's
id. So the n-grams that extend a context are one contiguous range, in the order of their last words: finding one is
a binary search, and the distribution after a context is a slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lmkit.errors import ModelFormatError
from lmkit.ngram.queries import Queries
from lmkit.tensors import check_arrays

ALWAYS_CHECKED = (
    1 << 22
)  # nodes; a larger model opens without being read, and is trusted to be what was written


@dataclass(frozen=True)
class Trie(Queries):
    """N-grams with their probabilities and backoffs.

    Attributes:
        level: (order + 1,) int64; order n has the nodes level[n - 1] to level[n].
        word: (nodes,) int32, the last word of each n-gram.
        log10_prob: (nodes,) float32, log10 p(last word | the others), the form that ARPA files hold.
        log10_backoff: (contexts,) float32, log10 of the weight of shorter contexts after this n-gram.
        first: (contexts + 1,) uint32; the n-grams that extend node g are the nodes first[g] to first[g + 1].
    """

    level: np.ndarray
    word: np.ndarray
    log10_prob: np.ndarray
    log10_backoff: np.ndarray
    first: np.ndarray

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Give the columns, which are the arrays as they are."""
        return self.word, self.log10_prob, self.log10_backoff, self.first

    def trim(self) -> Trie:
        """Give the trie without the highest orders if they are empty."""
        order = max(n for n in range(1, self.order + 1) if n == 1 or self.level[n] > self.level[n - 1])
        if order == self.order:
            return self
        contexts = int(self.level[order - 1])
        return Trie(
            level=self.level[: order + 1],
            word=self.word,
            log10_prob=self.log10_prob,
            log10_backoff=self.log10_backoff[:contexts],
            first=self.first[: contexts + 1],
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the arrays by name."""
        return dict(vars(self))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], vocab_size: int) -> Trie:
        """Check the arrays of a file, of a large one as far as can be done without reading all of it.

        Raises:
            ModelFormatError: they do not fit together.
        """
        level = checked_level(arrays, vocab_size)
        nodes, contexts = int(level[-1]), int(level[-2])
        expected = {
            "level": ("int64", level.shape),
            "word": ("int32", (nodes,)),
            "log10_prob": ("float32", (nodes,)),
            "log10_backoff": ("float32", (contexts,)),
            "first": ("uint32", (contexts + 1,)),
        }
        check_arrays("model.safetensors", arrays, expected)
        first, word = arrays["first"], arrays["word"]
        sound = np.array_equal(first[level[:-1]], level[1:])  # the children of each order are the next one
        if sound and nodes <= ALWAYS_CHECKED:
            sound = bool((first[1:] >= first[:-1]).all() and word.min() >= 0 and word.max() < vocab_size)
        if not sound:
            raise ModelFormatError("model.safetensors: 'first' or 'word' points outside the n-grams")
        return cls(**{name: arrays[name] for name in expected})


def checked_level(arrays: Mapping[str, np.ndarray], vocab_size: int) -> np.ndarray:
    """Give `level` of a file, once it is known to number n-grams over a vocabulary.

    Raises:
        ModelFormatError: it does not.
    """
    level = arrays.get("level", np.empty(0, np.int64))
    fits = level.ndim == 1 and len(level) >= 2 and level.dtype == np.int64
    if not (fits and level[0] == 0 and level[1] == vocab_size and (np.diff(level) >= 0).all()):
        raise ModelFormatError("model.safetensors: 'level' does not number the n-grams of this vocabulary")
    return level
