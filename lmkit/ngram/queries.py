"""What an n-gram model asks of its trie, in whatever form that is held."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from lmkit.ngram.kernels import bulk, draws, lookup

_SHORT = 64  # tokens; below, setting up a bulk takes longer than it saves


class Queries(ABC):
    """A trie: n-grams numbered order after order, a unigram by its word's id, in columns that kernels read.

    Attributes:
        level: (order + 1,) int64; order n has the nodes level[n - 1] to level[n].
    """

    level: np.ndarray

    @property
    def quantize(self) -> int | None:
        """The bits of a code; None where numbers are held as they are."""
        return None

    @property
    @abstractmethod
    def columns(self) -> tuple[Any, Any, Any, Any]:
        """Give word, log10 probability, log10 backoff and first child of each node: see `kernels.columns`."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Give the arrays by name."""

    @property
    def order(self) -> int:
        """The longest n-gram."""
        return len(self.level) - 1

    def sizes(self) -> list[int]:
        """Give the number of n-grams of each order."""
        return [int(size) for size in np.diff(self.level)]

    def score(self, nodes: np.ndarray, tokens: np.ndarray, out: np.ndarray) -> None:
        """Write log p of each token (T,) into `out`, and move the state `nodes` (order - 1,) behind them."""
        kernel = lookup.score_stream if len(tokens) < _SHORT else bulk.score_bulk
        kernel(*self.columns, nodes, tokens, out)

    def orders_used(self, nodes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Give the order (T,) int8 of the n-gram that is found for each token after the state `nodes` (order - 1,)."""
        word, _, _, first = self.columns
        out = np.empty(len(tokens), np.int8)
        lookup.orders_used(word, first, nodes.copy(), tokens, out)
        return out

    def advance(self, nodes: np.ndarray, tokens: np.ndarray) -> None:
        """Move each state (B, order - 1) behind one more token (B,)."""
        word, _, _, first = self.columns
        lookup.advance_batch(word, first, nodes, tokens)

    def distribution(self, nodes: np.ndarray, out: np.ndarray) -> None:
        """Write log p of every token (B, V) after each state (B, order - 1) into `out`."""
        lookup.distribution(*self.columns, nodes, out)

    def draw(self, sums: np.ndarray, nodes: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw a token (B,) after each state (B, order - 1), with log p of each: see `kernels.draws`."""
        tokens, logprobs = np.empty(len(nodes), np.int64), np.empty(len(nodes), np.float32)
        draws.draw_batch(*self.columns, sums, nodes, points, tokens, logprobs)
        return tokens, logprobs

    def unigram_sums(self) -> np.ndarray:
        """Give the probability of the unigrams before each word (V + 1,) in float64, `<s>` having none."""
        vocab_size = int(self.level[1])
        unigrams = np.empty((1, vocab_size), np.float32)
        self.distribution(np.empty((1, 0), np.int64), unigrams)
        return np.concatenate([[0.0], np.cumsum(np.exp(unigrams[0].astype(np.float64)))])
