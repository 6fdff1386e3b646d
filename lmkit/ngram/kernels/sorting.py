"""Loops of the suffix sort: line starts, ranges of positions, digits of their keys, neighbours compared."""

from __future__ import annotations

import numpy as np

from lmkit.compiled import AHEAD, compiled, prefetch
from lmkit.text.vocabulary import BOS, EOS


@compiled
def add_line_starts(ids, stream, at_start):
    """Put `<s>` before every line of `ids`; give the length written, and whether the next token begins a line."""
    n = 0
    for token in ids:
        if at_start:
            stream[n] = BOS
            n += 1
        stream[n] = token
        n += 1
        at_start = token == EOS
    return n, at_start


@compiled
def count_tokens(tokens, counts):
    """Count each token (n,)."""
    for token in tokens:
        counts[token] += 1


@compiled
def place_by_range(stream, range_of, following, positions):
    """Put every position behind the others of the range that its token belongs to.

    Args:
        stream: tokens, of which the first S are placed.
        range_of: (V,) the range of each token.
        following: (ranges,) int64, where each range begins; moved to where it ends.
        positions: (S,) int32, receives the positions, range after range, each in the order of the text.
    """
    for p in range(len(positions)):
        r = range_of[stream[p]]
        positions[following[r]] = p
        following[r] += 1


@compiled
def pack_digits(stream, positions, shift, words, word_bits, base, digits):
    """Pack tokens shift to shift + words (exclusive) after each position into one number.

    A token is its id plus 1, the first of all its id minus `base`; what lies beyond `</s>` is 0.
    """
    for i in range(len(positions)):
        if i + AHEAD < len(positions):
            prefetch(stream, positions[i + AHEAD] + shift)
        p = positions[i]
        key = np.uint64(0)
        ended = False
        for j in range(shift + words):
            value = np.uint64(0)
            if not ended:
                token = stream[p + j]
                value = np.uint64(token + 1 if j else token - base)
                ended = token == EOS
            if j >= shift:
                key = (key << np.uint64(word_bits)) | value
        digits[i] = key


@compiled
def join_ranks(digits, ranks, rank_bits, keys):
    """Make sort keys: the digit of each rank's place, then the rank."""
    for i in range(len(ranks)):
        keys[i] = (digits[ranks[i]] << np.uint64(rank_bits)) | np.uint64(i)


@compiled
def follow_ranks(keys, rank_bits, ranks, out):
    """Give the places in the order of the sorted keys."""
    mask = (np.uint64(1) << np.uint64(rank_bits)) - np.uint64(1)
    for i in range(len(keys)):
        out[i] = ranks[np.int64(keys[i] & mask)]


@compiled
def compare_neighbours(digits, words, word_bits, ranks, shared, length):
    """Compare each sorted window with the one before it.

    Args:
        digits: (D, n) uint64, the packed tokens of each place, the first tokens first.
        words: (D,) int64, how many tokens each digit holds.
        word_bits: bits of a token.
        ranks: (n,) places sorted by their tokens.
        shared: (n,) uint8, receives how many leading tokens each has in common with the one before.
        length: (n,) uint8, receives how many tokens each has.
    """
    mask = (np.uint64(1) << np.uint64(word_bits)) - np.uint64(1)
    for i in range(len(ranks)):
        if i + AHEAD < len(ranks):
            for d in range(len(words)):
                prefetch(digits[d], ranks[i + AHEAD])
        here, before = ranks[i], ranks[i - 1] if i else ranks[i]
        n, same, matching, ended = 0, 0, i > 0, False
        for d in range(len(words)):
            a, b = digits[d, here], digits[d, before]
            for k in range(words[d] - 1, -1, -1):
                if n == 0:  # all bits above the others belong to the first token, which is never missing
                    x, y = a >> np.uint64(k * word_bits), b >> np.uint64(k * word_bits)
                else:
                    x, y = (a >> np.uint64(k * word_bits)) & mask, (b >> np.uint64(k * word_bits)) & mask
                    ended = x == np.uint64(0)
                if ended:
                    break
                n += 1
                matching = matching and x == y
                if matching:
                    same += 1
            if ended:
                break
        shared[i] = same
        length[i] = n


@compiled
def count_distinct(shared, length, rows):
    """Count how many distinct n-grams of each order (order + 1,) begin in some sorted windows."""
    for i in range(len(shared)):
        for n in range(shared[i] + 1, length[i] + 1):
            rows[n] += 1


@compiled
def write_distinct(stream, positions, shared, length, weight, windows, sums):
    """Write the distinct ones of some sorted windows as rows (R, order), filled up with `</s>`, and what each weighs.

    A window that has nothing but what it shares with the one before equals it.
    """
    n = -1
    for i in range(len(positions)):
        if i + AHEAD < len(positions):
            prefetch(stream, positions[i + AHEAD])
        if shared[i] < length[i]:
            n += 1
            sums[n] = 0
            for k in range(windows.shape[1]):
                windows[n, k] = stream[positions[i] + k] if k < length[i] else EOS
        sums[n] += weight[i]


@compiled
def count_first_tokens(windows, weight, counts, begun):
    """Count each token that windows (R, order) begin with: how often it was met, and how many windows begin with it."""
    for i in range(len(windows)):
        counts[windows[i, 0]] += weight[i]
        begun[windows[i, 0]] += 1
