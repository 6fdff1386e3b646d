"""Loops that read the lines of an ARPA file: a number, some words, and perhaps another number.

Plain twins: `arpa_lines.nearest_float32`, and `parse` in tests/ngram/backoff.py.
"""

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled, inlined
from lmkit.text.lookup import chunk, word_from
from lmkit.text.vocabulary import BOS, EOS

TOO_FEW, TOO_MANY, UNKNOWN = 1, 2, 3  # what is wrong with a line: its words, or one of them
_POWERS = np.array([10.0**k for k in range(23)])  # those that a float64 holds exactly
_MOST = 10**15  # whole numbers below it are float64s, too
_HALF, _REST = 1 << 28, (1 << 29) - 1  # of the bits that a float64 has beyond a float32


@inlined
def read_decimal(data, i, end):
    """Give the float32 nearest to the number that data[i:end] says, or none (NaN) where it has no plain form.

    A whole number of at most 15 digits and a power of ten up to 10^22 are exact as float64s, so that their quotient is
    the float64 nearest to the decimal. The float32 nearest to that is nearest to the decimal, too, unless the float64
    lies half-way between two: then, and for longer numbers, the caller is to read it in another way.
    """
    negative = data[i] == 45  # -
    if negative or data[i] == 43:  # +
        i += 1
    digits, scale, figures, behind_point = 0, 0, 0, False
    while i < end and digits < _MOST:
        if 48 <= data[i] <= 57:
            digits = 10 * digits + (data[i] - 48)
            scale -= 1 if behind_point else 0
            figures += 1
        elif data[i] == 46 and not behind_point:  # .
            behind_point = True
        else:
            break
        i += 1
    if i + 1 < end and figures and (data[i] == 101 or data[i] == 69):  # e
        i += 1
        below = data[i] == 45
        if (below or data[i] == 43) and i + 1 < end:
            i += 1
        exponent = 0
        while i < end and 48 <= data[i] <= 57 and exponent < 1000:
            exponent = 10 * exponent + (data[i] - 48)
            i += 1
        scale += -exponent if below else exponent
    if i < end or figures == 0 or digits >= _MOST or not -22 <= scale <= 22:
        return np.float32(np.nan)
    value = np.float64(digits)
    value = value * _POWERS[scale] if scale > 0 else value / _POWERS[-scale]
    half_way = np.float64(value).view(np.int64) & _REST == _HALF
    if half_way or (value != 0.0 and not 1e-37 < value < 1e38):  # the smallest have fewer bits
        return np.float32(np.nan)
    return np.float32(-value if negative and digits else value)


@inlined
def skip(data, i):
    """Give the next place that holds no separator but a line end."""
    while data[i] == 32 or data[i] == 9 or data[i] == 13:
        i += 1
    return i


@inlined
def field_end(data, i):
    """Give where what begins at i ends: at the next separator."""
    while not (data[i] == 32 or data[i] == 9 or data[i] == 10 or data[i] == 13):
        i += 1
    return i


@compiled
def read_unigrams(data, log10_prob, log10_backoff, lines):
    """Read lines of one word each, and write spaces over their numbers.

    Args:
        data: (n,) uint8, whole lines; changed.
        log10_prob, log10_backoff: (lines,) float32, receive the numbers; the second is 0 where there is none.
        lines: (lines,) int32, receives which line each stands on.

    Returns:
        (how many there are, the first line that is wrong or -1, what is wrong with it).
    """
    rows, line, i = 0, 0, 0
    while i < len(data):
        i = skip(data, i)
        if data[i] != 10:
            end = field_end(data, i)
            log10_prob[rows] = read_decimal(data, i, end)
            log10_backoff[rows] = 0
            data[i:end] = 32
            i = skip(data, end)
            if data[i] == 10:
                return rows, line, TOO_FEW
            i = skip(data, field_end(data, i))
            if data[i] != 10:
                end = field_end(data, i)
                log10_backoff[rows] = read_decimal(data, i, end)
                data[i:end] = 32
                i = skip(data, end)
                if data[i] != 10:
                    return rows, line, TOO_MANY
            lines[rows] = line
            rows += 1
        line += 1
        i += 1
    return rows, -1, 0


@inlined
def goes_on(data, i, begin, end):
    """Say whether the word that begins at i is data[begin:end]."""
    k = begin
    while k < end and data[i + k - begin] == data[k]:
        k += 1
    after = data[i + k - begin]
    return k == end > begin and (after == 32 or after == 9 or after == 10 or after == 13)


@inlined
def word_at(data, i, table, hashes, words, offsets):
    """Look up the word that begins at i: give its number, or -1, and its end. See `WordLookup` for the arrays."""
    end, value = word_from(data, i)
    mask = np.uint64(len(table) - 1)
    slot = value & mask
    word = table[slot]
    while word >= 0:
        if hashes[word] == value and offsets[word + 1] - 1 - offsets[word] == end - i:
            k = np.int64(0)
            while k + 8 < end - i and chunk(words, offsets[word] + k) == chunk(data, i + k):
                k += 8
            if k + 8 >= end - i:  # the rest is at most eight bytes, which the hash compares
                break
        slot = (slot + np.uint64(1)) & mask
        word = table[slot]
    return word, end


@compiled
def read_ngrams(data, table, hashes, words, offsets, id_of, ids, log10_prob, log10_backoff, lines, left_out):
    """Read lines of n words each, which are known.

    N-grams in which `<s>` is not the first word, or `</s>` not the last, are left out. Neighbours often share words, of
    their context or of their suffix as the file is sorted; those are compared with the line before, not looked up.

    Args:
        data: (n,) uint8, whole lines.
        table, hashes, words, offsets: the known words; see `WordLookup`.
        id_of: (words,) int32, what their numbers there are to become.
        ids: (lines, n) int32, receives the words.
        log10_prob, log10_backoff, lines: see `read_unigrams`.
        left_out: (2,) int64, receives how many n-grams were left out, and the line of the first.

    Returns:
        (how many there are, the first line that is wrong or -1, what is wrong with it, where in the data).
    """
    order = ids.shape[1]
    begins, ends = np.zeros(order, np.int64), np.zeros(order, np.int64)  # the words of the line before
    tokens = np.zeros(order, np.int32)
    rows, line, i = 0, 0, 0
    while i < len(data):
        i = skip(data, i)
        if data[i] != 10:
            end = field_end(data, i)
            log10_prob[rows] = read_decimal(data, i, end)
            log10_backoff[rows] = 0
            i = end
            possible = True
            for k in range(order):
                i = skip(data, i)
                if data[i] == 10:
                    return rows, line, TOO_FEW, i
                if goes_on(data, i, begins[k], ends[k]):
                    end = i + ends[k] - begins[k]
                else:
                    word, end = word_at(data, i, table, hashes, words, offsets)
                    if word < 0:
                        return rows, line, UNKNOWN, i
                    tokens[k] = id_of[word]
                begins[k], ends[k] = i, end
                token = tokens[k]
                possible &= (token != BOS or k == 0) and (token != EOS or k == order - 1)
                ids[rows, k] = token
                i = end
            i = skip(data, i)
            if data[i] != 10:
                end = field_end(data, i)
                log10_backoff[rows] = read_decimal(data, i, end)
                i = skip(data, end)
                if data[i] != 10:
                    return rows, line, TOO_MANY, i
            lines[rows] = line
            rows += possible
            if not possible:
                left_out[1] = line if left_out[0] == 0 else left_out[1]
                left_out[0] += 1
        line += 1
        i += 1
    return rows, -1, 0, i
