"""Loops over the sorted suffixes: distinct n-grams, their links, their adjusted counts."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled
from lmkit.text.vocabulary import BOS, EOS


@compiled
def compare_neighbours(stream, positions, order, shared, length, rows):
    """Compare each sorted suffix with the one before it.

    Args:
        stream: (S,) tokens.
        positions: (S,) positions sorted by their next `order` tokens.
        order: the longest n-gram.
        shared: (S,) uint8, receives how many leading tokens it has in common with the one before.
        length: (S,) uint8, receives how many tokens it has, to the line end and at most `order`.
        rows: (order + 1,) int64, receives how many distinct n-grams there are of each order.
    """
    for i in range(len(positions)):
        p = positions[i]
        q = positions[i - 1] if i else p
        same = 0
        matching = i > 0
        n = 0
        while n < order:
            token = stream[p + n]
            if matching:
                matching = token == stream[q + n]
                if matching:
                    same += 1
                    matching = token != EOS
            n += 1
            if token == EOS:
                break
        shared[i] = same
        length[i] = n
        for k in range(same + 1, n + 1):
            rows[k] += 1


@compiled
def collect_nodes(stream, positions, shared, length, order, level, word, count, place, children, node_at):
    """Number the distinct n-grams of every order in one scan of the sorted suffixes.

    Args:
        stream, positions, shared, length, order: as in `compare_neighbours`.
        level: (order + 1,) int64, the first node of each order (level[n - 1] for order n).
        word: (nodes,) int32, receives the last word of each n-gram.
        count: (nodes,) int32, receives how often it occurs.
        place: (nodes,) int32, receives one position where it occurs.
        children: (nodes of orders below the last,) int64, receives how many n-grams it is the context of.
        node_at: (order - 2, S) int32, receives at [n - 2, p] the node of the n-gram of order n at p, 1 < n < order.
    """
    current = np.zeros(order + 1, np.int64)
    following = level.copy()
    for i in range(len(positions)):
        p = positions[i]
        current[1] = stream[p]
        count[current[1]] += 1
        place[current[1]] = p
        for n in range(2, length[i] + 1):
            if n > shared[i]:
                node = following[n - 1]
                following[n - 1] += 1
                current[n] = node
                word[node] = stream[p + n - 1]
                place[node] = p
                children[current[n - 1]] += 1
            count[current[n]] += 1
            if n < order:
                node_at[n - 2, p] = current[n]


@compiled
def link_suffixes(stream, place, order, level, node_at, suffix):
    """Give each n-gram of two words and more the node of the n-gram without its first word."""
    for n in range(2, order + 1):
        for node in range(level[n - 1], level[n]):
            p = place[node] + 1
            suffix[node] = stream[p] if n == 2 else node_at[n - 3, p]


@compiled
def continuation_counts(stream, place, order, level, suffix, count, adjusted):
    """Give the adjusted counts: how many different words an n-gram follows, or how often it occurs.

    The latter for the highest order and for what begins with `<s>`, which nothing can precede.
    """
    for node in range(level[order - 1]):
        adjusted[node] = 0
    for node in range(level[order - 1], level[order]):
        adjusted[node] = count[node]
    for node in range(level[1], level[order]):
        adjusted[suffix[node]] += 1
    for node in range(level[order - 1]):
        if count[node] and stream[place[node]] == BOS:
            adjusted[node] = count[node]
    adjusted[BOS] = 0
