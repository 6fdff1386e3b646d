"""The n-gram model: the Markov assumption behind the contract of every language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from lmkit.errors import ModelFormatError, UsageError
from lmkit.model import LanguageModel
from lmkit.ngram.quantization import QuantizedTrie
from lmkit.ngram.queries import Queries
from lmkit.ngram.trie import Trie
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS, EOS
from lmkit.threads import in_threads

_PIECE = 1 << 16  # tokens that one thread scores at a time


@dataclass(frozen=True, eq=False)
class NgramState:
    """The nodes of the last 1, 2, ... order - 1 tokens at B positions, -1 where the model has no such n-gram."""

    nodes: np.ndarray  # (B, order - 1) int64

    def __len__(self) -> int:
        return len(self.nodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NgramState) and np.array_equal(self.nodes, other.nodes)

    __hash__ = None  # type: ignore[assignment]

    def select(self, rows: Sequence[int] | np.ndarray) -> NgramState:
        """Give the state of some of the positions."""
        return NgramState(self.nodes[np.asarray(rows, np.int64)])

    def join(self, *others: NgramState) -> NgramState:
        """Give the positions of this state and of others, one after another."""
        return NgramState(np.concatenate([self.nodes, *(other.nodes for other in others)]))


class NgramModel(LanguageModel):
    """A trie of n-grams with a tokenizer; the probability of a token is that of the longest n-gram that ends in it.

    p(w|h) = p_n(w|h) if the model has the n-gram hw, else backoff(h) p(w|h'), h' being h without its first word.
    """

    backend = "ngram"
    context = "line"

    def __init__(self, *, tokenizer: Tokenizer, trie: Queries, smoothing: str = "mkn") -> None:
        self.tokenizer = tokenizer
        self.trie = trie
        self.smoothing = smoothing
        self._sums: np.ndarray | None = None  # of unigrams, once a token was drawn

    @property
    def order(self) -> int:
        """The longest n-gram."""
        return self.trie.order

    def start(self, batch_size: int = 1) -> NgramState:
        """Give the state after `<s>`."""
        nodes = np.full((batch_size, self.order - 1), -1, np.int64)
        nodes[:, :1] = BOS
        return NgramState(nodes)

    def step(self, state: NgramState, tokens: np.ndarray) -> NgramState:
        """Give the state after one more token (B,) at each position."""
        nodes = state.nodes.copy()
        self.trie.advance(nodes, self._checked(tokens, len(state)))
        return NgramState(nodes)

    def next_logprobs(self, state: NgramState) -> np.ndarray:
        """Give log p of every token (B, V): one slice of the trie for each context that the state knows."""
        out = np.empty((len(state), len(self.tokenizer.vocab)), np.float32)
        self.trie.distribution(state.nodes, out)
        return out

    def draw(
        self, state: NgramState, points: np.ndarray, *, temperature: float = 1.0, logprobs: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a token (B,) at each position, with log p of each: a walk through the n-grams that the state knows.

        Probabilities that do not sum to one, those that are quantised or raised to a power, are drawn from plainly.
        """
        if self.trie.quantize is not None or temperature != 1:
            return super().draw(state, points, temperature=temperature)
        if self._sums is None:
            self._sums = self.trie.unigram_sums()
        tokens, found = self.trie.draw(self._sums, state.nodes, points)
        if tokens.min(initial=0) < 0:
            rest = np.flatnonzero(tokens < 0)
            tokens[rest], found[rest] = super().draw(state.select(rest), points[rest])
        return tokens, found

    def score_ids(self, ids: np.ndarray, state: NgramState | None = None) -> tuple[np.ndarray, NgramState]:
        """Give log p of each token (T,), and the state after them: a compiled loop, on all cores for a long text."""
        ids = self._checked(ids, len(ids))
        nodes = (self.start() if state is None else state).nodes[0].copy()
        out = np.empty(len(ids), np.float32)
        if len(ids) < 2 * _PIECE:
            self.trie.score(nodes, ids, out)
            return out, NgramState(nodes[None])
        pieces = _lines_together(ids)
        states = [nodes, *(self.start().nodes[0] for _ in pieces[1:])]  # every line begins anew
        in_threads(
            lambda work: self.trie.score(work[1], ids[work[0]], out[work[0]]),
            zip(pieces, states, strict=True),
        )
        return out, NgramState(states[-1][None])

    def evidence(self, ids: np.ndarray, state: NgramState | None = None) -> tuple[str, np.ndarray]:
        """Give the order (T,) of the longest n-gram that the model has and that ends in each token."""
        nodes = (self.start() if state is None else state).nodes[0]
        return "order", self.trie.orders_used(nodes, self._checked(ids, len(ids)))

    def _checked(self, ids: np.ndarray, count: int) -> np.ndarray:
        """Give ids as int32 if they are tokens of this model: the compiled loops look at no bounds."""
        ids = np.asarray(ids)
        if ids.shape != (count,) or (count and not 0 <= ids.min() <= ids.max() < len(self.tokenizer.vocab)):
            raise UsageError(f"token ids must be {count} numbers from 0 to {len(self.tokenizer.vocab) - 1}")
        return ids.astype(np.int32, copy=False)

    def capacity(self) -> int:
        """Count the n-grams, of all orders."""
        return int(self.trie.level[-1])

    def protocol(self) -> dict[str, str]:
        """Name the order, the smoothing, and the bits of a code if numbers are rounded."""
        return {name: str(value) for name, value in self.config().items()}

    def config(self) -> dict[str, Any]:
        """Give the same as values."""
        rounded = {} if self.trie.quantize is None else {"quantize": self.trie.quantize}
        return {"order": self.order, "smoothing": self.smoothing, **rounded}

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the trie's arrays."""
        return self.trie.arrays()

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
    ) -> Self:
        """Make a model of a file's arrays, which stay where they are.

        Raises:
            ModelFormatError: arrays, configuration and vocabulary do not fit together.
        """
        bits = config.get("quantize")
        if bits is None:
            trie: Queries = Trie.from_arrays(arrays, len(tokenizer.vocab))
        elif isinstance(bits, int) and 2 <= bits <= 16:
            trie = QuantizedTrie.from_arrays(arrays, len(tokenizer.vocab), bits)
        else:
            raise ModelFormatError(f"config.json says quantize {bits!r}; codes have 2 to 16 bits")
        if config.get("order") != trie.order:
            raise ModelFormatError(
                f"config.json says order {config.get('order')}, model.safetensors holds {trie.order}"
            )
        return cls(tokenizer=tokenizer, trie=trie, smoothing=str(config.get("smoothing")))


def _lines_together(ids: np.ndarray) -> list[slice]:
    """Cut a text (T,) into pieces of whole lines, the last of which may be unfinished."""
    ends = np.flatnonzero(ids == EOS) + 1
    wanted = np.arange(_PIECE, len(ids), _PIECE)
    cuts = np.unique(ends[np.minimum(np.searchsorted(ends, wanted), len(ends) - 1)]) if len(ends) else ends
    bounds = [0, *cuts[cuts < len(ids)].tolist(), len(ids)]
    return [slice(begin, end) for begin, end in pairwise(bounds)]
