"""Temperature, and the rules that cut off what is unlikely before a token is drawn.

Each is a function of log-probabilities (B, V), in nats, and a number; each gives log-probabilities (B, V) that sum to
one. The likeliest token always stays. One thing is common to the rules that keep a set of a given mass: it is the
smallest one in some order of the tokens, those of equal rank in the order of their numbers.
"""

from __future__ import annotations

import math

import numpy as np

from lmkit.errors import UsageError
from lmkit.generation.distributions import all_on, entropy, keep, normalize
from lmkit.nn.inversion import tempered

_FEW = (256, 2048, 16384)  # tokens that may hold the mass asked for: so many are tried, then all


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
        return all_on(logprobs.argmax(axis=1), logprobs.shape[1])
    return normalize(tempered(logprobs, value))


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
    return keep(logprobs, logprobs >= threshold)


def top_p(logprobs: np.ndarray, p: float) -> np.ndarray:
    """Keep the smallest set of likeliest tokens whose mass is at least p (Holtzman et al. 2020); 1 keeps all.

    Raises:
        UsageError: p is not above 0 and at most 1.

    >>> np.exp(top_p(np.log([[0.5, 0.3, 0.2]]), 0.6)).round(3).tolist()
    [[0.625, 0.375, 0.0]]
    """
    _check_share("top_p", p)
    return normalize(logprobs) if p == 1 else keep(logprobs, _smallest_set(-logprobs, np.exp(logprobs), p))


def typical(logprobs: np.ndarray, p: float) -> np.ndarray:
    """Keep the smallest set of mass p whose surprisals are nearest to the entropy (Meister et al. 2023); 1 keeps all.

    Raises:
        UsageError: p is not above 0 and at most 1.

    >>> np.exp(typical(np.log([[0.6, 0.3, 0.1]]), 0.25)).round(3).tolist()
    [[0.0, 1.0, 0.0]]
    """
    _check_share("typical_p", p)
    if p == 1:
        return normalize(logprobs)
    logprobs = normalize(logprobs)
    atypical = np.abs(-logprobs - entropy(logprobs)[:, None])  # (B, V)
    return keep(logprobs, _smallest_set(atypical, np.exp(logprobs), p))


def min_p(logprobs: np.ndarray, p: float) -> np.ndarray:
    """Keep the tokens at least p times as likely as the likeliest (Nguyen et al. 2024); 0 keeps all.

    Raises:
        UsageError: p is not from 0 to 1.

    >>> np.exp(min_p(np.log([[0.5, 0.3, 0.2]]), 0.5)).round(3).tolist()
    [[0.625, 0.375, 0.0]]
    """
    if not 0 <= p <= 1:
        raise UsageError(f"min_p {p} is out of range; give a number from 0 to 1 (0 keeps all)")
    return keep(logprobs, np.exp(logprobs - logprobs.max(axis=1, keepdims=True)) >= p)


def epsilon_cutoff(logprobs: np.ndarray, epsilon: float) -> np.ndarray:
    """Keep the tokens of probability epsilon or more, and the likeliest (Hewitt et al. 2022, section 3.1).

    Raises:
        UsageError: epsilon is not from 0 to 1.

    >>> np.exp(epsilon_cutoff(np.log([[0.5, 0.3, 0.2]]), 0.25)).round(3).tolist()
    [[0.625, 0.375, 0.0]]
    """
    if not 0 <= epsilon <= 1:
        raise UsageError(f"epsilon_cutoff {epsilon} is out of range; give a number from 0 to 1 (0 keeps all)")
    return keep(logprobs, _likely(normalize(logprobs), np.full((len(logprobs), 1), epsilon)))


def eta_cutoff(logprobs: np.ndarray, eta: float) -> np.ndarray:
    """Keep the tokens of probability min(eta, sqrt(eta) exp(-H)) or more, and the likeliest (Hewitt et al. 2022).

    H is the entropy: where the next token is uncertain, less likely ones are kept.

    Raises:
        UsageError: eta is not from 0 to 1.

    >>> np.exp(eta_cutoff(np.log([[0.5, 0.3, 0.2]]), 0.25)).round(3).tolist()
    [[0.5, 0.3, 0.2]]
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"eta_cutoff {eta} is out of range; give a number from 0 to 1 (0 keeps all)")
    logprobs = normalize(logprobs)
    least = np.minimum(eta, math.sqrt(eta) * np.exp(-entropy(logprobs)))[:, None]  # (B, 1)
    return keep(logprobs, _likely(logprobs, least))


def _likely(logprobs: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Mark the tokens (B, V) of at least a probability (B, 1), and the likeliest ones."""
    return (np.exp(logprobs) >= least) | (logprobs == logprobs.max(axis=1, keepdims=True))


def _check_share(name: str, p: float) -> None:
    if not 0 < p <= 1:
        raise UsageError(f"{name} {p} is out of range; give a number above 0 and at most 1 (1 keeps all)")


def _smallest_set(rank: np.ndarray, mass: np.ndarray, p: float) -> np.ndarray:
    """Mark the smallest set (B, V) of least rank whose mass is at least p, in the order of rank, then of numbers.

    Only a few tokens are sorted where those are enough.
    """
    kept = np.zeros(rank.shape, bool)
    for row in range(len(rank)):
        some = np.arange(rank.shape[1])
        for few in _FEW:
            if few < len(some):
                below = np.flatnonzero(rank[row] < np.partition(rank[row], few)[few])
                if mass[row, below].sum(dtype=np.float64) > p:
                    some = below
                    break
        some = some[np.argsort(rank[row, some], kind="stable")]
        ordered = mass[row, some].astype(np.float64)
        kept[row, some[np.cumsum(ordered) - ordered < p]] = True
    return kept
