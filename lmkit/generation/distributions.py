"""Distributions over the next token: arrays of log-probabilities (B, V), in nats, a position a row.

Every processor takes such an array and gives one that sums to one again; none changes its argument.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def normalize(logprobs: np.ndarray) -> np.ndarray:
    """Subtract log of the sum of exp, in float64: log-probabilities (B, V) sum to one.

    >>> np.exp(normalize(np.log([[0.2, 0.2]]))).round(3).tolist()
    [[0.5, 0.5]]
    """
    logprobs = logprobs.astype(np.float64)
    top = logprobs.max(axis=1, keepdims=True)
    return logprobs - top - np.log(np.exp(logprobs - top).sum(axis=1, keepdims=True))


def keep(logprobs: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Give the distribution (B, V) of the tokens kept, a mask (B, V) or (V,); a row that would be empty stays.

    >>> np.exp(keep(np.log([[0.5, 0.3, 0.2]]), np.array([True, False, True]))).round(3).tolist()
    [[0.714, 0.0, 0.286]]
    """
    left = np.where(kept, logprobs, -np.inf)
    empty = ~np.isfinite(left).any(axis=1)
    left[empty] = logprobs[empty]
    return normalize(left)


def without(logprobs: np.ndarray, tokens: Iterable[int]) -> np.ndarray:
    """Take all mass from some tokens, unless nothing would be left.

    >>> np.exp(without(np.log([[0.5, 0.3, 0.2]]), [0])).round(3).tolist()
    [[0.0, 0.6, 0.4]]
    """
    kept = np.ones(logprobs.shape[1], bool)
    kept[list(tokens)] = False
    return keep(logprobs, kept)


def all_on(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """Give the distributions (B, V) that are certain of one token (B,) each.

    >>> np.exp(all_on(np.array([2, 0]), 3)).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    certain = np.full((len(tokens), vocab_size), -np.inf)
    certain[np.arange(len(tokens)), tokens] = 0.0
    return certain


def entropy(logprobs: np.ndarray) -> np.ndarray:
    """Give the entropy (B,) of each row, in nats.

    >>> entropy(np.log([[0.5, 0.5]])).round(3).tolist()
    [0.693]
    """
    p = np.exp(logprobs)
    return -np.where(p > 0, p * np.where(p > 0, logprobs, 0.0), 0.0).sum(axis=1)
