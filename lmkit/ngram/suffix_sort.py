"""The truncated suffix sort: every position of the text, ordered by the next few tokens.

Sorted so, equal n-grams of every order stand side by side, and one scan counts them all. The positions are first
dealt into ranges of tokens, which are sorted one by one: they fit a cache, and two threads can take one each. Within
a range, two or more tokens are packed into a number, with the rank so far behind it, so that numpy's vectorised sort
does the work; the last tokens are sorted first and the rank keeps their order (a radix sort with wide digits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmkit.errors import ResourceError
from lmkit.ngram.kernels import sorting
from lmkit.text.vocabulary import EOS
from lmkit.threads import in_threads

MAX_TOKENS = (1 << 31) - 1
_RANGE = 1 << 19  # positions in a range, where the words allow it: their keys fit a core's cache


@dataclass(frozen=True)
class SortedSuffixes:
    """All positions of a stream in the order of their next tokens.

    Attributes:
        stream: (S,) int32, `<s>` words `</s>` of every line.
        counts: (V,) int64, how often each token occurs in it.
        positions: (S,) int32, the positions in order.
        shared: (S,) uint8, how many leading tokens each has in common with the one before, at most the order.
        length: (S,) uint8, how many tokens there are from each to its line end, at most the order.
        bounds: (R + 1,) int64; range r is the places bounds[r] to bounds[r + 1]: no n-gram is in two ranges.
        rows: (R, order + 1) int64, how many distinct n-grams of each order begin in each range.
    """

    stream: np.ndarray
    counts: np.ndarray
    positions: np.ndarray
    shared: np.ndarray
    length: np.ndarray
    bounds: np.ndarray
    rows: np.ndarray


def sort_suffixes(ids: np.ndarray, *, order: int, vocab_size: int) -> SortedSuffixes:
    """Sort the positions of a text (T,) int32 whose lines end in `</s>`, each line begun by `<s>`.

    Raises:
        ResourceError: there are more tokens than a position can number.
    """
    length = len(ids) + int((ids == EOS).sum())
    if length > MAX_TOKENS:
        raise ResourceError(
            f"{length} tokens are more than the {MAX_TOKENS} that one model can count; use a part"
        )
    stream, counts = np.empty(length, np.int32), np.zeros(vocab_size, np.int64)
    stream = stream[: sorting.add_line_starts(ids, stream, counts)]
    starts = np.concatenate([[0], np.cumsum(counts)])
    # Tokens are dealt out by where their positions would begin.
    _, first_words, range_of = np.unique(starts[:-1] // _RANGE, return_index=True, return_inverse=True)
    bounds = np.append(starts[first_words], len(stream))
    positions = np.empty(len(stream), np.int32)
    sorting.place_by_range(stream, range_of, bounds[:-1].copy(), positions)
    result = SortedSuffixes(
        stream=stream,
        counts=counts,
        positions=positions,
        shared=np.empty(len(stream), np.uint8),
        length=np.empty(len(stream), np.uint8),
        bounds=bounds,
        rows=np.zeros((len(bounds) - 1, order + 1), np.int64),
    )
    last_words = np.append(first_words[1:], vocab_size) - 1
    in_threads(
        lambda r: _sort_range(
            result, r, order, int(first_words[r]), int(last_words[r]), vocab_size.bit_length()
        ),
        range(len(bounds) - 1),
    )
    return result


def _sort_range(all_: SortedSuffixes, r: int, order: int, first: int, last: int, word_bits: int) -> None:
    """Sort one range of positions in place, and compare neighbours; its tokens are `first` to `last`."""
    part = slice(all_.bounds[r], all_.bounds[r + 1])
    positions = all_.positions[part]
    if not len(positions):
        return
    rank_bits = max(len(positions) - 1, 1).bit_length()
    groups = _digits(order, (last - first).bit_length(), word_bits, 64 - rank_bits)
    digits = np.empty((len(groups), len(positions)), np.uint64)
    for digit, (begin, end) in zip(digits, groups, strict=True):
        sorting.pack_digits(all_.stream, positions, begin, end - begin, word_bits, first, digit)
    ranks, moved = np.arange(len(positions), dtype=np.int32), np.empty(len(positions), np.int32)
    keys = np.empty(len(positions), np.uint64)
    for digit in digits[::-1]:
        sorting.join_ranks(digit, ranks, rank_bits, keys)
        keys.sort()
        sorting.follow_ranks(keys, rank_bits, ranks, moved)
        ranks, moved = moved, ranks
    words = np.array([end - begin for begin, end in groups])
    sorting.compare_neighbours(
        digits, words, word_bits, ranks, order, all_.shared[part], all_.length[part], all_.rows[r]
    )
    positions[:] = positions[ranks]


def _digits(order: int, first_bits: int, word_bits: int, room: int) -> list[tuple[int, int]]:
    """Divide the tokens 0 to `order` into as few digits of `room` bits as can be, from the last token on."""
    groups: list[tuple[int, int]] = []
    end = order
    while end > 0:
        begin, bits = end, 0
        while begin > 0 and bits + (first_bits if begin == 1 else word_bits) <= room:
            begin -= 1
            bits += first_bits if begin == 0 else word_bits
        groups.append((begin, end))
        end = begin
    return groups[::-1]
