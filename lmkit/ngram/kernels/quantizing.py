"""Loops that quantise a trie: histograms, codes, and the backoffs that make each context sum to one."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled
from lmkit.ngram.kernels.columns import at, span
from lmkit.ngram.kernels.lookup import find

DROPPED = 11  # bits of a float32 that make no difference: bins are 2^-12 of their value wide
BINS = 1 << (31 - DROPPED)
STRAY = 4.0  # how far a backoff may go from the true one, as a factor


@compiled
def bin_of(value):
    """Give the bin of a float32, its sign left out."""
    return (np.float32(value).view(np.uint32) & np.uint32(0x7FFFFFFF)) >> np.uint32(DROPPED)


@compiled
def histogram(values, counts, sums):
    """Count the values of each bin (BINS,), and add them up."""
    for value in values:
        k = bin_of(value)
        counts[k] += 1
        sums[k] += value


@compiled
def codes_of(begin, values, tables, level, out):
    """Give the codes of the numbers of the nodes from `begin` on, each order's by its table (BINS,)."""
    row = 0
    for i in range(len(values)):
        while row + 3 < len(level) and begin + i >= level[row + 2]:
            row += 1
        out[i] = tables[row, bin_of(values[i])]


@compiled
def sum_contexts(begin, end, columns, suffix, excess, below, share, rest, mass, next_suffix):
    """Find the backoff that makes each of the contexts `begin` to `end` (exclusive) of one order sum to one.

    With P the sum of p(w|h) over the children of h, Q that of p(w|h') over the same words (h' is h without its first
    word), and S(h') what all words sum to after h', those after h sum to P + b (S(h') - Q); so b = (1 - P) / (S - Q).
    It stays near the backoff that was: where the codes of the children say more than one, there is no such b.

    Args:
        begin, end: which of the contexts of this order, counted from its first.
        columns: the trie, with probabilities instead of their logarithms.
        suffix: the node of h' for each context of this order; empty for those of one word.
        excess: S(h') - 1 for each context of the order below.
        below: the first node of the order below, and of this one, and of the one above.
        share, rest, mass: receive b, S(h') - Q and P of each context.
        next_suffix: receives the suffixes of the children; empty if these are no contexts.
    """
    word, prob, log10_backoff, first = columns
    for h in range(begin, end):
        low, high = span(first, below[1] + h)
        place = last = np.int64(0)
        total = 1.0
        if len(suffix):
            node = np.int64(suffix[h])
            place, last = span(first, node)
            total += excess[node - below[0]]
        else:
            total += excess[0]
        p = q = 0.0
        for child in range(low, high):
            lower = at(word, child)
            if len(suffix):
                lower = find(word, place, last, lower)
                place = lower + 1  # the words of h ascend, and h' has them all
            p += np.float64(at(prob, child))
            q += np.float64(at(prob, lower))
            if len(next_suffix):
                next_suffix[child - below[2]] = lower
        was = 10.0 ** np.float64(at(log10_backoff, below[1] + h))
        wanted = (1.0 - p) / (total - q) if total > q else was
        share[h] = min(max(wanted, was / STRAY), was * STRAY)
        rest[h] = total - q
        mass[h] = p
