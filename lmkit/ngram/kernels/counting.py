"""Loops over the sorted suffixes: distinct n-grams, their links, their adjusted counts."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled


@compiled
def collect_nodes(stream, positions, shared, length, order, following, word, count, place, children, node_at):
    """Number the distinct n-grams of two words and more in one scan of a range of the sorted suffixes.

    Args:
        stream: (S,) tokens.
        positions, shared, length: (n,) the range; see `SortedSuffixes`.
        order: the longest n-gram.
        following: (order + 1,) int64, the first node that each order has in this range; moved to the end.
        word: (nodes,) int32, receives the last word of each n-gram.
        count: (nodes,) int32, receives how often it occurs.
        place: (nodes,) int32, receives one position where it occurs.
        children: (nodes of orders below the last,) uint32, receives how many n-grams it is the context of.
        node_at: (order - 2, S) int32, receives at [n - 2, p] the node of the n-gram of order n at p, 1 < n < order.
    """
    current = np.zeros(order + 1, np.int64)
    for i in range(len(positions)):
        p = positions[i]
        current[1] = stream[p]
        for n in range(2, length[i] + 1):
            if n > shared[i]:
                node = following[n]
                following[n] += 1
                current[n] = node
                word[node] = stream[p + n - 1]
                place[node] = p
                count[node] = 0
                children[current[n - 1]] += 1
            count[current[n]] += 1
            if n < order:
                node_at[n - 2, p] = current[n]


@compiled
def link_suffixes(stream, place, n, node_at, begin, end, suffix):
    """Give the n-grams `begin` to `end` (exclusive) of order n the nodes of the n-grams without their first word."""
    for node in range(begin, end):
        p = place[node] + 1
        suffix[node] = stream[p] if n == 2 else node_at[n - 3, p]


@compiled
def count_continuations(suffix, begin, end, adjusted):
    """Count, for each n-gram that is a suffix of the nodes `begin` to `end` (exclusive), how many it is one of.

    Those are the different words that it follows.
    """
    for node in range(begin, end):
        adjusted[suffix[node]] += 1
