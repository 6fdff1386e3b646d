"""The smallest language model: every token is as likely as any other. Its perplexity is its vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lmkit.model import LanguageModel
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS


@dataclass(frozen=True)
class UniformState:
    """Nothing is remembered; only how many positions there are."""

    batch_size: int

    def __len__(self) -> int:
        return self.batch_size

    def select(self, rows: Sequence[int] | np.ndarray) -> UniformState:
        """Give as many positions as there are rows."""
        return UniformState(len(rows))

    def join(self, *others: UniformState) -> UniformState:
        """Give as many positions as there are in all."""
        return UniformState(sum(map(len, others), len(self)))


class UniformModel(LanguageModel):
    """p(w) = 1 / (V - 1) for every token but `<s>`; a template for a new backend."""

    backend = "uniform"
    context = "line"

    def __init__(self, *, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def start(self, batch_size: int = 1) -> UniformState:
        """Give the only state there is."""
        return UniformState(batch_size)

    def step(self, state: UniformState, tokens: np.ndarray) -> UniformState:
        """Stay where it is."""
        return state

    def next_logprobs(self, state: UniformState) -> np.ndarray:
        """Give the same number for every token but `<s>`."""
        size = len(self.tokenizer.vocab)
        logprobs = np.full((len(state), size), -np.log(size - 1), np.float32)
        logprobs[:, BOS] = -np.inf
        return logprobs

    def config(self) -> dict[str, Any]:
        """There is nothing to configure."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """There are no parameters."""
        return {}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
    ) -> Self:
        """Make it of a tokenizer alone."""
        return cls(tokenizer=tokenizer)


def train(ids: np.ndarray, *, tokenizer: Tokenizer, **_: Any) -> UniformModel:
    """Give the uniform model; the text says nothing but its vocabulary."""
    return UniformModel(tokenizer=tokenizer)
