"""Codebooks: the few numbers that many are rounded to.

Half of them by Lloyd's algorithm (Lloyd 1982, "Least squares quantization in PCM"), half evenly over the scale. Values
are counted in fine bins first, so that any number of them is read once, piece by piece.
"""

from __future__ import annotations

import numpy as np

from lmkit.ngram.kernels import quantizing
from lmkit.scratch import release
from lmkit.threads import chunks

SMALLEST = 1e-7  # number that has a logarithm
_CHUNK = 1 << 18  # values at a time
_ROUNDS = 100  # of Lloyd's algorithm


def codebook_of(values: np.ndarray, bits: int, *, logs: bool) -> tuple[np.ndarray, np.ndarray]:
    """Give log10 of the numbers that values are rounded to, and the code of each bin of values.

    Probabilities, given as log10, are rounded by their fourth roots, backoffs, given as they are, by their square
    roots: between the logarithm, which alone matters to a perplexity, and the number, which matters to a sum. Half of
    the codes go where the values are dense, half evenly over all of the scale, so that none is far from a code.
    """
    counts, sums = np.zeros(quantizing.BINS, np.int64), np.zeros(quantizing.BINS)
    for begin, end in chunks(0, len(values), _CHUNK):
        quantizing.histogram(values[begin:end], counts, sums)
        release(values[begin:end])
    filled = np.flatnonzero(counts)
    table = np.zeros(quantizing.BINS, np.uint16)
    if not len(filled):
        return np.zeros(1 << bits, np.float32), table
    means, weights = sums[filled] / counts[filled], counts[filled]
    x = 10.0 ** (means / 4) if logs else np.sqrt(means)
    half = 1 << (bits - 1)
    centres = np.concatenate([_lloyd(x, weights, half), np.linspace(x.min(), x.max(), half)])
    if len(x) <= 2 * half:
        centres = np.append(x, np.full(2 * half - len(x), x.max()))
    centres.sort()
    codes = np.searchsorted((centres[1:] + centres[:-1]) / 2, x)
    total = np.bincount(codes, weights, 2 * half)
    means = np.bincount(codes, weights * x, 2 * half) / np.maximum(total, 1)
    centres = np.where(total > 0, means, centres)
    table[filled] = codes
    return ((4 if logs else 2) * np.log10(np.maximum(centres, SMALLEST))).astype(np.float32), table


def _lloyd(x: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Give `size` ascending centres of numbers with weights, each the mean of those that it is nearest to."""
    order = np.argsort(x, kind="stable")
    x, weights = x[order], weights[order]
    dense = np.cumsum(np.cbrt(weights))  # where there is more, centres stand closer, by the cube root
    centres = x[np.searchsorted(dense, (np.arange(size) + 0.5) / size * dense[-1])]
    sums = np.concatenate([[0], np.cumsum(weights * x)])
    totals = np.concatenate([[0], np.cumsum(weights)])
    for _ in range(_ROUNDS):
        bounds = np.concatenate([[0], np.searchsorted(x, (centres[1:] + centres[:-1]) / 2), [len(x)]])
        total = np.diff(totals[bounds])
        centres = np.sort(np.where(total > 0, np.diff(sums[bounds]) / np.maximum(total, 1), centres))
    return centres
