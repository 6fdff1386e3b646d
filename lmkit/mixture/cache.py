"""A cache: what a text has said already, it is likely to say again.

    p(w | h) = lambda_0 p_model(w | h) + sum_m lambda_{m+1} c_m(w | h)
    c_m(w | h) = sum over i in M, w_i = w of a_m^(t-i)  /  sum over i in M of a_m^(t-i)

M are the places i before the place t of w where the last m tokens stood before: a match of m tokens. c_0 is the
unigram cache of Kuhn and De Mori (1990), with decay (Clarkson and Robinson 1997); longer matches make it an n-gram
cache. The weights depend on the longest match that there is.

It learns from the text that it reads, the one it is measured on: its perplexities are to be called adaptive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lmkit.errors import ModelFormatError
from lmkit.mixture.parts import arrays_of, configs_of, unpack
from lmkit.model import LanguageModel
from lmkit.tensors import digest
from lmkit.text.tokenizer import Tokenizer

WINDOW = 1 << 13  # tokens that are looked back on
_LARGEST_WINDOW = 1 << 24
_LONGEST = 16
_FAINTEST = 1e-300  # that a place counts for, however far off: among such ones each has its share


@dataclass(frozen=True, eq=False)
class CacheState:
    """The state of the model, and the last tokens at B positions."""

    model: Any
    history: np.ndarray  # (B, W) int32, the newest last, -1 where the text had not begun

    def __len__(self) -> int:
        return len(self.history)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CacheState)
            and bool(self.model == other.model)
            and np.array_equal(self.history, other.history)
        )

    __hash__ = None  # type: ignore[assignment]

    def select(self, rows: Sequence[int] | np.ndarray) -> CacheState:
        """Give the state of some of the positions."""
        return CacheState(self.model.select(rows), self.history[np.asarray(rows, np.int64)])

    def join(self, *others: CacheState) -> CacheState:
        """Give the positions of this state and of others, one after another."""
        history = np.concatenate([self.history, *(other.history for other in others)])
        return CacheState(self.model.join(*(other.model for other in others)), history)


class Cached(LanguageModel):
    """A model with a cache of n-grams. It remembers across line ends, whatever the model itself does.

    >>> from lmkit.text.character import CharTokenizer
    >>> from lmkit.text.vocabulary import Vocabulary
    >>> from lmkit.uniform import UniformModel
    >>> uniform = UniformModel(tokenizer=CharTokenizer(vocab=Vocabulary.from_tokens("ab")))
    >>> weights = np.array([[1, 0], [0.5, 0.5]])  # nothing to remember; anything
    >>> model = Cached(model=uniform, half_lives=[100.0], weights=weights, window=8)
    >>> [round(float(p), 3) for p in np.exp(model.score("abb"))]  # the last is </s>
    [0.25, 0.125, 0.376, 0.125]
    """

    backend = "cache"
    context = "stream"

    def __init__(
        self,
        *,
        model: LanguageModel,
        half_lives: Sequence[float],
        weights: np.ndarray,
        window: int = WINDOW,
    ) -> None:
        """Put a cache on a model; `tuned_cache` finds half-lives and weights.

        Args:
            model: Any language model.
            half_lives: (M + 1,) the tokens after which a place counts half, for matches of 0, 1, ... M tokens.
            weights: (M + 2, M + 2); row m + 1 holds those for a longest match of m: of the model, then of each length.
                Row 0 is for the first token of a text.
            window: How many tokens are looked back on, W.
        """
        self.model = model
        self.tokenizer = model.tokenizer
        self.half_lives = [float(tokens) for tokens in half_lives]
        self.weights = np.asarray(weights, np.float64)
        self.window = window
        self.powers = decay(self.half_lives, window)

    def start(self, batch_size: int = 1) -> CacheState:
        """Give the state at the start of a text, of which nothing is remembered."""
        history = np.full((batch_size, self.window), -1, np.int32)
        return CacheState(self.model.start(batch_size), history)

    def step(self, state: CacheState, tokens: np.ndarray) -> CacheState:
        """Give the state after one more token (B,) at each position."""
        model = self.model.step(state.model, tokens)
        newest = np.asarray(tokens, np.int32)[:, None]
        return CacheState(model, np.concatenate([state.history[:, 1:], newest], axis=1))

    def next_logprobs(self, state: CacheState) -> np.ndarray:
        """Give log p of every token (B, V)."""
        from lmkit.mixture import matches

        logprobs = np.array(self.model.next_logprobs(state.model), np.float32)
        matches.recall(state.history, self.powers, self.weights, logprobs)
        return logprobs

    def score_ids(self, ids: np.ndarray, state: CacheState | None = None) -> tuple[np.ndarray, CacheState]:
        """Give log p of each token (T,), and the state after them; the model takes its fast path."""
        state = self.start() if state is None else state
        ids = np.asarray(ids, np.int32)
        logprobs, model = self.model.score_ids(ids, state.model)
        known = state.history[0][state.history[0] >= 0]
        tokens = np.concatenate([known, ids])
        shares, longest = recalled_shares(
            tokens, len(known), powers=self.powers, vocab_size=len(self.tokenizer.vocab)
        )
        mixed = mix_shares(logprobs, shares, longest, self.weights)
        history = np.concatenate([state.history[0], ids])[-self.window :]
        return mixed, CacheState(model, history[None])

    @property
    def adaptive(self) -> bool:
        """Yes."""
        return True

    def capacity(self) -> int:
        """Count what the model keeps; the cache begins empty."""
        return self.model.capacity()

    def protocol(self) -> dict[str, str]:
        """Name the model, how far back the cache looks for matches of which length, and by which weights."""
        return {
            "of": self.model.described(),
            "cache": f"{len(self.half_lives)}-gram,half-lives={'/'.join(f'{tokens:g}' for tokens in self.half_lives)}",
            "window": str(self.window),
            "fit": digest({"weights": self.weights}),
            "adaptive": "yes",
        }

    def config(self) -> dict[str, Any]:
        """Give half-lives, weights and window, and what the model is."""
        return {
            "half_lives": self.half_lives,
            "weights": self.weights.tolist(),
            "window": self.window,
            "models": configs_of([self.model]),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the arrays of the model."""
        return arrays_of([self.model])

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
            half_lives = np.asarray(config["half_lives"], np.float64)
            weights = np.asarray(config["weights"], np.float64)
            window = int(config["window"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFormatError(f"config.json: describes no cache: {error}") from None
        size = len(half_lives) + 1
        if (
            len(models) != 1
            or half_lives.ndim != 1
            or not 1 <= len(half_lives) <= _LONGEST
            or not bool((half_lives > 0).all())
            or weights.shape != (size, size)
            or not bool(
                (weights >= 0).all() and np.allclose(weights.sum(axis=1), 1) and not np.triu(weights, 1).any()
            )
            or not 1 <= window <= _LARGEST_WINDOW
        ):
            raise ModelFormatError("config.json: half-lives, weights and window are not those of a cache")
        return cls(model=models[0], half_lives=half_lives.tolist(), weights=weights, window=window)


def decay(half_lives: Sequence[float], window: int) -> np.ndarray:
    """Give what a place counts for (M + 1, W + 1), by half-life and by distance.

    >>> decay([1, 2], 2).round(2).tolist()
    [[1.0, 0.5, 0.25], [1.0, 0.71, 0.5]]
    """
    faded = 0.5 ** (np.arange(window + 1) / np.asarray(half_lives, np.float64)[:, None])
    return np.maximum(faded, _FAINTEST)


def recalled_shares(
    tokens: np.ndarray, begin: int, *, powers: np.ndarray, vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give c_m of each token from place `begin` on (M + 1, T), and its longest match (T,), -1 without a past."""
    from lmkit.mixture import matches

    shares = np.zeros((len(powers), len(tokens) - begin))
    longest = np.empty(len(tokens) - begin, np.int8)
    matches.recalled(tokens, begin, powers, vocab_size, shares, longest)
    return shares, longest


def mix_shares(
    logprobs: np.ndarray, shares: np.ndarray, longest: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Give log p (T,) float32 of model and cache together; see `recalled_shares` and `Cached`."""
    rows = weights[longest.astype(np.int64) + 1].T  # (M + 2, T)
    with np.errstate(divide="ignore"):
        cache = np.log((rows[1:] * shares).sum(axis=0))
        return np.logaddexp(np.log(rows[0]) + logprobs, cache).astype(np.float32)
