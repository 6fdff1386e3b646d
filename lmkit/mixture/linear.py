"""Linear interpolation: the average of what several models say is a model.

    p(w | h) = sum_k lambda_k p_k(w | h)        lambda_k >= 0,  sum_k lambda_k = 1

(Jelinek and Mercer 1980). It sums to one because each part does, and is never worse on a token than the best part by
more than the log of that part's weight. Models that err differently, such as an n-gram and a recurrent network, gain
most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lmkit.errors import ModelFormatError, UsageError
from lmkit.mixture.parts import arrays_of, configs_of, unpack
from lmkit.model import LanguageModel, State
from lmkit.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class MixtureState:
    """The state of each part, all at the same B positions."""

    parts: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def select(self, rows: Sequence[int] | np.ndarray) -> MixtureState:
        """Give the state of some of the positions."""
        return MixtureState(tuple(part.select(rows) for part in self.parts))

    def join(self, *others: MixtureState) -> MixtureState:
        """Give the positions of this state and of others, one after another."""
        of_parts = zip(self.parts, *(other.parts for other in others), strict=True)
        return MixtureState(tuple(first.join(*rest) for first, *rest in of_parts))


class Mixture(LanguageModel):
    """Models of one tokenizer, with a weight each.

    It reads on across line ends if one of its parts does; the others forget there by themselves.

    >>> from lmkit.text.character import CharTokenizer
    >>> from lmkit.text.vocabulary import Vocabulary
    >>> from lmkit.uniform import UniformModel
    >>> uniform = UniformModel(tokenizer=CharTokenizer(vocab=Vocabulary.from_tokens("ab")))
    >>> Mixture(models=[uniform, uniform], weights=[0.3, 0.7]).score("ab").tolist() == uniform.score("ab").tolist()
    True
    """

    backend = "mixture"

    def __init__(self, *, models: Sequence[LanguageModel], weights: Sequence[float] | np.ndarray) -> None:
        """Store them; `mix` puts models of different vocabularies into one, and finds weights."""
        self.models = list(models)
        self.weights = np.asarray(weights, np.float64)
        self.tokenizer = self.models[0].tokenizer
        self.context = "stream" if any(model.context == "stream" for model in self.models) else "line"

    def start(self, batch_size: int = 1) -> MixtureState:
        """Give the states of all parts at the start of a text."""
        return MixtureState(tuple(model.start(batch_size) for model in self.models))

    def step(self, state: MixtureState, tokens: np.ndarray) -> MixtureState:
        """Give the states after one more token (B,) at each position."""
        pairs = zip(self.models, state.parts, strict=True)
        return MixtureState(tuple(model.step(part, tokens) for model, part in pairs))

    def next_logprobs(self, state: MixtureState) -> np.ndarray:
        """Give log p of every token (B, V)."""
        pairs = zip(self.models, state.parts, strict=True)
        return self.average(model.next_logprobs(part) for model, part in pairs)

    def score_ids(self, ids: np.ndarray, state: MixtureState | None = None) -> tuple[np.ndarray, State]:
        """Give log p of each token (T,), and the state after them; each part takes its fast path."""
        logprobs, state = self.score_parts(ids, state)
        return self.average(logprobs), state

    def score_parts(
        self, ids: np.ndarray, state: MixtureState | None = None
    ) -> tuple[np.ndarray, MixtureState]:
        """Give log p of each token by each part (K, T), and the state after them."""
        before = self.start() if state is None else state
        pairs = zip(self.models, before.parts, strict=True)
        scored = [model.score_ids(ids, part) for model, part in pairs]
        return np.stack([logprobs for logprobs, _ in scored]), MixtureState(tuple(part for _, part in scored))

    def average(self, logprobs: Iterable[np.ndarray]) -> np.ndarray:
        """Give log sum_k lambda_k p_k of an array of log p_k for each part, any shape.

        It stays in logarithms, so that no small number is lost.
        """
        pairs = zip(self.weights.tolist(), logprobs, strict=True)
        with np.errstate(divide="ignore"):
            weighted = (np.float32(np.log(weight)) + part for weight, part in pairs)
            total = next(weighted)
            for part in weighted:
                total = np.logaddexp(total, part)
        return total

    @property
    def adaptive(self) -> bool:
        """Whether one of its parts is."""
        return any(model.adaptive for model in self.models)

    def capacity(self) -> int:
        """Count what all parts can keep."""
        return sum(model.capacity() for model in self.models)

    def protocol(self) -> dict[str, str]:
        """Name the parts with what their signatures say of them, and their weights."""
        return {
            "parts": "+".join(model.described() for model in self.models),
            "weights": ",".join(f"{weight:.4f}" for weight in self.weights),
        }

    def config(self) -> dict[str, Any]:
        """Give the weights and what the parts are."""
        return {"weights": self.weights.tolist(), "models": configs_of(self.models)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the arrays of the parts."""
        return arrays_of(self.models)

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
    ) -> Self:
        """Make it again.

        Raises:
            ModelFormatError: the parts do not fit together.
        """
        models = unpack(config.get("models") or [], arrays, tokenizer)
        try:
            weights = checked_weights(config.get("weights") or [], len(models))
        except (UsageError, TypeError, ValueError) as error:
            raise ModelFormatError(f"config.json: {error}") from None
        return cls(models=models, weights=weights)


def checked_weights(weights: Sequence[float], count: int) -> np.ndarray:
    """Give weights (K,) float64 if they are those of a mixture of so many models.

    Raises:
        UsageError: there are more or fewer, one is negative or no number, or they do not sum to one.
    """
    found = np.asarray(weights, np.float64)
    if (
        found.shape != (count,)
        or count == 0
        or not bool((found >= 0).all())
        or abs(float(found.sum()) - 1) > 1e-6
    ):
        shown = ", ".join(f"{weight:g}" for weight in found.flatten())
        raise UsageError(
            f"weights {shown or '(none)'}: a mixture of {count} models needs {count} weights, none below 0, of sum 1"
        )
    return found / found.sum()
