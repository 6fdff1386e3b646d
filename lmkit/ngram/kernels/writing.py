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
def write_words(node, order, cursor, word, first, names, offsets, out, n):
    """Write the words of the n-gram `node`, a space between two, and give the new length.

    Args:
        node, order: which n-gram; later ones of its order follow in later calls.
        cursor: (order,) int64, the node of each shorter context reached so far; moved on.
        word, first: columns of the trie.
        names, offsets: the words: word i is names[offsets[i] : offsets[i + 1] - 1].
        out, n: where to write.
    """
    cursor[order - 1] = node
    for k in range(order - 2, -1, -1):
        while at(first, cursor[k] + 1) <= cursor[k + 1]:
            cursor[k] += 1
    for k in range(order):
        if k:
            out[n] = 32
            n += 1
        w = at(word, cursor[k])
        for i in range(offsets[w], offsets[w + 1] - 1):
            out[n] = names[i]
            n += 1
    return n


@compiled
def write_arpa_lines(
    begin, end, order, cursor, word, log10_prob, log10_backoff, first, contexts, names, offsets, out
):
    """Write the nodes begin to end (exclusive) of one order as ARPA lines into `out`; give their bytes.

    The first `contexts` nodes have a backoff.
    """
    n = 0
    for node in range(begin, end):
        n = write_decimal(at(log10_prob, node), out, n)
        out[n] = 9
        n = write_words(node, order, cursor, word, first, names, offsets, out, n + 1)
        if node < contexts:
            out[n] = 9
            n = write_decimal(at(log10_backoff, node), out, n + 1)
        out[n] = 10
        n += 1
    return n


@compiled
def write_count_lines(begin, end, order, cursor, word, first, count, names, offsets, out):
    """Write the nodes begin to end (exclusive) of one order and their counts, if any, into `out`; give their bytes."""
    n = 0
    for node in range(begin, end):
        if count[node] == 0:
            continue
        n = write_words(node, order, cursor, word, first, names, offsets, out, n)
        out[n] = 9
        n = write_integer(np.int64(count[node]), 1, out, n + 1)
        out[n] = 10
        n += 1
    return n
