"""Loops that draw a token from a trie without making the distribution over the whole vocabulary.

What extends a context extends its suffix, too. So the tokens fall into shells: those that extend the longest known
context, those that extend the next shorter one only, ..., and all others. Within a shell the probability is that of
the shell's order times the backoffs of the longer contexts. A draw walks through the shells, longest context first,
until it has gone past as much mass as its point says; a long context has few children, and a short one is reached
seldom. The last shell is the unigrams between the children of the shortest context, whose sums are known.
"""

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled, inlined
from lmkit.ngram.kernels.columns import at, span
from lmkit.ngram.kernels.lookup import LN10


@inlined
def between(sums, low, high, mass):
    """Give the first word of `low` to `high` (exclusive) at which their summed probabilities exceed a mass."""
    goal = sums[low] + mass
    while low < high - 1:
        middle = (low + high) >> 1
        if sums[middle] <= goal:
            low = middle
        else:
            high = middle
    return low


@compiled
def draw_batch(word, log10_prob, log10_backoff, first, sums, nodes, points, tokens, logprobs):
    """Draw a token (B,) after each state (B, order - 1), and give its natural log-probability (B,).

    Args:
        word: see `Trie`, as the next three.
        log10_prob: ...
        log10_backoff: ...
        first: ...
        sums: (V + 1,) float64; entry w is the probability of the unigrams before w, `<s>` having none.
        nodes: the states.
        points: (B,) float64 of [0, 1).
        tokens: written; -1 where the probabilities sum to less than the point, by rounding.
        logprobs: written.
    """
    vocab = len(sums) - 1
    for b in range(len(nodes)):
        left = points[b]
        backoff = 0.0  # log10 of the weight of the shells that follow
        low, high = 0, 0  # the children of the context before, which are passed over
        found = -1
        k = nodes.shape[1] - 1
        while k >= 0 and nodes[b, k] < 0:
            k -= 1
        while k >= 0:
            begin, end = span(first, nodes[b, k])
            skip = low
            for child in range(begin, end):
                token = at(word, child)
                while skip < high and at(word, skip) < token:
                    skip += 1
                if skip < high and at(word, skip) == token:
                    continue
                p = np.exp((at(log10_prob, child) + backoff) * LN10)
                if left < p:
                    found = child
                    break
                left -= p
            if found >= 0:
                break
            backoff += at(log10_backoff, nodes[b, k])
            low, high = begin, end
            k -= 1
        if found >= 0:
            tokens[b] = at(word, found)
            logprobs[b] = (np.float64(at(log10_prob, found)) + backoff) * LN10
            continue
        tokens[b] = -1
        weight = np.exp(backoff * LN10)
        if weight == 0.0:
            continue
        left /= weight
        gap_begin = 0
        for place in range(low, high + 1):
            end = at(word, place) if place < high else vocab
            gap = sums[end] - sums[gap_begin]
            if left < gap:
                token = between(sums, gap_begin, end, left)
                tokens[b] = token
                logprobs[b] = (np.float64(at(log10_prob, token)) + backoff) * LN10
                break
            left -= gap
            gap_begin = end + 1
