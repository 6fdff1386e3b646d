"""Loops over the sorted windows: distinct n-grams, what extends them, their links, their adjusted counts."""

from __future__ import annotations

import numpy as np

from lmkit.compiled import AHEAD, compiled, prefetch


@compiled
def collect_nodes(stream, positions, shared, length, weight, current, following, word, count, children):
    """Number the distinct n-grams of two words and more in one scan of sorted windows.

    Args:
        stream: tokens.
        positions, shared, length, weight: (n,) the windows; see `SortedWindows`.
        current: (order + 1,) int64, the node of each order reached so far; moved on.
        following: (order + 1,) int64, the next new node of each order; moved on.
        word: (nodes,) int32, receives the last word of each n-gram.
        count: (nodes,) int32, zeros; receives how often each occurs.
        children: (nodes of orders below the last,) uint32, zeros; receives how many n-grams it is the context of.
    """
    for i in range(len(positions)):
        if i + AHEAD < len(positions):
            prefetch(stream, positions[i + AHEAD])
        p = positions[i]
        current[1] = stream[p]
        for n in range(2, length[i] + 1):
            if n > shared[i]:
                node = following[n]
                following[n] += 1
                current[n] = node
                word[node] = stream[p + n - 1]
                children[current[n - 1]] += 1
            count[current[n]] += weight[i]


@compiled
def accumulate(values, total):
    """Replace numbers by the sum of all up to each, begun at `total`; give the last."""
    for i in range(len(values)):
        total += values[i]
        values[i] = total
    return total


@compiled
def link_suffixes(begin, end, low, high, word, first, suffix):
    """Give what extends the contexts `begin` to `end` (exclusive) the nodes of the n-grams without their first word.

    Both a context and its suffix are extended by ascending words, and the suffix by all that extend the context: so
    each is looked for behind the one before, in steps that double. Only contexts whose suffix is one of the nodes
    `low` to `high` (exclusive) are looked at. An n-gram whose suffix is missing gets -1; gives the last one, or -1.
    """
    missing = np.int64(-1)
    for context in range(begin, end):
        if context + 2 * AHEAD < end:
            prefetch(first, suffix[context + 2 * AHEAD])
            if low <= suffix[context + AHEAD] < high:
                prefetch(word, first[suffix[context + AHEAD]])
        shorter = np.int64(suffix[context])
        if shorter < low or shorter >= high:
            continue
        here = np.int64(first[shorter])
        last = np.int64(first[shorter + 1]) - 1
        for node in range(first[context], first[context + 1]):
            token = word[node]
            step = np.int64(1)
            there = here
            while there < last and word[there] < token:
                here = there + 1
                there = min(there + step, last)
                step *= 2
            while here < there:
                middle = (here + there) >> 1
                if word[middle] < token:
                    here = middle + 1
                else:
                    there = middle
            if here > last or word[here] != token:
                suffix[node] = -1
                missing = np.int64(node)
                continue
            suffix[node] = here
            here += 1
    return missing


@compiled
def count_continuations(suffix, begin, end, low, high, adjusted):
    """Count, for each n-gram that is a suffix of the nodes `begin` to `end` (exclusive), how many it is one of.

    Those are the different words that it follows. Only suffixes `low` to `high` (exclusive) are counted.
    """
    for node in range(begin, end):
        if node + AHEAD < end:
            prefetch(adjusted, suffix[node + AHEAD])
        shorter = suffix[node]
        if low <= shorter < high:
            adjusted[shorter] += 1
