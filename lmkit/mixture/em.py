"""The weights under which a mixture finds a text most likely, by expectation-maximisation.

    share_k(t)  = lambda_k p_k(w_t) / sum_j lambda_j p_j(w_t)        how much of token t is owed to model k
    lambda_k   <- mean over t of share_k(t)

(Dempster, Laird and Rubin 1977; for language models Jelinek and Mercer 1980). The likelihood is concave in the
weights and never falls, so that the end does not depend on the beginning.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 10_000
_SETTLED = 1e-6  # no weight moves by more in a round


def best_weights(logprobs: np.ndarray, *, prior: np.ndarray | None = None) -> np.ndarray:
    """Give weights (K,) float64 that sum to one, for log p of each token of a text by each model (K, T), in nats.

    Minus infinity is allowed where another model has something finite.

    Args:
        logprobs: (K, T).
        prior: (K,) tokens that are owed to each model before any is read; none if not given.

    >>> import math
    >>> best_weights(np.log([[0.8, 0.8, 0.1], [0.1, 0.1, 0.8]])).round(3).tolist()
    [0.714, 0.286]
    >>> best_weights(np.array([[math.log(0.5), -math.inf], [math.log(0.5), -1.0]])).round(3).tolist()
    [0.0, 1.0]
    """
    largest = logprobs.max(axis=0)
    p = np.exp(logprobs.astype(np.float64) - largest)  # (K, T); what all share changes no share
    known = np.zeros(len(p)) if prior is None else prior
    total = logprobs.shape[1] + known.sum()
    weights: np.ndarray = np.full(len(p), 1 / len(p))
    for _ in range(_ROUNDS if total else 0):
        before = weights
        owed = weights[:, None] * p
        weights = ((owed / owed.sum(axis=0)).sum(axis=1) + known) / total
        if np.abs(weights - before).max() < _SETTLED:
            break
    return weights / weights.sum()
