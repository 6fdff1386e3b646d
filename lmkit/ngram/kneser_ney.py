"""Interpolated modified Kneser-Ney: probabilities and backoffs from counts.

Chen & Goodman 1998, section 4.1.6, in the form of Heafield et al. 2013 ("Scalable Modified Kneser-Ney Language Model
Estimation"), whose estimator is the reference:

    p(w|h) = (a(hw) - D) / den(h) + gamma(h) p(w|h')        h' is h without its first word
    p(w)   = (a(w) - D) / den + gamma / V                   V counts <unk> and </s>, not <s>

The text ends a line with `</s>` even where its last `\\n` is missing, and the statistics behind the discounts use
adjusted counts throughout; in both the reference differs in a way that its users know as defects.
"""

from __future__ import annotations

import numpy as np

from lmkit.ngram.counting import Counts
from lmkit.ngram.discounts import discounts_by_order
from lmkit.ngram.kernels import estimation
from lmkit.ngram.trie import Trie
from lmkit.text.vocabulary import BOS, UNK

FLOOR = -99.0  # log10 of nothing, as ARPA files write it


def estimate(
    counts: Counts, kept: np.ndarray, *, interpolate_unigrams: bool, fallback: tuple[float, ...]
) -> Trie:
    """Give the model of some counts.

    Args:
        counts: The n-grams, also those that are to be removed: they count in every sum.
        kept: (nodes,) bool, which n-grams stay.
        interpolate_unigrams: Whether unigrams are mixed with the uniform distribution; if not, what is set free
            goes to `<unk>`.
        fallback: See `discounts_by_order`.
    """
    level, first, adjusted = counts.level, counts.first, counts.adjusted
    nodes, contexts, vocab_size = int(level[-1]), int(level[-2]), int(level[1])
    probability = np.empty(nodes)
    every_d = discounts_by_order(adjusted, level, fallback)
    d = every_d[0]
    a, stays = adjusted[:vocab_size], kept[:vocab_size]
    freed = (np.where(stays, d[np.minimum(a, 3)], a)).sum() / a.sum()
    probability[:vocab_size] = (a - d[np.minimum(a, 3)]) / a.sum()
    if interpolate_unigrams:
        probability[:vocab_size] += freed / (stays.sum() - 1)
    else:
        probability[UNK] += freed
    total, gamma = np.empty(contexts), np.empty(contexts)
    for n in range(2, counts.order + 1):
        d = every_d[n - 1]
        begin, end = level[n - 2], level[n - 1]
        estimation.discount_contexts(begin, end, first, adjusted, kept, d, total, gamma)
        estimation.interpolate(begin, end, first, adjusted, d, total, gamma, counts.suffix, probability)
    probability[BOS] = 1.0  # never predicted; ARPA files give it probability one
    return Trie(
        level=level,
        word=counts.word,
        log10_prob=_log10(probability),
        log10_backoff=_log10(gamma),
        first=first,
    )


def _log10(values: np.ndarray) -> np.ndarray:
    """Take the logarithm where there is one, at most 0, in float32."""
    with np.errstate(divide="ignore"):
        return np.clip(np.log10(values), FLOOR, 0.0).astype(np.float32)
