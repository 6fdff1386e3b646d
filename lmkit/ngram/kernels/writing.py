"""Loops that write numbers and n-grams as text."""

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled
from lmkit.ngram.kernels.columns import at


@compiled
def write_decimal(value, out, n):
    """Write a float32 below 100 in the fewest decimal places that read back as the same number; give the new length.

    Sixteen places are the most, so that a number below 1e-8 is written to within 1e-16.
    """
    magnitude = np.abs(np.float64(value))
    if not magnitude < 1e6:  # no logarithm is; in a damaged file, it must not go on for ever
        magnitude = 99.0
    scale = 1.0
    digits = 0
    scaled = np.int64(magnitude + 0.5)
    while np.float32(np.float64(scaled) / scale) != np.float32(magnitude) and digits < 16:
        scale *= 10.0
        digits += 1
        scaled = np.int64(magnitude * scale + 0.5)
    if value < 0 and scaled > 0:
        out[n] = 45  # -
        n += 1
    whole = scaled // np.int64(scale)
    part = scaled - whole * np.int64(scale)
    n = write_integer(whole, 1, out, n)
    if digits:
        out[n] = 46  # .
        n = write_integer(part, digits, out, n + 1)
    return n


@compiled
def write_integer(value, width, out, n):
    """Write a whole number in at least `width` digits; give the new length."""
    digits = 1
    rest = value // 10
    while rest:
        digits += 1
        rest //= 10
    digits = max(digits, width)
    for k in range(digits - 1, -1, -1):
        out[n + k] = 48 + value % 10
        value //= 10
    return n + digits


@compiled
def find_contexts(node, level, first, contexts):
    """Give the contexts of all lengths of an n-gram: its first 1, 2, ... words, and itself.

    Args:
        node: an n-gram of order n.
        level: (order + 1,) where each order begins.
        first: column of the trie.
        contexts: (n,) int64, receives their nodes.
    """
    contexts[-1] = node
    for k in range(len(contexts) - 2, -1, -1):
        low, high = level[k], level[k + 1] - 1
        while low < high:  # the last node whose extensions do not begin behind
            middle = (low + high + 1) >> 1
            if at(first, middle) <= contexts[k + 1]:
                low = middle
            else:
                high = middle - 1
        contexts[k] = low


@compiled
def write_words(node, contexts, word, first, names, offsets, out, n):
    """Write the words of an n-gram, a space between two, and give the new length.

    Args:
        node: which n-gram; later ones of its order follow in later calls.
        contexts: (order,) int64, see `find_contexts`; of an n-gram before this one, moved on.
        word, first: columns of the trie.
        names, offsets: the words: word i is names[offsets[i] : offsets[i + 1] - 1].
        out, n: where to write.
    """
    contexts[-1] = node
    for k in range(len(contexts) - 2, -1, -1):
        while at(first, contexts[k] + 1) <= contexts[k + 1]:
            contexts[k] += 1
    for k in range(len(contexts)):
        if k:
            out[n] = 32
            n += 1
        w = at(word, contexts[k])
        for i in range(offsets[w], offsets[w + 1] - 1):
            out[n] = names[i]
            n += 1
    return n


@compiled
def write_arpa_lines(begin, end, order, level, word, log10_prob, log10_backoff, first, names, offsets, out):
    """Write the nodes begin to end (exclusive) of one order as ARPA lines into `out`; give their bytes."""
    contexts = np.empty(order, np.int64)
    find_contexts(begin, level, first, contexts)
    n = 0
    for node in range(begin, end):
        n = write_decimal(at(log10_prob, node), out, n)
        out[n] = 9
        n = write_words(node, contexts, word, first, names, offsets, out, n + 1)
        if node < level[-2]:
            out[n] = 9
            n = write_decimal(at(log10_backoff, node), out, n + 1)
        out[n] = 10
        n += 1
    return n


@compiled
def write_count_lines(begin, end, order, level, word, first, count, names, offsets, out):
    """Write the nodes begin to end (exclusive) of one order and their counts, if any, into `out`; give their bytes."""
    contexts = np.empty(order, np.int64)
    find_contexts(begin, level, first, contexts)
    n = 0
    for node in range(begin, end):
        if count[node] == 0:
            continue
        n = write_words(node, contexts, word, first, names, offsets, out, n)
        out[n] = 9
        n = write_integer(np.int64(count[node]), 1, out, n + 1)
        out[n] = 10
        n += 1
    return n
