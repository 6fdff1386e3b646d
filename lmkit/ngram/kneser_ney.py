"""Interpolated modified Kneser-Ney: probabilities and backoffs from counts.

Chen & Goodman 1998, section 4.1.6, in the form of Heafield et al. 2013 ("Scalable Modified Kneser-Ney Language Model
Estimation"), whose estimator is the reference:

    p(w|h) = (a(hw) - D) / den(h) + gamma(h) p(w|h')        h' is h without its first word
    p(w)   = (a(w) - D) / den + gamma / V                   V counts <unk> and </s>, not <s>

The text ends a line with `</s>` even where its last `\\n` is missing, and the statistics behind the discounts use
adjusted counts throughout; in both the reference differs in a way that its users know as defects.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lmkit.ngram.continuations import CONTEXT_BYTES, Continuations, suffix_ranges
from lmkit.ngram.count_trie import CountTrie
from lmkit.ngram.discounts import discounts_by_order
from lmkit.ngram.kernels import estimation
from lmkit.ngram.trie import Trie
from lmkit.scratch import Scratch, release
from lmkit.text.vocabulary import BOS, UNK
from lmkit.threads import chunks, in_threads

FLOOR = -99.0  # log10 of nothing, as ARPA files write it


def estimate(
    counts: CountTrie,
    continued: Continuations,
    kept: np.ndarray,
    *,
    interpolate_unigrams: bool,
    fallback: tuple[float, ...],
    scratch: Scratch,
) -> Trie:
    """Give the model of some counts.

    Args:
        counts: The n-grams, also those that are to be removed: they count in every sum.
        continued: Their suffixes and adjusted counts.
        kept: (nodes,) bool, which n-grams stay.
        interpolate_unigrams: Whether unigrams are mixed with the uniform distribution; if not, what is set free
            goes to `<unk>`.
        fallback: See `discounts_by_order`.
        scratch: Where large arrays are.
    """
    level, first, suffix, adjusted = counts.level, counts.first, continued.suffix, continued.adjusted
    vocab_size = int(level[1])
    discounts = discounts_by_order(adjusted, level, fallback)
    probability = scratch.empty(int(level[-1]), np.float32)  # (nodes,)
    gamma = scratch.empty(int(level[-2]), np.float32)  # (contexts,)
    probability[:vocab_size] = _unigrams(
        adjusted[:vocab_size], kept[:vocab_size], discounts[0], interpolate_unigrams
    )
    all_kept = all(piece.all() for piece in scratch.pieces(kept))
    for n in range(2, counts.order + 1):  # each order needs the one below
        for low, high in suffix_ranges(counts, n, room=scratch.room):
            smooth = partial(
                _smooth, low=low, high=high, first=first, adjusted=adjusted, kept=kept, all_kept=all_kept,
                discount=discounts[n - 1], suffix=suffix, probability=probability, gamma=gamma,
            )  # fmt: skip
            contexts = chunks(int(level[n - 2]), int(level[n - 1]), scratch.at_a_time(CONTEXT_BYTES))
            in_threads(smooth, contexts)
            release(probability)
    probability[BOS] = 1.0  # never predicted; ARPA files give it probability one
    for values in (probability, gamma):
        some = chunks(0, len(values), scratch.at_a_time(64, most=1 << 17))
        in_threads(_to_log10, [values[begin:end] for begin, end in some])
    return Trie(level=level, word=counts.word, log10_prob=probability, log10_backoff=gamma, first=first)


def _smooth(contexts: tuple[int, int], **arrays: Any) -> None:
    estimation.smooth_contexts(*contexts, **arrays)
    some, extensions = slice(*contexts), slice(*arrays["first"][list(contexts)])
    release(*(arrays[name][some] for name in ("first", "suffix", "gamma")))
    release(*(arrays[name][extensions] for name in ("adjusted", "kept", "suffix", "probability")))


def _unigrams(adjusted: np.ndarray, kept: np.ndarray, discount: np.ndarray, interpolate: bool) -> np.ndarray:
    """Give p(w) of every word (V,) in float64."""
    total = adjusted.sum()
    taken = discount[np.minimum(adjusted, 3)]
    freed = np.where(kept, taken, adjusted).sum() / total
    probability = (adjusted - taken) / total
    if interpolate:
        return probability + freed / (kept.sum() - 1)
    probability[UNK] += freed
    return probability


def _to_log10(values: np.ndarray) -> None:
    """Replace numbers by their logarithms, at most 0 and at least `FLOOR`: in float64, numpy's vectorised log."""
    with np.errstate(divide="ignore"):
        values[:] = np.clip(np.log(values, dtype=np.float64) / np.log(10.0), FLOOR, 0.0)
    release(values)
