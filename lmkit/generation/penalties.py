"""Rules against repetition: what a text has said already becomes less likely, or impossible.

Each is a function of log-probabilities (B, V), in nats, and of the tokens that were there (B, W), the newest last, -1
where there were none; each gives log-probabilities (B, V) that sum to one.
"""

from __future__ import annotations

import math

import numpy as np

from lmkit.errors import UsageError
from lmkit.generation.distributions import keep, normalize

_LARGEST = 1e300  # nats


def repetition_penalty(logprobs: np.ndarray, past: np.ndarray, penalty: float) -> np.ndarray:
    """Make p proportional to p^penalty for every token that was there; 1 changes nothing, below 1 favours it.

    Keskar et al. 2019 (CTRL, section 4.1) divide a score by the penalty, which lowers it only where it is positive.
    Log-probabilities never are, so that they are multiplied: the penalty is a power of the probability.

    Raises:
        UsageError: the penalty is negative or not finite.

    >>> np.exp(repetition_penalty(np.log([[0.5, 0.5]]), np.array([[0]]), 2.0)).round(3).tolist()
    [[0.333, 0.667]]
    """
    if not (math.isfinite(penalty) and penalty >= 0):
        raise UsageError(
            f"repetition_penalty {penalty} is out of range; give a number of at least 0 (1 is off)"
        )
    there = (_counts(past, logprobs.shape[1]) > 0) & np.isfinite(logprobs)
    powers = _times(np.where(there, logprobs, 0.0).astype(np.float64), penalty)
    return normalize(np.where(there, powers, logprobs))


def frequency_penalty(logprobs: np.ndarray, past: np.ndarray, nats: float) -> np.ndarray:
    """Subtract so many nats for each time that a token was there; a negative number favours it.

    Raises:
        UsageError: the number is not finite.

    >>> np.exp(frequency_penalty(np.log([[0.5, 0.5]]), np.array([[0, 0]]), np.log(2) / 2)).round(3).tolist()
    [[0.333, 0.667]]
    """
    _check_finite("frequency_penalty", nats)
    return normalize(logprobs - _times(_counts(past, logprobs.shape[1]), nats))


def presence_penalty(logprobs: np.ndarray, past: np.ndarray, nats: float) -> np.ndarray:
    """Subtract so many nats where a token was there at all; a negative number favours it.

    Raises:
        UsageError: the number is not finite.

    >>> np.exp(presence_penalty(np.log([[0.5, 0.5]]), np.array([[0, 0]]), np.log(2))).round(3).tolist()
    [[0.333, 0.667]]
    """
    _check_finite("presence_penalty", nats)
    return normalize(logprobs - _times(_counts(past, logprobs.shape[1]) > 0, nats))


def no_repeat_ngram(logprobs: np.ndarray, past: np.ndarray, n: int) -> np.ndarray:
    """Take all mass from tokens that would complete an n-gram that was there, unless nothing would be left; 0 is off.

    Paulus et al. 2018, section 2.5 (for n = 3).

    Raises:
        UsageError: n is negative.

    >>> np.exp(no_repeat_ngram(np.log([[0.2, 0.3, 0.5]]), np.array([[0, 1, 0]]), 2)).round(3).tolist()
    [[0.286, 0.0, 0.714]]
    """
    if n < 0:
        raise UsageError(f"no_repeat_ngram {n} is out of range; give a whole number of at least 0 (0 is off)")
    if n == 0 or past.shape[1] < n:
        return normalize(logprobs)
    windows = np.lib.stride_tricks.sliding_window_view(past, n, axis=1)  # (B, W - n + 1, n)
    begun = past[:, past.shape[1] - n + 1 :]  # (B, n - 1)
    again = (windows[:, :, :-1] == begun[:, None]).all(axis=2) & (windows >= 0).all(axis=2)
    rows, places = np.nonzero(again)
    kept = np.ones(logprobs.shape, bool)
    kept[rows, windows[rows, places, -1]] = False
    return keep(logprobs, kept)


def _times(numbers: np.ndarray, factor: float) -> np.ndarray:
    """Multiply, no further than numbers go from which others can still be subtracted."""
    with np.errstate(over="ignore"):
        return np.clip(numbers * np.float64(factor), -_LARGEST, _LARGEST)


def _check_finite(name: str, nats: float) -> None:
    if not math.isfinite(nats):
        raise UsageError(f"{name} {nats} is out of range; give a finite number of nats (0 is off)")


def _counts(past: np.ndarray, vocab_size: int) -> np.ndarray:
    """Count how often each token was there (B, V)."""
    counts = np.zeros((len(past), vocab_size + 1), np.int32)  # the last column is for -1
    np.add.at(counts, (np.arange(len(past))[:, None], past), 1)
    return counts[:, :-1]
