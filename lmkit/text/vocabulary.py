"""The vocabulary: tokens in the order of their ids, kept as one block of bytes.

A million words open at once, because nothing is made of them until it is asked for: the file is read whole, the
places of the line ends found in one pass, and the dictionary from token to id built at the first look-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lmkit.errors import InputError, ModelFormatError, UsageError
from lmkit.files import write_text

UNK, BOS, EOS = 0, 1, 2
SPECIALS = ("<unk>", "<s>", "</s>")
SPACES = "\0\t\n\r "  # what separates words
SEPARATORS = re.compile(f"[{SPACES}]+")
WORDS = re.compile(f"[^{SPACES}]+")


class Vocabulary:
    """Tokens and their ids: 0 `<unk>`, 1 `<s>`, 2 `</s>`, then the others by falling frequency, text after text.

    >>> vocab = Vocabulary.from_tokens(["the", "fox"])
    >>> len(vocab), vocab[4], vocab.id("fox"), vocab.id("wolf")
    (5, 'fox', 4, 0)
    """

    def __init__(self, data: bytes) -> None:
        """Take the tokens, specials included, each ended by a line end."""
        self.data = data
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
        self.offsets = np.concatenate([[0], ends + 1]).astype(
            np.int64
        )  # token i is data[offsets[i] : offsets[i+1] - 1]

    @classmethod
    def from_tokens(cls, tokens: Iterable[str]) -> Vocabulary:
        """Make a vocabulary of tokens in id order; the specials are put before them."""
        return cls("".join(f"{token}\n" for token in (*SPECIALS, *tokens)).encode())

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read a model's `vocab.txt`.

        Raises:
            ModelFormatError: it cannot be read, or the specials are not where they belong.
        """
        try:
            data = path.read_bytes()
            data.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFormatError(f"{path}: cannot be read: {error}") from error
        if not data.startswith("".join(f"{token}\n" for token in SPECIALS).encode()) or not data.endswith(
            b"\n"
        ):
            raise ModelFormatError(f"{path}: must begin with {', '.join(SPECIALS)}, a token a line")
        return cls(data)

    def write(self, path: Path) -> None:
        """Write one token a line, in id order."""
        write_text(path, self.data.decode("utf-8"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"id {index} is outside the vocabulary of {len(self)} tokens")
        return self.data[self.offsets[index] : self.offsets[index + 1] - 1].decode("utf-8")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.data == other.data

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def tokens(self) -> list[str]:
        """Every token, in id order."""
        return self.data.decode("utf-8").split("\n")[:-1]

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every token."""
        return {token: index for index, token in enumerate(self.tokens)}

    def id(self, token: str) -> int:
        """Give the id of a token, 0 (`<unk>`) for one that is not known."""
        return self.ids.get(token, UNK)

    def keep(self, mask: np.ndarray) -> Vocabulary:
        """Give the vocabulary of those tokens whose entry in the boolean `mask` (V,) is true."""
        return Vocabulary.from_tokens(self[int(index)] for index in np.flatnonzero(mask)[len(SPECIALS) :])

    def extended(
        self, other: Vocabulary, counts: np.ndarray, *, min_count: int, vocab_size: int | None
    ) -> Vocabulary:
        """Give this vocabulary, every id as it is, and behind it what another one has beside it.

        Args:
            other: Tokens of a new text.
            counts: (V,) how often each of them occurs.
            min_count: Leave out new tokens rarer than this.
            vocab_size: How many tokens there may be, those of this vocabulary included; the most frequent are added.

        >>> old, new = Vocabulary.from_tokens(["the", "fox"]), Vocabulary.from_tokens(["owl", "the", "elk"])
        >>> old.extended(new, np.array([0, 0, 2, 1, 5, 3]), min_count=2, vocab_size=None).tokens[3:]
        ['the', 'fox', 'elk']
        """
        new = [index for index, token in enumerate(other.tokens) if token not in self.ids]
        tokens = [other.tokens[index] for index in new]
        room = None if vocab_size is None else max(0, vocab_size + len(SPECIALS) - len(self))
        kept = most_frequent(tokens, counts[new], min_count=min_count, vocab_size=room)
        return Vocabulary.from_tokens([*self.tokens[len(SPECIALS) :], *(tokens[i] for i in kept.tolist())])


def most_frequent(
    tokens: Sequence[str], counts: np.ndarray, *, min_count: int, vocab_size: int | None
) -> np.ndarray:
    """Give the places of the tokens to keep, by falling frequency; of equal ones by their characters.

    So a vocabulary depends on what a text says, not on the order of its lines.

    >>> most_frequent(["owl", "fox", "elk", "the"], np.array([1, 1, 2, 5]), min_count=1, vocab_size=3).tolist()
    [3, 2, 1]
    """
    by_name = np.array(sorted(range(len(tokens)), key=tokens.__getitem__), np.int64)
    order = by_name[np.argsort(-counts[by_name], kind="stable")]
    return order[counts[order] >= max(min_count, 1)][:vocab_size]


def read_word_list(path: Path) -> list[str]:
    """Read the words of a user's file, separated as the words of a text; specials and repetitions are dropped.

    Raises:
        UsageError: there is no such file.
        InputError: it holds no words, or is not UTF-8.
    """
    try:
        words = [word for word in SEPARATORS.split(path.read_text(encoding="utf-8-sig")) if word]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read as a word list: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as a word list: {error}") from error
    words = [word for word in dict.fromkeys(words) if word not in SPECIALS]
    if not words:
        raise InputError(f"{path}: holds no words")
    return words


def special_error(word: str, where: str) -> InputError:
    """Make the error for a word that marks where a line begins or ends."""
    name = next((special for special in SPECIALS if special.startswith(word)), word)
    return InputError(
        f"{where}: the text holds the special word {name}; it marks where a line begins or ends and cannot be a "
        "word. Remove it, or train with --specials skip (drop it) or unk (an unknown word)"
    )
