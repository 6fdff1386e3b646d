"""ARPA files: the exchange format of n-gram models, read by KenLM, SRILM, Kaldi and every decoder.

A header with the number of n-grams of each order, then a section for each: log10 probability, TAB, the words, TAB,
log10 backoff (left out for the highest order). Numbers are written in the fewest digits that give the same float32.
Words may hold no white space, so a model of characters writes the space as U+2581, as subword tools do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.errors import UsageError
from lmkit.files import atomic_file
from lmkit.ngram.kernels import writing
from lmkit.ngram.model import NgramModel
from lmkit.text.byte import ByteTokenizer
from lmkit.text.character import CharTokenizer
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import SPECIALS, UNK, Vocabulary
from lmkit.text.word import WordTokenizer
from lmkit.threads import chunks, in_order

_BUFFER_BYTES = 1 << 24
_NUMBERS = 48  # bytes that two numbers and the separators take at most
_ESCAPES = {
    " ": "\u2581",
    "\u2581": "<U+2581>",
    "\t": "<0x09>",
    "\r": "<0x0D>",
    "\0": "<0x00>",
    "\v": "<0x0B>",
    "\f": "<0x0C>",
}


def write_arpa(model: NgramModel, path: str | os.PathLike[str]) -> None:
    """Write a model as an ARPA file, compressed if the name ends in `.gz`.

    Raises:
        ResourceError: the file cannot be written.
    """
    with atomic_file(Path(path)) as file:
        for piece in arpa_pieces(model):
            file.write(piece)


def arpa_pieces(model: NgramModel) -> Iterator[bytes]:
    """Give the bytes of an ARPA file, piece by piece."""
    trie = model.trie
    sizes = "".join(f"ngram {n}={size}\n" for n, size in enumerate(trie.sizes(), start=1))
    yield f"\\data\\\n{sizes}".encode()
    for order in range(1, trie.order + 1):
        yield f"\n\\{order}-grams:\n".encode()
        yield from ngram_lines(writing.write_arpa_lines, trie.columns, trie.level, order, model.tokenizer)
    yield b"\n\\end\\\n"


def ngram_lines(
    kernel: Callable[..., int], columns: Sequence[Any], level: np.ndarray, order: int, tokenizer: Tokenizer
) -> Iterator[bytes]:
    """Write the n-grams of one order, a line each, on all cores.

    Args:
        kernel: called as kernel(begin, end, order, level, *columns, names, offsets, out), see `kernels.writing`.
        columns: what is known of each n-gram.
        level: where each order begins.
        order: which.
        tokenizer: whose words they hold.
    """
    shown = printable(tokenizer)
    names = np.frombuffer(shown.data, np.uint8)
    per_line = order * int(np.diff(shown.offsets).max()) + _NUMBERS

    def write(nodes: tuple[int, int]) -> bytes:
        begin, end = nodes
        out = np.empty((end - begin) * per_line, np.uint8)
        return out[: kernel(begin, end, order, level, *columns, names, shown.offsets, out)].tobytes()

    step = max(_BUFFER_BYTES // per_line, 1)
    return in_order(write, chunks(int(level[order - 1]), int(level[order]), step))


def printable(tokenizer: Tokenizer) -> Vocabulary:
    """Give a vocabulary without white space inside its tokens: words have none."""
    vocab = tokenizer.vocab
    if tokenizer.joiner:
        return vocab
    table = str.maketrans(_ESCAPES)
    return Vocabulary("".join(f"{token.translate(table)}\n" for token in vocab.tokens).encode())


def unprintable(vocab: Vocabulary) -> Vocabulary:
    """Give a vocabulary whose tokens are what `printable` wrote them for."""
    meant = {mark: token for token, mark in _ESCAPES.items()}
    return Vocabulary("".join(f"{meant.get(token, token)}\n" for token in vocab.tokens).encode())


def tokenizer_of(kind: str, words: Vocabulary, *, unk: str, what: str) -> Tokenizer:
    """Give the tokenizer whose tokens a text names, in the words of ARPA files.

    Args:
        kind: `word`, `char` or `byte`; the vocabulary of the last is fixed, and need not be in the order of `words`.
        words: The words.
        unk: What `<unk>` is in a text of words; see `Tokenizer`.
        what: What the text holds, for messages.

    Raises:
        UsageError: the words cannot be tokens of that kind.
    """
    if kind == "word":
        return WordTokenizer(vocab=words, unk=unk)
    if kind == "byte":
        tokenizer = ByteTokenizer()
        if (tokenizer.ids_of(words)[len(SPECIALS) :] == UNK).any():
            raise UsageError(f"these are not {what} of bytes: some are of other words than <0x00> to <0xFF>")
        return tokenizer
    if kind == "char":
        characters = unprintable(words)
        if any(len(character) != 1 for character in characters.tokens[len(SPECIALS) :]):
            raise UsageError(f"these are not {what} of characters: some are of longer words")
        return CharTokenizer(vocab=characters)
    raise UsageError(
        f"{what} in a text can be those of words, characters or bytes, not of the tokenizer {kind}"
    )
