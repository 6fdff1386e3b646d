"""Compact columns: whole numbers of a few bits, codes of a codebook, ascending numbers in unary.

`first` is a sequence of zeros and ones, as in Jacobson (1989), "Space-efficient static trees and graphs": a one for
each context, after a zero for each child of the contexts before. Where the g-th one stands, g taken off, is how many
children come before context g. To find it, the ones before every 512 bits are counted, and the block of every 64th one
is kept. That takes a few steps, unless many contexts near each other have hundreds of children; those of one or two
words do, and so these keep plain numbers.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, arg-type, unreachable"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from lmkit.compiled import compiled, inlined, lowest, ones, prefetch
from lmkit.ngram.kernels.columns import at, fetch, span

WORDS = 8  # of 64 bits in a block
BLOCK = 64 * WORDS
HINT = 64  # ones from a hint to the next


class Packed(NamedTuple):
    """Whole numbers of `width` bits each, side by side, the first lowest; one word more than they need."""

    bits: np.ndarray  # (words + 1,) uint64
    width: int


class Coded(NamedTuple):
    """Numbers of which only the first are kept; behind them codes, each order's into a codebook of its own."""

    exact: np.ndarray  # (V,) float32
    bits: np.ndarray  # uint64, as in Packed
    width: int
    codebook: np.ndarray  # (orders, 2^width) float32
    level: np.ndarray  # (order + 1,) int64


class Unary(NamedTuple):
    """Ascending numbers, of which the first are kept as they are: short contexts have many children."""

    exact: np.ndarray  # (n + 1,) uint32, the last of which the others count from
    bits: np.ndarray  # (blocks * WORDS,) uint64
    ranks: np.ndarray  # (blocks,) uint32, the ones before each block
    hints: np.ndarray  # (n / HINT + 2,) uint32, the block of every 64th one, and the last


@inlined
def unpack(bits, width, place):
    """Give the number at a place of packed ones."""
    bit = np.uint64(place) * np.uint64(width)
    word, shift = bit >> np.uint64(6), bit & np.uint64(63)
    high = (bits[word + np.uint64(1)] << np.uint64(1)) << (np.uint64(63) - shift)
    return np.int64(((bits[word] >> shift) | high) & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)))


@compiled
def pack(bits, width, begin, values):
    """Write numbers from place `begin` on, a multiple of 64: so threads that pack pieces meet in no word."""
    word = begin // 64 * width
    filled = np.uint64(0)
    room = np.uint64(0)
    for value in values:
        filled |= np.uint64(value) << room
        room += np.uint64(width)
        if room >= np.uint64(64):
            bits[word] = filled
            word += 1
            room -= np.uint64(64)
            filled = np.uint64(value) >> (np.uint64(width) - room) if room else np.uint64(0)
    if room:
        bits[word] = filled


@compiled
def mark(bits, first):
    """Set the bit of each of some ascending numbers (n,)."""
    for g in range(len(first)):
        place = np.uint64(np.int64(first[g]) - np.int64(first[0]) + g)
        bits[place >> np.uint64(6)] |= np.uint64(1) << (place & np.uint64(63))


@compiled
def count_ones(bits, ranks, hints):
    """Fill in how many ones stand before each block, and where every 64th is; give their number."""
    before = known = 0
    for block in range(len(ranks)):
        ranks[block] = before
        for word in bits[block * WORDS : (block + 1) * WORDS]:
            before += int(ones(word))
        while known < len(hints) and known * HINT < before:
            hints[known] = block
            known += 1
    hints[known:] = len(ranks) - 1
    return before


@inlined
def select(bits, ranks, hints, g):
    """Give the place of one number g."""
    low, high = np.int64(hints[np.uint64(g // HINT)]), np.int64(hints[np.uint64(g // HINT + 1)])
    while low < high:
        middle = (low + high + 1) >> 1
        if ranks[np.uint64(middle)] <= g:
            low = middle
        else:
            high = middle - 1
    rest = np.uint64(g - np.int64(ranks[np.uint64(low)]))
    word = np.uint64(low * WORDS)
    # From here on without branches, which the processor would guess wrong more often than right.
    passed = sum_so_far = skipped = np.uint64(0)
    for k in range(WORDS - 1):
        sum_so_far += np.uint64(ones(bits[word + np.uint64(k)]))
        behind = sum_so_far <= rest
        skipped += np.uint64(behind)
        passed = sum_so_far if behind else passed
    word += skipped
    rest -= passed
    x = bits[word]
    place = word << np.uint64(6)
    for half in (32, 16, 8, 4, 2, 1):
        width = np.uint64(half)
        count = np.uint64(ones(x & ((np.uint64(1) << width) - np.uint64(1))))
        behind = rest >= count
        rest -= count if behind else np.uint64(0)
        x = x >> width if behind else x
        place += width if behind else np.uint64(0)
    return np.int64(place)


@inlined
def following(bits, ranks, hints, g, place):
    """Give the place of one number g, that of the one before being known: most often in the same block."""
    word = place >> 6
    x = bits[np.uint64(word)] >> np.uint64(place & 63) >> np.uint64(1)
    if x:
        return place + 1 + np.int64(lowest(x))
    end = (word | (WORDS - 1)) + 1
    word += 1
    while word < end and bits[np.uint64(word)] == 0:
        word += 1
    return (
        word * 64 + np.int64(lowest(bits[np.uint64(word)])) if word < end else select(bits, ranks, hints, g)
    )


@inlined
def code_word(exact, width, place):
    """Give where the code of a place is, or near it."""
    return (max(place - len(exact), 0) * width) >> 6


@inlined
def decode(exact, bits, width, codebook, level, place):
    """Give the number at a place of coded ones."""
    if place < len(exact):
        return exact[np.uint64(place)]
    row = 0
    for k in range(2, len(level) - 1):
        row += place >= level[k]
    return codebook[np.uint64(row), np.uint64(unpack(bits, width, place - len(exact)))]


@inlined
def ascending(exact, bits, ranks, hints, place):
    """Give the number at a place of ascending ones."""
    g = place - (len(exact) - 1)
    if g <= 0:
        return np.int64(exact[np.uint64(place)])
    return np.int64(exact[np.uint64(len(exact) - 1)]) + select(bits, ranks, hints, g) - g


@inlined
def ascending_pair(exact, bits, ranks, hints, place):
    """Give the numbers at a place and at the one after it."""
    g = place - (len(exact) - 1)
    if g < 0:
        return np.int64(exact[np.uint64(place)]), np.int64(exact[np.uint64(place + 1)])
    low = select(bits, ranks, hints, g)
    base = np.int64(exact[np.uint64(len(exact) - 1)]) - g
    return base + low, base + following(bits, ranks, hints, g + 1, low) - 1


@compiled
def entries(column, begin, out):
    """Write the entries of a column from `begin` on into an array."""
    for i in range(len(out)):
        out[i] = at(column, begin + i)


@compiled
def pairs(column, out):
    """Write where the children of each node begin and end, from the first node on, into an array (n, 2)."""
    for node in range(len(out)):
        out[node, 0], out[node, 1] = span(column, node)


def _is(column, kind):
    return isinstance(column, types.NamedTuple) and column.instance_class is kind


@overload(at)
def _at(column, place):
    if _is(column, Packed):
        return lambda column, place: unpack(column.bits, column.width, place)
    if _is(column, Coded):
        return lambda column, place: decode(
            column.exact, column.bits, column.width, column.codebook, column.level, place
        )
    if _is(column, Unary):
        return lambda column, place: ascending(column.exact, column.bits, column.ranks, column.hints, place)
    return None


@overload(span)
def _span(first, node):
    if not _is(first, Unary):
        return None

    return lambda first, node: ascending_pair(first.exact, first.bits, first.ranks, first.hints, node)


@overload(fetch)
def _fetch(column, place):
    if _is(column, Packed):
        return lambda column, place: prefetch(column.bits, (place * column.width) >> 6)
    if _is(column, Coded):
        return lambda column, place: prefetch(column.bits, code_word(column.exact, column.width, place))
    if _is(column, Unary):

        def near(column, place):
            hint = min(max(place - len(column.exact), 0) // HINT, len(column.hints) - 1)
            block = np.int64(column.hints[np.uint64(hint)])
            prefetch(column.exact, place)
            prefetch(column.ranks, block)
            prefetch(column.bits, block * WORDS)

        return near
    return None
