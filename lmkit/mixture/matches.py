"""Compiled loops over what a text said before: where its last words have stood, and which word followed.

A match of length m at place i, seen from place t, is that the m tokens before i are those before t. The places looked
at are the last W before t, and so are all tokens that are compared.
"""

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled, inlined


@inlined
def match(tokens, low, i, t, most):
    """Give how many tokens before place i, none before `low`, are those before place t; at most `most`."""
    length = 0
    while length < most and i - 1 - length >= low and tokens[i - 1 - length] == tokens[t - 1 - length]:
        length += 1
    return length


@compiled
def recalled(tokens, begin, powers, vocab_size, shares, longest):
    """Give what each length of match says of each token from place `begin` on.

    Args:
        tokens: (H + T,) int32; the first `begin` = H are known already.
        begin: H.
        powers: (M + 1, W + 1) float64; what a place counts for, by the length of the match and by its distance.
        vocab_size: V.
        shares: (M + 1, T) float64, written: of all that counts, the part that was followed by the token at t.
        longest: (T,) int8, written: the longest match there is, -1 at the beginning of a text.
    """
    most, window = powers.shape[0] - 1, powers.shape[1] - 1
    last = np.full(vocab_size, -1, np.int64)
    previous = np.empty(len(tokens), np.int64)  # the place of the same token before
    for t in range(len(tokens)):
        previous[t] = last[tokens[t]]
        last[tokens[t]] = t
    sums = np.zeros(window + 1)  # of powers[0], from distance 1 on
    for distance in range(1, window + 1):
        sums[distance] = sums[distance - 1] + powers[0, distance]
    whole = np.empty(most + 1)
    for t in range(begin, len(tokens)):
        low = max(0, t - window)
        whole[:] = 0.0
        whole[0] = sums[t - low]
        found = 0 if t > low else -1
        if most and t > low:
            i = previous[t - 1] + 1
            while i - 1 >= low:
                length = match(tokens, low, i, t, most)
                for m in range(1, length + 1):
                    whole[m] += powers[m, t - i]
                found = max(found, length)
                i = previous[i - 1] + 1
        longest[t - begin] = found
        i = previous[t]
        while i >= low:
            length = match(tokens, low, i, t, most)
            for m in range(length + 1):
                shares[m, t - begin] += powers[m, t - i]
            i = previous[i]
        for m in range(found + 1):
            shares[m, t - begin] /= whole[m]


@compiled
def recall(history, powers, weights, logprobs):
    """Mix what was said before into the distributions of B positions, in place.

    Args:
        history: (B, W) int32, the last tokens, -1 in front where there are fewer.
        powers: (M + 1, W + 1); see `recalled`.
        weights: (M + 2, M + 2) float64; row m + 1 is for a longest match of m: of the model, then of each length.
        logprobs: (B, V) float32, of the model on entry.
    """
    most, window = powers.shape[0] - 1, powers.shape[1] - 1
    whole = np.empty(most + 1)
    said = np.zeros(logprobs.shape[1])
    lengths = np.empty(window, np.int64)
    for b in range(len(history)):
        tokens = history[b]
        low = 0
        while low < window and tokens[low] < 0:
            low += 1
        if low == window:
            continue
        whole[:] = 0.0
        found = 0
        for i in range(low, window):
            lengths[i] = match(tokens, low, i, window, most)
            found = max(found, lengths[i])
            for m in range(lengths[i] + 1):
                whole[m] += powers[m, window - i]
        row = weights[found + 1]
        for i in range(low, window):
            for m in range(lengths[i] + 1):
                said[tokens[i]] += row[m + 1] * powers[m, window - i] / whole[m]
        kept = np.log(row[0])
        for token in range(logprobs.shape[1]):
            model = kept + logprobs[b, token]
            if said[token] > 0:
                cache = np.log(said[token])
                high, small = max(model, cache), min(model, cache)
                model = high + np.log1p(np.exp(small - high))
                said[token] = 0.0
            logprobs[b, token] = model
