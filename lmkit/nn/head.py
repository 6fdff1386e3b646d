"""A head: from features to a distribution over the vocabulary, always exact and normalised.

Training asks it for the gradient of its loss some rows at a time, so that the (N, V) scores of a whole window never
exist together. The kinds are in `lmkit.nn.heads`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

# enough rows for each reading of the table to be worth it
_SCORES_AT_ONCE = {"cpu": 1 << 23, "cuda": 1 << 27}


class Head(nn.Module):
    """A distribution over `vocab_size` words, from features of `input_size`. The word `never` has probability 0."""

    kind: str

    def __init__(self, *, vocab_size: int, input_size: int, never: int | None = None) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.never = never
        self.weight = nn.Parameter(torch.zeros(vocab_size, input_size))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def logprobs(self, features: Tensor) -> Tensor:
        """Give log p of every word (..., V), in nats, after features (..., E)."""
        raise NotImplementedError

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give the surprisal (N,) of targets (N,) after features (N, E), in nats."""
        raise NotImplementedError

    def draw(self, features: Tensor, points: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Draw a word (B,) after each row of features (B, E) on a CPU, from a uniform number (B,) in [0, 1) each.

        Words are drawn in proportion to p^(1/T), of a temperature T above 0.
        """
        raise NotImplementedError

    def prepare(self, unigram: Tensor) -> None:
        """Begin at the unigram distribution (V,), which any training would find first."""
        raise NotImplementedError

    def surprisals(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give `loss` without gradients, some rows at a time."""
        with torch.no_grad():
            return torch.cat([self.loss(*part) for part in self._parts(features, targets)])

    def backward(
        self,
        features: Tensor,
        *labels: Tensor,
        share: float = 1.0,
        loss: Callable[..., Tensor] | None = None,
    ) -> tuple[float, Tensor]:
        """Add the gradient of the mean loss to the weights, some rows at a time.

        Gives the mean loss in nats, and its gradient by the features (N, E).

        Args:
            features: (N, E).
            labels: What the loss takes besides: targets (N,), or tensors (N, ...).
            share: What all of it counts for, where these are a part of the tokens of a step.
            loss: Takes some rows of features and labels, and gives their losses; the head's own if not given.
        """
        rows = features.detach().requires_grad_()
        total, of_rows = 0.0, loss or self.loss
        for part in self._parts(rows, *labels):
            mean = of_rows(*part).sum() * (share / len(rows))
            mean.backward()  # type: ignore[no-untyped-call]
            total += mean.item()
        assert rows.grad is not None
        return total, rows.grad

    def _parts(self, features: Tensor, *labels: Tensor) -> list[tuple[Tensor, ...]]:
        at_once = _SCORES_AT_ONCE.get(features.device.type, 1 << 24)
        step = max(16, at_once // self.vocab_size)
        starts = range(0, len(features), step)
        return [tuple(tensor[i : i + step] for tensor in (features, *labels)) for i in starts]
