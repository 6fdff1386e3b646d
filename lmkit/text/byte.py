"""The byte tokenizer: 255 tokens, no unknown ones, any language and any file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from lmkit.config import TextConfig
from lmkit.scratch import MEMORY, Scratch
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS, UNK, Vocabulary

_BYTES = [byte for byte in range(256) if byte != 10]
_TABLE = np.zeros(256, np.int32)
_TABLE[_BYTES] = np.arange(3, 258, dtype=np.int32)
_TABLE[10] = EOS


class ByteTokenizer(Tokenizer):
    r"""Every byte but ``\n``, which is the line end, is a token; the order is that of the bytes' values.

    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.decode(tokenizer.encode("señor"))
    'señor'
    """

    kind = "byte"
    raw: ClassVar[bool] = True
    unk = "none"

    def __init__(self) -> None:
        self.vocab = Vocabulary.from_tokens(f"<0x{byte:02X}>" for byte in _BYTES)

    @classmethod
    def learn(
        cls, corpus: Corpus, *, options: TextConfig, scratch: Scratch = MEMORY
    ) -> tuple[Self, np.ndarray]:
        """There is nothing to learn."""
        tokenizer = cls()
        return tokenizer, tokenizer.encode_corpus(corpus, scratch=scratch)

    def encode(self, text: str) -> np.ndarray:
        """Give the ids of one line's UTF-8 bytes."""
        return self.encode_block(text.removesuffix("\n").encode("utf-8", errors="surrogateescape"))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Give for each byte the character that it is of."""
        sizes = (len(character.encode("utf-8", errors="surrogateescape")) for character in text)
        return [(place, place + 1) for place, size in enumerate(sizes) for _ in range(size)]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Join bytes; where they are not UTF-8, U+FFFD stands for them."""
        return b"".join(
            b"\n" if i == EOS else b"" if i <= EOS else bytes([_BYTES[int(i) - 3]]) for i in ids
        ).decode("utf-8", errors="replace")

    def bytes_of(self, index: int) -> bytes:
        """Give the byte; specials but the line end stand for nothing."""
        return b"\n" if index == EOS else bytes(_BYTES[index - 3 : index - 2]) if index > EOS else b""

    def encode_block(self, block: bytes, *, oov: int = UNK) -> np.ndarray:
        """Give the ids of whole lines."""
        return _TABLE[np.frombuffer(block, np.uint8)]

    def restrict(self, mask: np.ndarray) -> Self:
        """Keep every byte: the vocabulary is fixed."""
        return self

    @classmethod
    def from_settings(cls, settings: dict[str, Any], vocab: Vocabulary) -> Self:
        """Make the one byte tokenizer."""
        return cls()
