"""Numbering the words of a text as they come, in hash tables that grow: one for each core, joined at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from lmkit.scratch import Scratch, release
from lmkit.text import kernels
from lmkit.text.vocabulary import SPECIALS, Vocabulary, special_error
from lmkit.threads import cores, in_order, in_threads

KEEP = 3  # literal <s> and </s> are tokens; see `kernels.encode_words` for the other rules
_WORD = re.compile(rb"[^\0\t\n\r ]+")
_FIRST = len(SPECIALS)


@dataclass(frozen=True)
class NumberedText:
    """A text as numbers of words.

    Attributes:
        vocab: The words, by their numbers in the first table.
        counts: (V,) int64, how often each occurs.
        ids: (T,) int32, numbers in the table that read the block.
        blocks: Of each block the table, and how many ids it has.
        joint: Of each table the numbers of its words in the first.
    """

    vocab: Vocabulary
    counts: np.ndarray
    ids: np.ndarray
    blocks: Sequence[tuple[int, int]]
    joint: Sequence[np.ndarray]

    def renumbered(self, ids_of: np.ndarray) -> np.ndarray:
        """Give the text in other numbers, `ids_of` (V,) of each word; it takes the place of this one."""
        tables = [ids_of[numbers] for numbers in self.joint]
        ends = np.cumsum([0, *(size for _, size in self.blocks)])

        def renumber(i: int) -> None:
            block = self.ids[ends[i] : ends[i + 1]]
            block[:] = tables[self.blocks[i][0]][block]
            release(block)

        in_threads(renumber, range(len(self.blocks)))
        return self.ids


def number_words(blocks: Iterator[bytes], *, special: int, scratch: Scratch) -> NumberedText:
    """Number the words of a text on all cores, each with whichever table is free.

    Args:
        blocks: Whole lines.
        special: What a literal `<s>` or `</s>` is; see `kernels.encode_words`.
        scratch: Where the ids are.
    """
    indexes = [WordIndex(special) for _ in range(cores())]
    free = SimpleQueue[int]()
    for i in range(len(indexes)):
        free.put(i)
    read: list[tuple[int, int]] = []

    def encode(block: bytes) -> tuple[int, np.ndarray]:
        i = free.get()
        try:
            return i, indexes[i].encode(block)
        finally:
            free.put(i)

    def encoded() -> Iterator[np.ndarray]:
        for i, ids in in_order(encode, blocks):
            read.append((i, len(ids)))
            yield ids

    ids = scratch.joined(encoded(), np.int32)
    index, *others = indexes
    joint = [np.arange(index.size), *(index.adopt(other) for other in others)]
    return NumberedText(index.vocabulary(), index.counts[: index.size], ids, read, joint)


class WordIndex:
    """A hash table from words to numbers, in arrays that the compiled loop works on."""

    def __init__(self, special: int) -> None:
        specials = Vocabulary.from_tokens([])
        self.special = special
        self.size = _FIRST
        self.words = np.frombuffer(specials.data, np.uint8)
        self.offsets = specials.offsets
        self.hashes = np.empty(self.size, np.uint64)
        self.counts = np.zeros(self.size, np.int64)
        kernels.hash_words(self.words, self.offsets, self.hashes, 0)
        self._enlarge()

    def encode(self, block: bytes) -> np.ndarray:
        """Give the numbers of the words of whole lines, and count them.

        Raises:
            InputError: there is a literal `<s>` or `</s>`, and that is not allowed.
        """
        data = np.frombuffer(block, np.uint8)
        pieces = [np.empty(0, np.int32)]
        position = 0
        while position < len(data):
            out = np.empty(len(data) - position, np.int32)
            position, written, self.size, stopped = kernels.encode_words(
                data, position, out, self.table, self.hashes, self.words, self.offsets, self.counts, self.size,
                self.special,
            )  # fmt: skip
            pieces.append(out[:written].copy())
            if stopped == 1:
                word = _WORD.match(block, position)
                self._enlarge(longest=len(word[0]) if word else 0)
            elif stopped == 2:
                word = _WORD.match(block, position)
                line = block.count(b"\n", 0, position) + 1
                raise special_error(word[0].decode() if word else "", f"line {line} of the block")
        return pieces[1] if len(pieces) == 2 else np.concatenate(pieces)

    def adopt(self, other: WordIndex) -> np.ndarray:
        """Add the words and counts of another index; give the number here of each word (n,) int32 there."""
        names = other.words[other.offsets[_FIRST] : other.offsets[other.size]]  # each ends in a line end
        before = self.counts[: self.size].copy()
        numbers = self.encode(names.tobytes())[::2]
        self.counts[: len(before)], self.counts[len(before) :] = before, 0
        self.counts[:_FIRST] += other.counts[:_FIRST]
        self.counts[numbers] += other.counts[_FIRST : other.size]
        return np.concatenate([np.arange(_FIRST, dtype=np.int32), numbers])

    def vocabulary(self) -> Vocabulary:
        """Give the words in the order of their numbers."""
        return Vocabulary(self.words[: self.offsets[self.size]].tobytes())

    def _enlarge(self, longest: int = 0) -> None:
        """Make room for as many words again, and for one of `longest` bytes."""
        capacity = max(1 << 12, 2 * self.size)
        room = max(1 << 16, 2 * int(self.offsets[self.size]) + longest + 1)
        self.words = np.resize(self.words, max(room, len(self.words)))
        self.offsets = np.resize(self.offsets, capacity + 1)
        self.hashes = np.resize(self.hashes, capacity)
        counts = np.zeros(capacity, np.int64)
        counts[: self.size] = self.counts[: self.size]
        self.counts = counts
        self.table = np.full(1 << (4 * capacity - 1).bit_length(), -1, np.int32)
        kernels.insert_words(self.table, self.hashes, 0, self.size)
