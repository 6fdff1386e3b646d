"""Compiled loops of `screening`: codes of features, upper bounds of scores, and words drawn by them."""

from __future__ import annotations

import numpy as np
from numba import prange

from lmkit.compiled import compiled, in_parallel, inlined, prefetch

BLOCK = 128  # words whose probabilities are summed before they are looked at one by one
_LINE = 64  # bytes that memory sends at once
_AHEAD = 16  # words whose codes are asked for before their turn
_LEAST = np.float32(-87)  # whose exp is the least that a float32 holds whole
_ABOVE = np.float32(1.0002)  # makes up for what `exp` may be short of


@compiled
def coded(rows, most, codes, unit, length, lost):
    """Write codes (B, E) int16 of features (B, E), at most `most`, and (B,) their unit, |h|, and |h - u x|."""
    for b in range(len(rows)):
        largest, total, short = 0.0, 0.0, 0.0
        for i in range(rows.shape[1]):
            largest = max(largest, abs(rows[b, i]))
        one = largest / most if largest > 0 else 1.0
        for i in range(rows.shape[1]):
            code = np.rint(rows[b, i] / one)
            codes[b, i] = np.int16(code)
            total += rows[b, i] ** 2
            short += (rows[b, i] - code * one) ** 2
        unit[b], length[b], lost[b] = one, np.sqrt(total), np.sqrt(short)


@inlined
def _bound(w, x, unit, length, lost, codes, scale, error, size, bias, hotter, out):
    """Write those of one word (B,): products of x (B, E) int16 and codes (V, E) int8, below 2^31, and what is lost."""
    for i in range(0, codes.shape[1], _LINE):
        prefetch(codes, (w + _AHEAD) * codes.shape[1] + i)
    for b in range(len(x)):
        total = np.int32(0)
        for i in range(x.shape[1]):
            total = np.int32(total + np.int32(x[b, i]) * np.int32(codes[w, i]))
        score = np.float32(total) * (unit[b] * scale[w]) + bias[w] * hotter
        out[b, w] = score + (length[b] * error[w] + lost[b] * size[w])


@compiled
def bounds(x, unit, length, lost, codes, scale, error, size, bias, hotter, out):
    """Write upper bounds of scores (B, V): see `screening`."""
    for w in range(len(codes)):
        _bound(w, x, unit, length, lost, codes, scale, error, size, bias, hotter, out)


@in_parallel
def bounds_in_parallel(x, unit, length, lost, codes, scale, error, size, bias, hotter, out):
    """Write the same, the words shared out among threads."""
    for w in prange(len(codes)):
        _bound(w, x, unit, length, lost, codes, scale, error, size, bias, hotter, out)


def _series(x):
    """Give exp(x) of x in [-87, 0], up to 0.04 % too much and never too little: the series of x / 256, to the 256."""
    y = x * np.float32(1 / 256)
    p = np.float32(1 / 24) + y * (np.float32(1 / 120) + y * np.float32(1 / 720))
    p = np.float32(1) + y * (np.float32(1) + y * (np.float32(0.5) + y * (np.float32(1 / 6) + y * p)))
    for _ in range(8):
        p *= p
    return p * _ABOVE


exp = inlined(_series, fastmath={"contract"})


@inlined
def place(weights, begin, end, goal):
    """Give the first place up to which weights sum to more than a goal, at most the last with a weight.

    And the sum before it. See `inversion`.
    """
    found, before, total = begin, 0.0, 0.0
    for k in range(begin, end):
        if weights[k] > 0:
            found, before = k, total
            total += weights[k]
            if total > goal:
                break
    return found, before


@inlined
def after(point):
    """Give the uniform number that follows another one in [0, 1) (Steele et al. 2014, SplitMix64)."""
    x = np.uint64(point * 9007199254740992.0) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.float64((x ^ (x >> np.uint64(31))) >> np.uint64(11)) / 9007199254740992.0


def _kept(bounds, rows, weight, bias, hotter, tries, points, words):
    """Write the word (B,) that is kept of some tries, or -1. All bounds must be numbers, or minus infinity.

    Args:
        bounds: (B, V') of the scores, of a temperature.
        rows: (B, E) float64 exact features, over the temperature.
        weight: (V, E).
        bias: (V',) minus infinity from V on.
        hotter: One over the temperature, in float64.
        tries: How many.
        points: (B,) float64 uniform numbers in [0, 1), which move on.
        words: (B,) int64.
    """
    p = np.empty(bounds.shape[1], np.float32)
    sums = np.empty(len(p) // BLOCK, np.float64)
    for b in range(len(bounds)):
        top = bounds[b, 0]
        for w in range(len(p)):
            top = max(top, bounds[b, w])
        for w in range(len(p)):
            x = bounds[b, w] - top
            p[w] = exp(x) if x > _LEAST else np.float32(0)
        total = 0.0
        for block in range(len(sums)):
            part = 0.0
            for w in range(block * BLOCK, (block + 1) * BLOCK):
                part += p[w]
            sums[block] = part
            total += part
        words[b] = -1
        for _ in range(tries):
            goal = points[b] * total
            points[b] = after(points[b])
            block, before = place(sums, 0, len(sums), goal)
            word, _ = place(p, block * BLOCK, (block + 1) * BLOCK, goal - before)
            score = bias[word] * hotter
            for i in range(rows.shape[1]):
                score += rows[b, i] * weight[word, i]
            keep = points[b] * p[word] < np.exp(score - top)
            points[b] = after(points[b])
            if keep:
                words[b] = word
                break


kept = compiled(_kept, fastmath={"nnan", "reassoc", "nsz", "contract"})
