"""The word tokenizer: bytes between separators, as the reference estimator reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lmkit.config import TextConfig
from lmkit.errors import ModelFormatError
from lmkit.scratch import MEMORY, Scratch
from lmkit.text.corpus import NEWLINE, Corpus
from lmkit.text.tokenizer import Tokenizer, joint_counts
from lmkit.text.vocabulary import (
    BOS,
    EOS,
    SEPARATORS,
    UNK,
    WORDS,
    Vocabulary,
    most_frequent,
    read_word_list,
    special_error,
)

if TYPE_CHECKING:
    from lmkit.text.lookup import WordLookup

_POLICIES = {"error": 0, "skip": 1, "unk": 2}


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
    extends = True

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
        from lmkit.text.word_index import number_words

        text = number_words(corpus.blocks(), special=_POLICIES[options.specials], scratch=scratch)
        found = cls(vocab=text.vocab, specials=options.specials)
        tokenizer = cls.join([(found, text.counts)], options=options)
        return tokenizer, text.renumbered(tokenizer.ids_of(text.vocab))

    def extended(
        self, corpus: Corpus, *, options: TextConfig, scratch: Scratch = MEMORY
    ) -> tuple[Self, np.ndarray]:
        """Read a text once, as `learn` does, and number its new words from the last known one on."""
        from lmkit.text.word_index import number_words

        text = number_words(corpus.blocks(), special=_POLICIES[self.specials], scratch=scratch)
        vocab = self.vocab.extended(
            text.vocab, text.counts, min_count=options.min_count, vocab_size=options.vocab_size
        )
        unk = "word" if text.counts[UNK] else self.unk
        tokenizer = type(self)(vocab=vocab, unk=unk, specials=self.specials)
        return tokenizer, text.renumbered(tokenizer.ids_of(text.vocab))

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
                raise special_error(words[int(special.argmax())], "the text given")
            found = found[~special] if self.specials == "skip" else np.where(special, np.int32(UNK), found)
        return found

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Give where each word of a line stands."""
        dropped = ("<s>", "</s>") if self.specials == "skip" else ()
        return [found.span() for found in WORDS.finditer(text) if found[0] not in dropped]

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
            raise special_error(word, f"line {block.count(NEWLINE, 0, refused) + 1} of the block")
        return ids

    def settings(self) -> dict[str, Any]:
        """Give the unknown-word protocol and the rule for special words."""
        return {"unk": self.unk, "specials": self.specials}

    @classmethod
    def from_settings(cls, settings: dict[str, Any], vocab: Vocabulary) -> Self:
        """Make a tokenizer of what `settings` gave.

        Raises:
            ModelFormatError: a word holds what separates words, or a setting is unknown.
        """
        if any(mark in vocab.data for mark in (b" ", b"\t", b"\r", b"\0", b"\n\n")):
            raise ModelFormatError("vocab.txt: holds an empty word, or one with white space inside")
        tokenizer = cls(vocab=vocab, **settings)
        if tokenizer.unk not in ("word", "oov") or tokenizer.specials not in _POLICIES:
            raise ModelFormatError(f"tokenizer.json: unknown settings {settings}")
        return tokenizer
