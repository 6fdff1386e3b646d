"""The word tokenizer: bytes between separators, as the reference estimator reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lmkit.config import TextConfig
from lmkit.errors import InputError
from lmkit.scratch import MEMORY, Scratch, release
from lmkit.text.corpus import NEWLINE, Corpus
from lmkit.text.tokenizer import Tokenizer, joint_counts
from lmkit.text.vocabulary import (
    BOS,
    EOS,
    SEPARATORS,
    SPECIALS,
    UNK,
    Vocabulary,
    most_frequent,
    read_word_list,
)
from lmkit.threads import cores, in_order, in_threads

if TYPE_CHECKING:
    from lmkit.text.lookup import WordLookup

_WORD = re.compile(rb"[^\0\t\n\r ]+")
_POLICIES = {"error": 0, "skip": 1, "unk": 2, "keep": 3}


class WordTokenizer(Tokenizer):
    r"""Words are what NUL, TAB, LF, CR and SPACE separate; no other white space counts, and case is kept.

    A literal `<unk>` is the unknown word. A literal `<s>` or `</s>` is refused, dropped or unknown, as `specials`
    says (`error`, `skip`, `unk`).

    >>> tokenizer = WordTokenizer(vocab=Vocabulary.from_tokens(["the", "fox"]))
    >>> tokenizer.encode("the red  fox").tolist()
    [3, 0, 4]
    >>> tokenizer.decode([3, 4, 2, 3])
    'the fox\nthe'
    """

    kind = "word"
    joiner = " "
    options = frozenset({"min_count", "vocab_size", "vocab", "specials"})

    def __init__(self, *, vocab: Vocabulary, unk: str = "oov", specials: str = "error") -> None:
        self.vocab = vocab
        self.unk = unk
        self.specials = specials
        self._lookup: WordLookup | None = None

    @classmethod
    def reads(cls, corpus: Corpus, specials: str = "error") -> Corpus:
        """Give the corpus, refusing special words where that is the rule."""
        return Corpus(corpus.sources, refuse_specials=specials == "error")

    @classmethod
    def learn(
        cls, corpus: Corpus, *, options: TextConfig, scratch: Scratch = MEMORY
    ) -> tuple[Self, np.ndarray]:
        """Read a text once: number its words as they come, then renumber them by falling frequency."""
        if options.vocab is not None:
            known = Vocabulary.from_tokens(read_word_list(Path(options.vocab)))
            index = WordIndex(known, options.specials, literal_unk=True, grow=False)
            ids = scratch.joined((index.encode(block, UNK) for block in corpus.blocks()), np.int32)
            unk = "word" if index.counts[UNK] else "oov"
            return cls(vocab=known, unk=unk, specials=options.specials), ids
        indexes = [
            WordIndex(Vocabulary.from_tokens([]), options.specials, literal_unk=True, grow=True)
            for _ in range(cores())
        ]
        used: list[tuple[int, int]] = []  # by which index, and how many ids it gave
        ids = scratch.joined(_encode_in_turn(corpus.blocks(), indexes, used), np.int32)
        index, *others = indexes
        joint = [index.adopt(other) for other in others]
        found = cls(vocab=index.vocabulary(), specials=options.specials)
        tokenizer = cls.join([(found, index.counts[: index.size])], options=options)
        final = tokenizer.ids_of(found.vocab)
        renumber = [final, *(final[numbers] for numbers in joint)]
        ends = np.cumsum([0, *(size for _, size in used)])

        def renumber_block(i: int) -> None:
            block = ids[ends[i] : ends[i + 1]]
            block[:] = renumber[used[i][0]][block]
            release(block)

        in_threads(renumber_block, range(len(used)))
        return tokenizer, ids

    @classmethod
    def join(cls, parts: Sequence[tuple[Self, np.ndarray]], *, options: TextConfig) -> Self:
        """Add the counts of each word, and keep the most frequent ones."""
        unk = "word" if any(counts[UNK] for _, counts in parts) else "oov"
        specials = parts[0][0].specials
        if options.vocab is not None:
            return cls(
                vocab=Vocabulary.from_tokens(read_word_list(Path(options.vocab))), unk=unk, specials=specials
            )
        words, counts = joint_counts(parts)
        kept = most_frequent(words, counts, min_count=options.min_count, vocab_size=options.vocab_size)
        return cls(
            vocab=Vocabulary.from_tokens([words[i] for i in kept.tolist()]), unk=unk, specials=specials
        )

    def encode(self, text: str) -> np.ndarray:
        """Give the ids of one line: the plain twin of the compiled loop."""
        ids = self.vocab.ids
        words = [word for word in SEPARATORS.split(text) if word]
        found = np.array([ids.get(word, UNK) for word in words], np.int32)
        special = (found == BOS) | (found == EOS)
        if special.any():
            if self.specials == "error":
                raise _special_error(words[int(special.argmax())], "the text given")
            found = found[~special] if self.specials == "skip" else np.where(special, np.int32(UNK), found)
        return found

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Join words by spaces."""
        words = " ".join("\n" if index == EOS else self.vocab[int(index)] for index in ids)
        return words.replace(" \n", "\n").replace("\n ", "\n")

    def encode_block(self, block: bytes, *, oov: int = UNK) -> np.ndarray:
        """Give the ids of whole lines."""
        if self._lookup is None:
            from lmkit.text.lookup import WordLookup

            self._lookup = WordLookup(
                self.vocab, literal_unk=self.unk == "word", special=_POLICIES[self.specials]
            )
        ids, refused = self._lookup.ids(block, oov)
        if refused >= 0:
            word = block[refused : refused + 4].decode().strip()
            raise _special_error(word, f"line {block.count(NEWLINE, 0, refused) + 1} of the block")
        return ids

    def settings(self) -> dict[str, Any]:
        """Give the unknown-word protocol and the rule for special words."""
        return {"unk": self.unk, "specials": self.specials}

    @classmethod
    def from_settings(cls, settings: dict[str, Any], vocab: Vocabulary) -> Self:
        """Make a tokenizer of what `settings` gave."""
        return cls(vocab=vocab, **settings)


def _encode_in_turn(
    blocks: Iterator[bytes], indexes: Sequence[WordIndex], used: list[tuple[int, int]]
) -> Iterator[np.ndarray]:
    """Encode blocks on all cores, each with whichever index is free, and note in `used` which one that was."""
    free = SimpleQueue[int]()
    for i in range(len(indexes)):
        free.put(i)

    def encode(block: bytes) -> tuple[int, np.ndarray]:
        i = free.get()
        try:
            return i, indexes[i].encode(block, UNK)
        finally:
            free.put(i)

    for i, ids in in_order(encode, blocks):
        used.append((i, len(ids)))
        yield ids


class WordIndex:
    """A hash table from words to ids, in arrays that the compiled loop works on."""

    def __init__(self, vocab: Vocabulary, specials: str, *, literal_unk: bool, grow: bool) -> None:
        from lmkit.text import kernels

        self.kernels = kernels
        self.special = _POLICIES[specials]
        self.grow = grow
        self.size = len(vocab)
        self.words = np.frombuffer(vocab.data, np.uint8).copy()
        self.offsets = vocab.offsets
        self.hashes = np.empty(self.size, np.uint64)
        self.counts = np.zeros(self.size, np.int64)
        kernels.hash_words(self.words, self.offsets, self.hashes, 0)
        # Out of the table, a literal <unk> is a word like any unknown one.
        self.first = 0 if literal_unk else 1
        self._rebuild(1 << max(12, (2 * self.size).bit_length()))
        if grow:
            self._enlarge()

    def _rebuild(self, slots: int) -> None:
        self.table = np.full(slots, -1, np.int32)
        self.kernels.insert_words(self.table, self.hashes, self.first, self.size)

    def adopt(self, other: WordIndex) -> np.ndarray:
        """Add the words and counts of another index; give the number here of each word (n,) int32 there."""
        first = len(SPECIALS)
        names = other.words[
            other.offsets[first] : other.offsets[other.size]
        ].tobytes()  # each ends in a line end
        before = self.counts[: self.size].copy()
        numbers = self.encode(names, UNK)[::2]
        self.counts[: len(before)], self.counts[len(before) :] = before, 0
        self.counts[:first] += other.counts[:first]
        self.counts[numbers] += other.counts[first : other.size]
        return np.concatenate([np.arange(first, dtype=np.int32), numbers])

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
        self._rebuild(1 << (4 * capacity - 1).bit_length())

    def encode(self, block: bytes, oov: int) -> np.ndarray:
        """Give the ids of whole lines, and count them."""
        data = np.frombuffer(block, np.uint8)
        pieces = []
        position = 0
        while position < len(data):
            out = np.empty(len(data) - position, np.int32)
            position, written, self.size, stopped = self.kernels.encode_words(
                data, position, out, self.table, self.hashes, self.words, self.offsets, self.counts, self.size,
                self.grow, oov, self.special,
            )  # fmt: skip
            pieces.append(out[:written].copy())
            if stopped == 1:
                word = _WORD.match(block, position)
                self._enlarge(longest=len(word[0]) if word else 0)
            elif stopped == 2:
                special = block[position : position + 4].decode().strip()
                raise _special_error(special, f"line {block.count(NEWLINE, 0, position) + 1} of the block")
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.int32), *pieces])


def _special_error(word: str, where: str) -> InputError:
    name = next((special for special in SPECIALS if special.startswith(word)), word)
    return InputError(
        f"{where}: the text holds the special word {name}; it marks where a line begins or ends and cannot be a "
        "word. Remove it, or train with --specials skip (drop it) or unk (an unknown word)"
    )
