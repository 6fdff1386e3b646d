"""The full softmax: log p = log softmax(W h + b), one row of W for each word.

`lmkit.nn.sampled_softmax` trains it without computing most of the scores, `lmkit.nn.screening` draws from it so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lmkit.nn.head import Head
from lmkit.nn.rows import linear
from lmkit.nn.softmax import log_softmax

if TYPE_CHECKING:
    from lmkit.nn.screening import Screen

_ROWS, _WORDS = 512, 512  # whose scores are in the cache while they are summed


class FullHead(Head):
    """One score for each word.

    >>> head = FullHead(vocab_size=9, input_size=4)
    >>> head.logprobs(torch.zeros(3, 4)).exp().sum(-1)
    tensor([1.0000, 1.0000, 1.0000], grad_fn=<SumBackward1>)
    """

    kind = "full"
    _screen: tuple[tuple[int, ...], Screen] | None = None  # made of a version of weights and biases

    def logits(self, features: Tensor) -> Tensor:
        """Give unnormalised log-probabilities (..., V): W h + b."""
        return linear(features, self.weight).to(self.bias.dtype) + self.possible_bias()

    def possible_bias(self) -> Tensor:
        """Give b (V,), minus infinity for the word that never comes."""
        if self.never is None:
            return self.bias
        return self.bias.index_fill(0, torch.tensor([self.never], device=self.bias.device), -torch.inf)

    def logprobs(self, features: Tensor) -> Tensor:
        """Give log p of every word (..., V), in nats, after features (..., E)."""
        return log_softmax(self.logits(features))

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give the surprisal (N,) of targets (N,) after features (N, E), in nats."""
        return functional.cross_entropy(self.logits(features), targets, reduction="none")

    def surprisals(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give `loss` without gradients; on a CPU by some words at a time, whose scores stay in the cache."""
        exact = torch.autocast(features.device.type, enabled=False)
        with torch.no_grad(), exact:
            features = features.to(self.weight.dtype)
            if features.device.type != "cpu":  # which would wait for a thousand small products
                return super().surprisals(features, targets)
            bias, rows = self.possible_bias(), torch.split(features, _ROWS)
            whole = torch.cat([_log_sum_exp(some, self.weight, bias) for some in rows])
            own = (features * self.weight[targets]).sum(-1) + bias[targets]
            return (whole - own).clamp_min(0.0)  # rounding makes no word more than certain

    def draw(self, features: Tensor, points: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Draw a word (B,) after each row of features (B, E), without the softmax: see `screening`."""
        from lmkit.nn.screening import Screen

        versions = tuple(0 if part.is_inference() else part._version for part in (self.weight, self.bias))
        if self._screen is None or self._screen[0] != versions:
            self._screen = (versions, Screen(self.weight, self.possible_bias()))
        return self._screen[1].draw(features, points, temperature=temperature)

    def prepare(self, unigram: Tensor) -> None:
        """Set the bias to the log unigram distribution (V,)."""
        with torch.no_grad():
            self.bias.copy_(unigram.clamp_min(1e-7).log())


def _log_sum_exp(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Give log sum over the words of exp(W h + b) (n,), after features (n, E)."""
    words = zip(torch.split(weight, _WORDS), torch.split(bias, _WORDS), strict=True)
    return torch.stack([torch.addmm(b, features, w.t()).logsumexp(-1) for w, b in words]).logsumexp(0)
