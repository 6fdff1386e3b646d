"""The character tokenizer: every Unicode code point is a token, the space included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from lmkit.config import TextConfig
from lmkit.errors import ModelFormatError
from lmkit.scratch import MEMORY, Scratch
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizer import Tokenizer, joint_counts
from lmkit.text.vocabulary import EOS, SPECIALS, UNK, Vocabulary, most_frequent, read_word_list

_CODE_POINTS = 0x110000
_NEWLINE = 10


class CharTokenizer(Tokenizer):
    r"""Characters by a table from code points to ids, so that a file is encoded without a loop.

    >>> tokenizer = CharTokenizer(vocab=Vocabulary.from_tokens("abc "))
    >>> tokenizer.encode("a cab").tolist()
    [3, 6, 5, 3, 4]
    >>> tokenizer.decode([3, 6, 5, 2])
    'a c\n'
    """

    kind = "char"
    options = frozenset({"min_count", "vocab_size", "vocab"})
    extends = True

    def __init__(self, *, vocab: Vocabulary, unk: str = "oov") -> None:
        self.vocab = vocab
        self.unk = unk
        self._table = np.full(_CODE_POINTS, UNK, np.int32)
        self._table[_points("".join(vocab.tokens[3:]))] = np.arange(3, len(vocab), dtype=np.int32)
        self._table[_NEWLINE] = EOS

    @classmethod
    def learn(
        cls, corpus: Corpus, *, options: TextConfig, scratch: Scratch = MEMORY
    ) -> tuple[Self, np.ndarray]:
        """Count the characters, then encode: two passes over the text."""
        parts = []
        if options.vocab is None:
            vocab, counts = _characters(corpus)
            parts = [(cls(vocab=vocab), counts)]
        tokenizer = cls.join(parts, options=options)
        return tokenizer, tokenizer.encode_corpus(corpus, scratch=scratch)

    def extended(
        self, corpus: Corpus, *, options: TextConfig, scratch: Scratch = MEMORY
    ) -> tuple[Self, np.ndarray]:
        """Count the characters, as `learn` does, and number the new ones from the last known one on."""
        vocab, counts = _characters(corpus)
        vocab = self.vocab.extended(vocab, counts, min_count=options.min_count, vocab_size=options.vocab_size)
        tokenizer = type(self)(vocab=vocab, unk=self.unk)
        return tokenizer, tokenizer.encode_corpus(corpus, scratch=scratch)

    @classmethod
    def join(cls, parts: Sequence[tuple[Self, np.ndarray]], *, options: TextConfig) -> Self:
        """Add the counts of each character, and keep the most frequent ones."""
        if options.vocab is not None:
            words = read_word_list(Path(options.vocab))
            return cls(vocab=Vocabulary.from_tokens(dict.fromkeys("".join(words) + " ")))
        characters, counts = joint_counts(parts)
        kept = most_frequent(characters, counts, min_count=options.min_count, vocab_size=options.vocab_size)
        return cls(vocab=Vocabulary.from_tokens([characters[i] for i in kept.tolist()]))

    def encode(self, text: str) -> np.ndarray:
        """Give the ids of one line's characters."""
        return self._table[_points(text.removesuffix("\n"))]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Give each character's place."""
        return [(place, place + 1) for place in range(len(text))]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Join characters; an unknown one shows as U+FFFD."""
        return "".join("\n" if i == EOS else "\ufffd" if i == UNK else self.vocab[int(i)] for i in ids)

    def bytes_of(self, index: int) -> bytes:
        """Give the UTF-8 of a character, that of U+FFFD for an unknown one."""
        return "\ufffd".encode() if index == UNK else super().bytes_of(index)

    def encode_block(self, block: bytes, *, oov: int = UNK) -> np.ndarray:
        """Give the ids of whole lines."""
        ids = self._table[_points(block.decode("utf-8"))]
        if oov != UNK:
            ids[ids == UNK] = oov
        return ids

    @classmethod
    def from_settings(cls, settings: dict[str, Any], vocab: Vocabulary) -> Self:
        """Make a tokenizer of what `settings` gave.

        Raises:
            ModelFormatError: a token is no character.
        """
        if any(len(token) != 1 for token in vocab.tokens[len(SPECIALS) :]):
            raise ModelFormatError("vocab.txt: holds tokens that are no single characters")
        return cls(vocab=vocab, **settings)


def _characters(corpus: Corpus) -> tuple[Vocabulary, np.ndarray]:
    """Give the characters of a text in the order of their code points, and how often each token occurs (V,)."""
    counts = np.zeros(_CODE_POINTS, np.int64)
    for block in corpus.blocks():
        counts += np.bincount(_points(block.decode()), minlength=_CODE_POINTS)
    counts[_NEWLINE] = 0
    points = np.flatnonzero(counts)
    vocab = Vocabulary.from_tokens(map(chr, points.tolist()))
    return vocab, np.concatenate([np.zeros(len(SPECIALS), np.int64), counts[points]])


def _points(text: str) -> np.ndarray:
    """Give the code points of a string, half a surrogate pair too."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)
