"""Loops of the suffix sort: the stream with its line starts, keys packed and unpacked."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled
from lmkit.text.vocabulary import BOS, EOS


@compiled
def add_line_starts(ids, stream):
    """Put `<s>` before every line of `ids`; give the length written."""
    at_start = True
    n = 0
    for token in ids:
        if at_start:
            stream[n] = BOS
            n += 1
        stream[n] = token
        n += 1
        at_start = token == EOS
    return n


@compiled
def pack_keys(stream, positions, shift, words, word_bits, rank_bits, keys):
    """Make sort keys: tokens shift to shift + words (exclusive) after each position, then the rank so far.

    What lies beyond `</s>` is 0, a token is its id plus 1.
    """
    for i in range(len(positions)):
        p = positions[i]
        key = np.uint64(0)
        ended = False
        for j in range(shift + words):
            value = np.uint64(0)
            if not ended:
                token = stream[p + j]
                value = np.uint64(token + 1)
                ended = token == EOS
            if j >= shift:
                key = (key << np.uint64(word_bits)) | value
        keys[i] = (key << np.uint64(rank_bits)) | np.uint64(i)


@compiled
def unpack_ranks(keys, rank_bits, positions, out):
    """Give the positions in the order of the sorted keys."""
    mask = (np.uint64(1) << np.uint64(rank_bits)) - np.uint64(1)
    for i in range(len(keys)):
        out[i] = positions[np.int64(keys[i] & mask)]
