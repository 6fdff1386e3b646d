"""Choosing the next token: temperature, top-k, top-p, and the draw itself.

Each step maps log-probabilities (B, V) to log-probabilities (B, V) that sum to one again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lmkit.errors import UsageError


def normalize(logprobs: np.ndarray) -> np.ndarray:
    """Subtract log of the sum of exp, in float64: log-probabilities (B, V) sum to one."""
    logprobs = logprobs.astype(np.float64)
    top = logprobs.max(axis=1, keepdims=True)
    return logprobs - top - np.log(np.exp(logprobs - top).sum(axis=1, keepdims=True))


def temperature(logprobs: np.ndarray, value: float) -> np.ndarray:
    """Make p proportional to p^(1/T): below 1 sharper, above 1 flatter, 0 all on the likeliest (the first of equals).

    Raises:
        UsageError: T is negative or not finite.

    >>> np.exp(temperature(np.log([[0.8, 0.2]]), 0.5)).round(3).tolist()
    [[0.941, 0.059]]
    """
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"temperature {value} is out of range; give a number of at least 0 (0 is greedy)")
    if value == 0:
        greedy = np.full_like(logprobs, -np.inf, dtype=np.float64)
        greedy[np.arange(len(logprobs)), logprobs.argmax(axis=1)] = 0.0
        return greedy
    centred = logprobs.astype(np.float64) - logprobs.max(axis=1, keepdims=True)
    return normalize(centred / value)


def top_k(logprobs: np.ndarray, k: int) -> np.ndarray:
    """Keep the k likeliest tokens, and those as likely as the last of them; 0 keeps all.

    Raises:
        UsageError: k is negative.

    >>> np.exp(top_k(np.log([[0.5, 0.3, 0.2]]), 2)).round(3).tolist()
    [[0.625, 0.375, 0.0]]
    """
    if k < 0:
        raise UsageError(f"top_k {k} is out of range; give a whole number of at least 0 (0 keeps all)")
    if k == 0 or k >= logprobs.shape[1]:
        return normalize(logprobs)
    threshold = np.partition(logprobs, -k, axis=1)[:, -k, None]
    return normalize(np.where(logprobs >= threshold, logprobs, -np.inf))


def top_p(logprobs: np.ndarray, p: float) -> np.ndarray:
    """Keep the smallest set of likeliest tokens whose mass is at least p (Holtzman et al. 2020); 1 keeps all.

    Raises:
        UsageError: p is not above 0 and at most 1.

    >>> np.exp(top_p(np.log([[0.5, 0.3, 0.2]]), 0.6)).round(3).tolist()
    [[0.625, 0.375, 0.0]]
    """
    if not 0 < p <= 1:
        raise UsageError(f"top_p {p} is out of range; give a number above 0 and at most 1 (1 keeps all)")
    if p == 1:
        return normalize(logprobs)
    order = np.argsort(-logprobs, axis=1, kind="stable")
    mass = np.exp(np.take_along_axis(logprobs, order, axis=1).astype(np.float64))
    before = np.cumsum(mass, axis=1) - mass
    kept = np.empty(logprobs.shape, bool)
    np.put_along_axis(kept, order, before < p, axis=1)
    return normalize(np.where(kept, logprobs, -np.inf))


def ban(logprobs: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    """Take all mass from some tokens, unless nothing would be left."""
    banned = logprobs.copy()
    banned[:, list(tokens)] = -np.inf
    nothing_left = ~np.isfinite(banned).any(axis=1)
    banned[nothing_left] = logprobs[nothing_left]
    return normalize(banned)


def draw(logprobs: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
    """Draw one token (B,) from each row, each from a generator of its own, by inverting the distribution.

    A token of probability zero is never drawn.
    """
    cumulative = np.cumsum(np.exp(logprobs.astype(np.float64)), axis=1)
    points = np.array([generator.random() for generator in generators]) * cumulative[:, -1]
    return (cumulative <= points[:, None]).sum(axis=1)
