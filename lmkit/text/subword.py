"""Byte-level BPE by Hugging Face's tokenizers (extra `subword`): no unknown words, spaces kept exactly.

Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lmkit.config import TextConfig
from lmkit.errors import ModelFormatError, missing_package
from lmkit.scratch import MEMORY, Scratch
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS, SPECIALS, UNK, Vocabulary

if TYPE_CHECKING:
    import tokenizers

DEFAULT_SIZE = 8000
_SAMPLE_BYTES = 64 << 20  # merges settle long before; training on more only costs memory

# Byte-level subwords are written with a printable character for each byte: its own where that is one, else the next
# free one from 256 on (Radford et al. 2019).
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + i): byte for i, byte in enumerate(_OTHERS)}


class BpeTokenizer(Tokenizer):
    """Subwords learnt by merging the most frequent pairs of neighbours, from bytes up."""

    kind = "bpe"
    options = frozenset({"min_count", "vocab_size"})
    unk = "none"

    def __init__(self, *, model: tokenizers.Tokenizer) -> None:
        self.model = model
        entries = sorted(model.get_vocab(with_added_tokens=True).items(), key=lambda entry: entry[1])
        if [index for _, index in entries] != list(range(len(entries))) or len(entries) < len(SPECIALS):
            raise ModelFormatError("tokenizer.json: its ids are not 0, 1, 2, ... without a gap")
        self.vocab = Vocabulary.from_tokens(token for token, _ in entries[len(SPECIALS) :])

    @classmethod
    def learn(
        cls, corpus: Corpus, *, options: TextConfig, scratch: Scratch = MEMORY
    ) -> tuple[Self, np.ndarray]:
        """Learn the merges on the first 64 MB, then encode everything."""
        library = _library()
        model = library.Tokenizer(library.models.BPE())
        model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=(options.vocab_size or DEFAULT_SIZE) + len(SPECIALS),
            min_frequency=max(options.min_count, 2),
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )

        def sample() -> Any:
            read = 0
            for block in corpus.blocks():
                yield from block.decode().split("\n")
                if (read := read + len(block)) > _SAMPLE_BYTES:
                    return

        model.train_from_iterator(sample(), trainer)
        tokenizer = cls(model=_plain(model))
        return tokenizer, tokenizer.encode_corpus(corpus, scratch=scratch)

    def encode(self, text: str) -> np.ndarray:
        """Give the ids of one line."""
        return np.array(self.model.encode(text.removesuffix("\n"), add_special_tokens=False).ids, np.int32)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Give for each subword the characters that it has bytes of."""
        return list(self.model.encode(text, add_special_tokens=False).offsets)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Join subwords; where the bytes are not UTF-8, U+FFFD stands for them."""
        lines: list[list[int]] = [[]]
        for index in ids:
            if index == EOS:
                lines.append([])
            elif index > EOS:
                lines[-1].append(int(index))
        return "\n".join(self.model.decode(line, skip_special_tokens=False) for line in lines)

    def bytes_of(self, index: int) -> bytes:
        """Give the bytes of a subword; specials but the line end stand for nothing."""
        if index <= EOS:
            return b"\n" if index == EOS else b""
        token = self.vocab[index]
        plain = all(character in _BYTE_OF for character in token)
        return bytes(_BYTE_OF[character] for character in token) if plain else token.encode()

    def encode_block(self, block: bytes, *, oov: int = UNK) -> np.ndarray:
        """Give the ids of whole lines, many lines at a time on all cores."""
        lines = block.decode("utf-8").split("\n")[:-1]
        encodings = self.model.encode_batch_fast(lines, add_special_tokens=False)
        lengths = np.array([len(encoding) for encoding in encodings])
        ids = np.full(lengths.sum() + len(lines), EOS, np.int32)
        inside = np.ones(len(ids), bool)
        inside[np.cumsum(lengths + 1) - 1] = False
        ids[inside] = np.fromiter((index for encoding in encodings for index in encoding.ids), np.int32)
        return ids

    def settings(self) -> dict[str, Any]:
        """Give Hugging Face's own description."""
        return {"model": json.loads(self.model.to_str())}

    @classmethod
    def from_settings(cls, settings: dict[str, Any], vocab: Vocabulary) -> Self:
        """Make a tokenizer of Hugging Face's description, and check it against the vocabulary file."""
        library = _library()
        try:
            model = library.Tokenizer.from_str(json.dumps(settings["model"]))
        except BaseException as error:  # the library's own panic is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise ModelFormatError(
                f"tokenizer.json: Hugging Face's tokenizers cannot read it: {error}"
            ) from None
        tokenizer = cls(model=_plain(model))
        if tokenizer.vocab != vocab:
            raise ModelFormatError(
                "tokenizer.json and vocab.txt do not hold the same tokens; are they of one model?"
            )
        return tokenizer

    def restrict(self, mask: np.ndarray) -> Self:
        """Keep every subword: the merges need them."""
        return self


def _plain(model: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Read `<s>` in a text as characters, not as the special token."""
    model.encode_special_tokens = True
    return model


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise missing_package("tokenizers", "subword", "the bpe tokenizer") from None
    return tokenizers
