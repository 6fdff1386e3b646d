"""Rules about what may be written: words that are banned, that alone are allowed, that must come; no early line end.

Each takes log-probabilities (B, V), in nats, and gives log-probabilities (B, V) that sum to one. Where a rule would
leave nothing, it is not applied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmkit.generation.distributions import all_on, keep, normalize
from lmkit.text.vocabulary import EOS


def ban(logprobs: np.ndarray, past: np.ndarray, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Take all mass from the last token of each sequence where the tokens before it were just written.

    Args:
        logprobs: (B, V).
        past: (B, W) tokens, the newest last, -1 where there were none.
        sequences: Arrays (n,) of tokens; one of a single token is never written.

    >>> np.exp(ban(np.log([[0.5, 0.3, 0.2]] * 2), np.array([[1], [2]]), [np.array([1, 0])])).round(3).tolist()
    [[0.0, 0.6, 0.4], [0.5, 0.3, 0.2]]
    """
    kept = np.ones(logprobs.shape, bool)
    for tokens in sequences:
        before = tokens[:-1]
        if len(before) <= past.shape[1]:
            here = (past[:, past.shape[1] - len(before) :] == before).all(axis=1)
            kept[here, tokens[-1]] = False
    return keep(logprobs, kept)


def only(logprobs: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Leave mass to the tokens of a mask (V,) alone.

    >>> np.exp(only(np.log([[0.5, 0.3, 0.2]]), np.array([False, True, True]))).round(3).tolist()
    [[0.0, 0.6, 0.4]]
    """
    return keep(logprobs, allowed)


def force(logprobs: np.ndarray, missing: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Give the mass of the line end to a word that has still to come; all mass, where it is the last moment for it.

    Args:
        logprobs: (B, V).
        missing: (B,) the token that has to come next, -1 where none is missing.
        now: (B,) whether it is the last moment.

    >>> np.exp(force(np.log([[0.2, 0.1, 0.3, 0.4]]), np.array([3]), np.array([False]))).round(3).tolist()
    [[0.2, 0.1, 0.0, 0.7]]
    """
    forced = logprobs.astype(np.float64)
    rows = np.flatnonzero(missing >= 0)
    forced[rows, missing[rows]] = np.logaddexp(forced[rows, missing[rows]], forced[rows, EOS])
    forced[rows, EOS] = -np.inf
    last = np.flatnonzero((missing >= 0) & now)
    forced[last] = all_on(missing[last], forced.shape[1])
    return normalize(forced)


def min_tokens(logprobs: np.ndarray, written: np.ndarray, least: int) -> np.ndarray:
    """Take all mass from the line end where fewer tokens (B,) than `least` are written.

    >>> np.exp(min_tokens(np.log([[0.2, 0.1, 0.3, 0.4]]), np.array([2]), 3)).round(3).tolist()
    [[0.286, 0.143, 0.0, 0.571]]
    """
    kept = np.ones(logprobs.shape, bool)
    kept[written < least, EOS] = False
    return keep(logprobs, kept)
