"""Softmax: from scores over a vocabulary to probabilities that sum to one.

    softmax(o)_j = exp(o_j) / sum_k exp(o_k)

Written so, exp overflows in float32 from o = 89 on. Subtracting the largest score m changes no probability
and leaves no exponent above zero; the logarithm is then taken without ever dividing:

    log softmax(o)_j = o_j - m - log sum_k exp(o_k - m)

torch computes exactly this, in one fused pass over each row. A temperature divides the scores: below one
sharpens towards the largest, above one flattens towards uniform (Hinton, Vinyals and Dean 2015, section 2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lmkit.errors import UsageError


def softmax(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Turn scores (..., V) into probabilities (..., V) along the last axis.

    A score of -inf is a probability of exactly 0; a row of nothing else has no distribution and gives NaN.

    >>> softmax(torch.tensor([1000.0, 1000.0, -torch.inf]))
    tensor([0.5000, 0.5000, 0.0000])
    >>> softmax(torch.tensor([0.0, 1.0]), temperature=0.001)
    tensor([0., 1.])
    """
    return torch.softmax(_tempered(logits, temperature), dim=-1)


def log_softmax(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Turn scores (..., V) into log-probabilities (..., V), in nats, along the last axis.

    More exact than log(softmax(...)), which is -inf wherever a probability is too small for a float.

    >>> log_softmax(torch.tensor([0.0, 1000.0]))
    tensor([-1000.,     0.])
    """
    return torch.log_softmax(_tempered(logits, temperature), dim=-1)


def confidence(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Give the predicted class (...), the first of the likeliest, and its probability, of scores (..., V).

    Of a model that knows itself the mean confidence is the share of predictions that are right (Guo et al. 2017).

    >>> confidence(torch.tensor([[0.0, 0.0, -torch.inf], [0.0, 9.0, 0.0]]))
    (tensor([0, 1]), tensor([0.5000, 0.9998]))
    """
    highest, predicted = softmax(logits).max(dim=-1)
    return predicted, highest


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    """(logits - max) / temperature: the maximum goes first, so that a small temperature cannot overflow."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"temperature is {temperature}; it must be a positive number (1 changes nothing)")
    if temperature == 1:
        return logits
    largest = logits.detach().amax(dim=-1, keepdim=True)  # (..., 1)
    return (logits - largest) / max(temperature, torch.finfo(logits.dtype).tiny)
