"""What every tokenizer does: learn from text, text to ids, ids to text, and whole files to one array of ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lmkit.config import TextConfig
from lmkit.errors import ModelFormatError, UsageError
from lmkit.json_text import read_json, write_json
from lmkit.registry import Registry
from lmkit.scratch import MEMORY, Scratch
from lmkit.text.corpus import Corpus
from lmkit.text.vocabulary import BOS, EOS, SPECIALS, UNK, Vocabulary

TOKENIZERS = Registry(
    "lmkit.tokenizers",
    "tokenizer",
    {
        "word": "lmkit.text.word:WordTokenizer",
        "char": "lmkit.text.character:CharTokenizer",
        "byte": "lmkit.text.byte:ByteTokenizer",
        "bpe": "lmkit.text.subword:BpeTokenizer",
    },
)


class Tokenizer(ABC):
    """Text to ids and back.

    Attributes:
        kind: the name in the registry.
        raw: whether it takes any bytes, not UTF-8 text alone.
        joiner: what stands between two tokens of a text.
        vocab: the tokens.
        options: the fields of `TextConfig` that it takes.
        extends: whether words can be added to its vocabulary.
        unk: what an unknown word is: `word` (the training text wrote `<unk>`, and it counts as a word there and
            here), `oov` (it never did), `none` (there are none: every text can be written, the vocabulary is fixed).
        specials: what a literal `<s>` or `</s>` is: `error`, `skip`, `unk`.
    """

    kind: ClassVar[str]
    raw: ClassVar[bool] = False
    joiner: ClassVar[str] = ""
    options: ClassVar[frozenset[str]] = frozenset()
    extends: ClassVar[bool] = False
    vocab: Vocabulary
    unk: str = "oov"
    specials: str = "error"

    @classmethod
    def reads(cls, corpus: Corpus, specials: str = "error") -> Corpus:
        """Give the corpus under this kind's rules about bytes and special words."""
        return Corpus(corpus.sources, raw=cls.raw)

    @classmethod
    @abstractmethod
    def learn(
        cls, corpus: Corpus, *, options: TextConfig, scratch: Scratch = MEMORY
    ) -> tuple[Self, np.ndarray]:
        """Learn a vocabulary from a text, and give the text's ids (T,) int32 as `encode_corpus` would."""

    def extended(
        self, corpus: Corpus, *, options: TextConfig, scratch: Scratch = MEMORY
    ) -> tuple[Self, np.ndarray]:
        """Add the words of another text behind those that are known, and give that text's ids (T,) int32.

        The ids of known words stay. `options` says which words are added: see `Vocabulary.extended`.

        Raises:
            UsageError: the vocabulary of this kind is fixed.
        """
        raise UsageError(f"the vocabulary of the tokenizer {self.kind} is fixed; no words can be added to it")

    @classmethod
    def join(cls, parts: Sequence[tuple[Self, np.ndarray]], *, options: TextConfig) -> Self:
        """Give the tokenizer that would have been learnt from several texts joined.

        Args:
            parts: for each text its tokenizer, and how often each token occurs (V,).
            options: what is to be kept.

        Raises:
            UsageError: this kind cannot, because what it learns is more than a list of tokens.
        """
        first = parts[0][0]
        if any(
            tokenizer.settings() != first.settings() or tokenizer.vocab != first.vocab
            for tokenizer, _ in parts
        ):
            raise UsageError(
                f"counts of different {cls.kind} tokenizers cannot be added: they cut the same text differently"
            )
        return first

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Give the ids (T,) int32 of one line; what is unknown becomes 0. No line end is added."""

    @abstractmethod
    def spans(self, text: str) -> list[tuple[int, int]]:
        """Give for each token of one line which characters it is: the first, and the one behind the last."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        r"""Give the text of ids; a line end (2) becomes ``\n``."""

    def bytes_of(self, index: int) -> bytes:
        """Give what a token stands for inside a text; `<s>` stands for nothing."""
        return b"" if index == BOS else b"\n" if index == EOS else self.vocab[index].encode()

    @abstractmethod
    def encode_block(self, block: bytes, *, oov: int = UNK) -> np.ndarray:
        """Give the ids of whole lines, `</s>` at each line end; what is unknown becomes `oov`."""

    def encode_blocks(self, blocks: Iterable[bytes], *, oov: int = UNK) -> Iterator[np.ndarray]:
        """Give the ids of each block."""
        for block in blocks:
            yield self.encode_block(block, oov=oov)

    def encode_corpus(self, corpus: Corpus, *, scratch: Scratch = MEMORY) -> np.ndarray:
        """Give the ids (T,) int32 of a whole text, `</s>` at each line end."""
        return scratch.joined(self.encode_blocks(corpus.blocks()), np.int32)

    def encode_lines(self, lines: Iterable[str]) -> np.ndarray:
        """Give the ids of several lines, `</s>` at each line end.

        Raises:
            UsageError: a line holds a line end.
        """
        lines = list(lines)
        if any("\n" in line for line in lines):
            raise UsageError("a line holds a line end; give the lines one by one: text.splitlines()")
        parts = [np.append(self.encode(line), np.int32(EOS)) for line in lines]
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def settings(self) -> dict[str, Any]:
        """Give what is needed beside the vocabulary to make this tokenizer again."""
        return {"unk": self.unk}

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: dict[str, Any], vocab: Vocabulary) -> Self:
        """Make a tokenizer of what `settings` gave."""

    def ids_of(self, other: Vocabulary) -> np.ndarray:
        """Give the id of each token (V,) int32 of another vocabulary, 0 for one that is not known."""
        ids = self.vocab.ids
        return np.array([ids.get(token, UNK) for token in other.tokens], np.int32)

    def restrict(self, mask: np.ndarray) -> Self:
        """Give a tokenizer that knows only the tokens whose entry in `mask` (V,) is true."""
        return self.from_settings(self.settings(), self.vocab.keep(mask))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `vocab.txt`."""
        write_json(folder / "tokenizer.json", {"kind": self.kind, **self.settings()})
        self.vocab.write(folder / "vocab.txt")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a model folder.

    Raises:
        ModelFormatError: a file is missing or damaged.
    """
    settings = read_json(folder / "tokenizer.json")
    if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
        raise ModelFormatError(f"{folder / 'tokenizer.json'}: names no kind of tokenizer")
    kind = settings.pop("kind")
    try:
        kind_class: type[Tokenizer] = TOKENIZERS[kind]
    except UsageError as error:
        raise ModelFormatError(f"{folder / 'tokenizer.json'}: {error}") from None
    try:
        tokenizer = kind_class.from_settings(settings, Vocabulary.read(folder / "vocab.txt"))
    except (KeyError, TypeError) as error:
        raise ModelFormatError(
            f"{folder / 'tokenizer.json'}: wrong settings for {kind!r}: {error}"
        ) from error
    return tokenizer


def joint_counts(parts: Sequence[tuple[Tokenizer, np.ndarray]]) -> tuple[list[str], np.ndarray]:
    """Give the tokens of several vocabularies but the specials, each once, and the sums of their counts."""
    if len(parts) == 1:
        tokenizer, counts = parts[0]
        return tokenizer.vocab.tokens[len(SPECIALS) :], counts[len(SPECIALS) :]
    places: dict[str, int] = {}
    for tokenizer, _ in parts:
        for token in tokenizer.vocab.tokens[len(SPECIALS) :]:
            places.setdefault(token, len(places))
    total = np.zeros(len(places), np.int64)
    for tokenizer, counts in parts:
        at = [places[token] for token in tokenizer.vocab.tokens[len(SPECIALS) :]]
        total[at] += counts[len(SPECIALS) :]
    return list(places), total


# Scripts written without spaces between words, as ranges of code points.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0x20000, 0x3FFFF),
)


def suitable_tokenizer(corpus: Corpus) -> str:
    """Choose a tokenizer by the beginning of a text: characters for scripts without spaces, words for others.

    A text in such a script that someone has cut into words already (its words are short) is read as words.

    >>> suitable_tokenizer(Corpus.from_text("the old fox"))
    'word'
    >>> suitable_tokenizer(Corpus.from_text("老狐狸走过了结冰的河"))
    'char'
    """
    sample = next(corpus.blocks(1 << 16)).decode("utf-8", errors="ignore")[: 1 << 16]
    points = np.frombuffer("".join(sample.split()).encode("utf-32-le"), np.uint32)
    unspaced = sum(int(((points >= low) & (points <= high)).sum()) for low, high in _UNSPACED)
    words = max(len(sample.split()), 1)
    return "char" if 2 * unspaced > len(points) and len(points) > 4 * words else "word"


def choose_tokenizer(corpus: Corpus, config: TextConfig) -> tuple[type[Tokenizer], TextConfig]:
    """Settle `auto` by the text, and check the options; see `check_options`."""
    if config.tokenizer == "auto":
        config = replace(config, tokenizer=suitable_tokenizer(corpus))
    kind: type[Tokenizer] = TOKENIZERS[config.tokenizer]
    check_options(kind, config)
    return kind, config


def check_options(kind: type[Tokenizer], config: TextConfig) -> None:
    """Refuse options that a tokenizer does not have, or that contradict each other.

    Raises:
        UsageError: which, and what it has.
    """
    for f in fields(TextConfig):
        if f.name != "tokenizer" and f.name not in kind.options and getattr(config, f.name) != f.default:
            known = ", ".join(sorted(kind.options)) or "none"
            raise UsageError(f"the tokenizer {kind.kind} has no option {f.name}; it has {known}")
    if config.vocab is not None and (config.min_count > 1 or config.vocab_size is not None):
        raise UsageError(
            "vocab says which words there are; min_count and vocab_size cannot choose among them"
        )
