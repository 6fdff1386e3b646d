"""The truncated suffix sort: every position of the text, ordered by the next few tokens.

Sorted so, equal n-grams of every order stand side by side, and one scan counts them all. Two or three tokens and the
rank so far are packed into one 64-bit key, so that numpy's vectorised sort does the work; the least significant
tokens are sorted first and the rank keeps their order (a radix sort whose digits are several tokens wide).
"""

from __future__ import annotations

import numpy as np

from lmkit.errors import ResourceError
from lmkit.ngram.kernels import sorting
from lmkit.text.vocabulary import EOS

MAX_TOKENS = (1 << 31) - 1


def with_line_starts(ids: np.ndarray) -> np.ndarray:
    """Put `<s>` before every line of a stream of ids (T,), each line ended by `</s>`.

    Raises:
        ResourceError: there are more tokens than a position can number.
    """
    lines = int((ids == EOS).sum())
    if len(ids) + lines > MAX_TOKENS:
        raise ResourceError(
            f"{len(ids)} tokens are more than the {MAX_TOKENS} that one model can count; use a part of the text"
        )
    stream = np.empty(len(ids) + lines, np.int32)
    written = sorting.add_line_starts(ids, stream)
    return stream[:written]


def sort_positions(stream: np.ndarray, order: int, vocab_size: int) -> np.ndarray:
    """Give all positions (S,) int32 of a stream, ordered by their next `order` tokens, cut at the line end."""
    word_bits = vocab_size.bit_length()  # an id plus 1 is at most vocab_size
    rank_bits = max(len(stream) - 1, 1).bit_length()
    words = min(order, (64 - rank_bits) // word_bits)
    positions = np.arange(len(stream), dtype=np.int32)
    keys = np.empty(len(stream), np.uint64)
    end = order
    while end > 0:
        begin = max(0, end - words)
        sorting.pack_keys(stream, positions, begin, end - begin, word_bits, rank_bits, keys)
        keys.sort()
        moved = np.empty_like(positions)
        sorting.unpack_ranks(keys, rank_bits, positions, moved)
        positions = moved
        end = begin
    return positions
