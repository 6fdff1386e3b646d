"""Loops over contexts and what extends them: sums, backoffs, probabilities."""

from __future__ import annotations

import numpy as np

from lmkit.compiled import AHEAD, compiled, prefetch


@compiled
def drop_orphans(begin, end, first, kept):
    """Unmark the n-grams whose context is not kept."""
    for context in range(begin, end):
        if not kept[context]:
            for node in range(first[context], first[context + 1]):
                kept[node] = False


@compiled
def smooth_contexts(
    begin, end, low, high, first, adjusted, kept, all_kept, discount, suffix, probability, gamma
):
    """Give every n-gram that extends the contexts `begin` to `end` (exclusive) its interpolated probability.

    Only contexts whose suffix is one of the nodes `low` to `high` (exclusive) are looked at.

    den(h) = sum of a(hw)        gamma(h) = [sum of D over kept n-grams + sum of a over removed ones] / den(h)
    p(w|h) = (a(hw) - D) / den(h) + gamma(h) p(w|h')
    """
    for context in range(begin, end):
        if not low <= suffix[context] < high:
            continue
        child, after = np.int64(first[context]), np.int64(first[context + 1])
        if child == after:
            gamma[context] = 1.0
            continue
        total = 0.0
        freed = 0.0
        for node in range(child, after):
            a = adjusted[node]
            total += a
            if node + AHEAD < len(suffix):
                prefetch(probability, suffix[node + AHEAD])
            freed += discount[min(a, 3)] if all_kept or kept[node] else a
        weight = freed / total
        gamma[context] = weight
        for node in range(child, after):
            a = adjusted[node]
            probability[node] = (a - discount[min(a, 3)]) / total + weight * probability[suffix[node]]
