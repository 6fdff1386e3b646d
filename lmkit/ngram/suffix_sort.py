"""The truncated suffix sort: every position of the text, ordered by its window, the next few tokens.

Sorted so, equal n-grams of every order stand side by side, and one scan counts them all. The positions are first
dealt into ranges of tokens, which are sorted one by one: they fit a cache, and two threads can take one each. Within
a range, two or more tokens are packed into a number, with the rank so far behind it, so that numpy's vectorised sort
does the work; the last tokens are sorted first and the rank keeps their order (a radix sort with wide digits).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from lmkit.errors import ResourceError
from lmkit.ngram.kernels import sorting
from lmkit.scratch import Scratch, release
from lmkit.text.vocabulary import EOS
from lmkit.threads import in_threads

MAX_TOKENS = (1 << 31) - 1
_RANGE = 1 << 19  # positions in a range, where the words allow it: their keys fit a core's cache


class Part(NamedTuple):
    """Some sorted windows: at each of `positions` (n,) in `stream`, up to the line end and at most the order.

    `shared` (n,) uint8 says how many leading tokens each has in common with the one before, `length` (n,) uint8 how
    many it has, `weight` (n,) int32 how often it was met.
    """

    stream: np.ndarray
    positions: np.ndarray
    shared: np.ndarray
    length: np.ndarray
    weight: np.ndarray


class SortedWindows(Protocol):
    """All windows of a text in order, in ranges of first tokens.

    Attributes:
        counts: (V,) int64, how often each token occurs.
        rows: (R, order + 1) int64, how many distinct n-grams of each order begin in each range.
    """

    @property
    def counts(self) -> np.ndarray:
        """See above."""
        ...

    @property
    def rows(self) -> np.ndarray:
        """See above."""
        ...

    def parts(self, r: int) -> Iterator[Part]:
        """Give the windows of a range, one part after the other."""
        ...


@dataclass(frozen=True)
class SortedSuffixes:
    """All positions of a stream (S,) in the order of their windows: `SortedWindows` in memory.

    Attributes:
        stream, positions, shared, length: see `Part`; of all ranges.
        counts, rows: see `SortedWindows`.
        bounds: (R + 1,) int64; range r is the places bounds[r] to bounds[r + 1]: no n-gram is in two ranges.
    """

    stream: np.ndarray
    counts: np.ndarray
    positions: np.ndarray
    shared: np.ndarray
    length: np.ndarray
    bounds: np.ndarray
    rows: np.ndarray

    def parts(self, r: int) -> Iterator[Part]:
        """Give the windows of a range, all at once."""
        places = slice(self.bounds[r], self.bounds[r + 1])
        positions = self.positions[places]
        once = np.broadcast_to(np.int32(1), len(positions))
        yield Part(self.stream, positions, self.shared[places], self.length[places], once)


def with_line_starts(ids: np.ndarray, *, scratch: Scratch) -> np.ndarray:
    """Give the stream (S,) int32 of a text (T,): each line begun by `<s>` and ended by `</s>`, the last one too.

    Raises:
        ResourceError: there are more tokens than a position can number.
    """
    length = len(ids) + sum(int((piece == EOS).sum()) for piece in scratch.pieces(ids))
    if len(ids) and ids[-1] != EOS:
        length += 2
    if length > MAX_TOKENS:
        raise ResourceError(
            f"{length:,} tokens are more than the {MAX_TOKENS:,} that one model can count; use a part"
        )
    stream = scratch.empty(length, np.int32)
    n, at_start = 0, True
    for piece in scratch.pieces(ids):
        written, at_start = sorting.add_line_starts(piece, stream[n:], at_start)
        n += written
        release(stream)
    if not at_start:
        stream[n] = EOS
    return stream


def sort_suffixes(
    stream: np.ndarray, *, order: int, vocab_size: int, size: int | None = None
) -> SortedSuffixes:
    """Sort the positions of a stream by their next `order` tokens.

    Args:
        stream: see `with_line_starts`.
        order: how many tokens count.
        vocab_size: how many different ones there are.
        size: how many positions to sort, the first ones; all if not given.
    """
    size = len(stream) if size is None else size
    counts = np.zeros(vocab_size, np.int64)
    sorting.count_tokens(stream[:size], counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    # Tokens are dealt out by where their positions would begin.
    _, first_words, range_of = np.unique(starts[:-1] // _RANGE, return_index=True, return_inverse=True)
    bounds = np.append(starts[first_words], size)
    positions = np.empty(size, np.int32)
    sorting.place_by_range(stream, range_of, bounds[:-1].copy(), positions)
    shared, length = np.empty(size, np.uint8), np.empty(size, np.uint8)
    rows = np.zeros((len(bounds) - 1, order + 1), np.int64)
    last_words = np.append(first_words[1:], vocab_size) - 1

    def sort_range(r: int) -> None:
        places = slice(bounds[r], bounds[r + 1])
        tokens = int(first_words[r]), int(last_words[r])
        ranks = sort_windows(
            stream, positions[places], shared[places], length[places], order=order, tokens=tokens,
            word_bits=vocab_size.bit_length(),
        )  # fmt: skip
        positions[places] = positions[places][ranks]
        sorting.count_distinct(shared[places], length[places], rows[r])

    in_threads(sort_range, range(len(rows)))
    return SortedSuffixes(stream, counts, positions, shared, length, bounds, rows)


def sort_windows(
    stream: np.ndarray, positions: np.ndarray, shared: np.ndarray, length: np.ndarray, *, order: int,
    tokens: tuple[int, int], word_bits: int,
) -> np.ndarray:  # fmt: skip
    """Give the places (n,) of some positions in the order of their windows, and compare neighbours.

    Args:
        stream, positions: see `Part`.
        shared, length: (n,) uint8, receive what `Part` says of the sorted windows.
        order: how many tokens count.
        tokens: the least and the greatest token at these positions.
        word_bits: bits of a token.
    """
    if not len(positions):
        return np.empty(0, np.int32)
    first, last = tokens
    rank_bits = max(len(positions) - 1, 1).bit_length()
    groups = _digits(order, (last - first).bit_length(), word_bits, 64 - rank_bits)
    digits = np.empty((len(groups), len(positions)), np.uint64)
    for digit, (begin, end) in zip(digits, groups, strict=True):
        sorting.pack_digits(stream, positions, begin, end - begin, word_bits, first, digit)
    ranks, moved = np.arange(len(positions), dtype=np.int32), np.empty(len(positions), np.int32)
    keys = np.empty(len(positions), np.uint64)
    for digit in digits[::-1]:
        sorting.join_ranks(digit, ranks, rank_bits, keys)
        keys.sort()
        sorting.follow_ranks(keys, rank_bits, ranks, moved)
        ranks, moved = moved, ranks
    words = np.array([end - begin for begin, end in groups])
    sorting.compare_neighbours(digits, words, word_bits, ranks, shared, length)
    return ranks


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
