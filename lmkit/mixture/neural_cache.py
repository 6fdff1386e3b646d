"""The continuous cache: what came the last times that the network was in such a state as now.

    p(w | h_t) = (1 - lambda) p_model(w | h_t) + lambda p_cache(w | h_t)
    p_cache(w | h_t) ~ sum over i < t, w_i = w of exp(theta cos(f(h_i), f(h_t)))

f(h_i) are the features that token i was predicted from (Grave, Joulin and Usunier 2017). They compare by the angle
between them, not by their product: how long a vector is says how sure the network is, not what it has in mind.

It learns from the text that it reads, the one it is measured on: its perplexities are to be called adaptive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lmkit.errors import ModelFormatError
from lmkit.mixture.parts import arrays_of, configs_of, unpack
from lmkit.model import FeatureModel
from lmkit.text.tokenizer import Tokenizer

WINDOW = 1 << 13  # tokens that are looked back on
LARGEST_WINDOW = 1 << 20
SHARPEST = 40.0  # exp(-2 theta) is still a float32
_PIECE = 1 << 13  # tokens whose features are held at once
_ROWS = 256  # of similarities that are computed at once


@dataclass(frozen=True, eq=False)
class NeuralCacheState:
    """The state of the model at B positions, and the last H tokens there with the features that they came after."""

    model: Any
    tokens: (
        np.ndarray
    )  # (B, H) int32, the newest last, -1 in front where there are fewer; H is at most the window
    keys: np.ndarray  # (B, H, E) float32, of length 1; 0 in front

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, NeuralCacheState)
            and bool(self.model == other.model)
            and np.array_equal(self.tokens, other.tokens)
            and np.array_equal(self.keys, other.keys)
        )

    __hash__ = None  # type: ignore[assignment]

    def select(self, rows: Sequence[int] | np.ndarray) -> NeuralCacheState:
        """Give the state of some of the positions."""
        index = np.asarray(rows, np.int64)
        return NeuralCacheState(self.model.select(rows), self.tokens[index], self.keys[index])

    def join(self, *others: NeuralCacheState) -> NeuralCacheState:
        """Give the positions of this state and of others, one after another."""
        states = (self, *others)
        longest = max(state.tokens.shape[1] for state in states)
        gaps = [longest - state.tokens.shape[1] for state in states]
        tokens = [
            np.pad(s.tokens, ((0, 0), (gap, 0)), constant_values=-1)
            for s, gap in zip(states, gaps, strict=True)
        ]
        keys = [np.pad(s.keys, ((0, 0), (gap, 0), (0, 0))) for s, gap in zip(states, gaps, strict=True)]
        model = self.model.join(*(state.model for state in others))
        return NeuralCacheState(model, np.concatenate(tokens), np.concatenate(keys))


class NeuralCache(FeatureModel):
    """A recurrent model with a continuous cache.

    >>> import lmkit
    >>> model = lmkit.train("the fox ran .\\nthe owl sat .\\n" * 9, backend="rnn", hidden_size=8, epochs=1, holdout=0)
    >>> cached = NeuralCache(model=model, theta=10.0, weight=0.3)
    >>> bool(np.isclose(np.exp(cached.next_logprobs(cached.start())).sum(), 1, atol=1e-5))
    True
    """

    backend = "neural_cache"
    context = "stream"

    def __init__(self, *, model: FeatureModel, theta: float, weight: float, window: int = WINDOW) -> None:
        """Put a cache on a model; `tuned_neural_cache` finds theta and weight.

        Args:
            model: One that has features.
            theta: How much a state must be like the one at hand to count, up to 40.
            weight: lambda, of the cache.
            window: How many tokens are looked back on.
        """
        self.model = model
        self.tokenizer = model.tokenizer
        self.theta = theta
        self.weight = weight
        self.window = window

    def start(self, batch_size: int = 1) -> NeuralCacheState:
        """Give the state at the start of a text, of which nothing is remembered."""
        model = self.model.start(batch_size)
        size = self.model.features(model).shape[1]
        return NeuralCacheState(
            model, np.empty((batch_size, 0), np.int32), np.empty((batch_size, 0, size), np.float32)
        )

    def step(self, state: NeuralCacheState, tokens: np.ndarray) -> NeuralCacheState:
        """Give the state after one more token (B,) at each position."""
        key = directions(self.model.features(state.model))[:, None]
        newest = np.asarray(tokens, np.int32)[:, None]
        forgotten = max(0, state.tokens.shape[1] + 1 - self.window)
        return NeuralCacheState(
            self.model.step(state.model, tokens),
            np.concatenate([state.tokens[:, forgotten:], newest], axis=1),
            np.concatenate([state.keys[:, forgotten:], key], axis=1),
        )

    def features(self, state: NeuralCacheState) -> np.ndarray:
        """Give the features (B, E) of the model."""
        return self.model.features(state.model)

    def next_logprobs(self, state: NeuralCacheState) -> np.ndarray:
        """Give log p of every token (B, V)."""
        logprobs = np.array(self.model.next_logprobs(state.model))
        now = directions(self.model.features(state.model))
        near = np.exp(self.theta * (np.matmul(state.keys, now[:, :, None])[:, :, 0] - 1))  # (B, H)
        for row, (tokens, of_row) in enumerate(zip(state.tokens, near.astype(np.float64), strict=True)):
            known = tokens >= 0
            if known.any():
                said = np.bincount(tokens[known], weights=of_row[known], minlength=logprobs.shape[1])
                logprobs[row] = self._mixed(logprobs[row], said / said.sum())
        return logprobs

    def score_ids(
        self, ids: np.ndarray, state: NeuralCacheState | None = None
    ) -> tuple[np.ndarray, NeuralCacheState]:
        """Give log p of each token (T,), and the state after them; the model takes its fast path."""
        state, out = self.start() if state is None else state, [np.empty(0, np.float32)]
        for logprobs, _, after in self._scored(ids, state):
            out.append(logprobs)
            state = after
        return np.concatenate(out), state

    def score_features(
        self, ids: np.ndarray, state: NeuralCacheState | None = None
    ) -> tuple[np.ndarray, np.ndarray, NeuralCacheState]:
        """Give log p of each token (T,), the features (T, E) of the model before it, and the state after them."""
        state = self.start() if state is None else state
        out, vectors = [np.empty(0, np.float32)], [np.empty((0, state.keys.shape[2]), np.float32)]
        for logprobs, features, after in self._scored(ids, state):
            out.append(logprobs)
            vectors.append(features)
            state = after
        return np.concatenate(out), np.concatenate(vectors), state

    def _scored(
        self, ids: np.ndarray, state: NeuralCacheState
    ) -> Iterator[tuple[np.ndarray, np.ndarray, NeuralCacheState]]:
        """Give log p, features before each token and the state after them, a piece at a time."""
        for begin in range(0, len(ids), _PIECE):
            piece = np.asarray(ids[begin : begin + _PIECE], np.int32)
            logprobs, features, model = self.model.score_features(piece, state.model)
            remembered = state.tokens[0] >= 0
            tokens = np.concatenate([state.tokens[0, remembered], piece])
            keys = np.concatenate([state.keys[0, remembered], directions(features)])
            known = len(tokens) - len(piece)
            mixed = self._mixed(
                logprobs, recalled_shares(tokens, keys, known, theta=self.theta, window=self.window)
            )
            if not known:
                mixed[0] = logprobs[0]  # nothing is remembered yet
            state = NeuralCacheState(model, tokens[None, -self.window :], keys[None, -self.window :])
            yield mixed, features, state

    def _mixed(self, logprobs: np.ndarray, shares: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.logaddexp(
                np.log1p(-self.weight) + logprobs, np.log(self.weight) + np.log(shares)
            ).astype(np.float32)

    @property
    def adaptive(self) -> bool:
        """Yes."""
        return True

    def capacity(self) -> int:
        """Count what the model keeps; the cache begins empty."""
        return self.model.capacity()

    def protocol(self) -> dict[str, str]:
        """Name the model, and how far back the cache looks."""
        return {
            "of": self.model.described(),
            "cache": f"continuous,theta={self.theta:g},weight={self.weight:.4f}",
            "window": str(self.window),
            "adaptive": "yes",
        }

    def config(self) -> dict[str, Any]:
        """Give theta, weight and window, and what the model is."""
        return {
            "theta": self.theta,
            "weight": self.weight,
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
            theta, weight, window = float(config["theta"]), float(config["weight"]), int(config["window"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFormatError(f"config.json: describes no continuous cache: {error}") from None
        sound = 0 < theta <= SHARPEST and 0 <= weight < 1 and 1 <= window <= LARGEST_WINDOW
        if len(models) != 1 or not isinstance(models[0], FeatureModel) or not sound:
            raise ModelFormatError(
                "config.json: model, theta, weight and window are not those of a continuous cache"
            )
        return cls(model=models[0], theta=theta, weight=weight, window=window)


def directions(features: np.ndarray) -> np.ndarray:
    """Give vectors (..., E) float32 of length 1; nothing points nowhere.

    >>> directions(np.array([[0.0, 4.0], [0.0, 0.0]], np.float32)).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, np.float32(1e-12)), np.float32)


def recalled_shares(
    tokens: np.ndarray, keys: np.ndarray, begin: int, *, theta: float, window: int
) -> np.ndarray:
    """Give p_cache of each token from place `begin` on (T,), from the tokens (H + T,) and their keys (H + T, E)."""
    shares = np.zeros(len(tokens) - begin)
    for low in range(begin, len(tokens), _ROWS):
        high = min(low + _ROWS, len(tokens))
        first = max(0, low - window)
        near = (np.float32(theta) * keys[low:high]) @ keys[first:high].T  # (R, K)
        near -= np.float32(theta)
        np.exp(near, out=near)
        rows = np.arange(high - low)[:, None]
        near[:, low - first :] *= rows > rows.T  # what comes later is not known yet
        left = near[:, : high - low]
        left *= np.arange(left.shape[1]) >= rows + (low - window - first)  # what is too long ago is forgotten
        whole = near.sum(axis=1, dtype=np.float64)
        same = tokens[low:high, None] == tokens[None, first:high]
        said = np.einsum("rk,rk->r", near, same, dtype=np.float64)
        shares[low - begin : high - begin] = np.divide(said, whole, out=np.zeros_like(said), where=whole > 0)
    return shares
