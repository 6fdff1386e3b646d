"""Counts as text: a line for each n-gram of every order, its words, TAB, how often it occurs.

The form of SRILM's `ngram-count -write` and of many others. Words are those of ARPA files (`printable`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lmkit.errors import InputError, UsageError
from lmkit.files import atomic_file
from lmkit.ngram.arpa import ngram_lines, unprintable
from lmkit.ngram.counting import Counts
from lmkit.ngram.counts import TextCounts
from lmkit.ngram.external_sort import Run
from lmkit.ngram.kernels import reading, writing
from lmkit.text.byte import ByteTokenizer
from lmkit.text.character import CharTokenizer
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS, EOS, UNK, Vocabulary
from lmkit.text.word import WordIndex, WordTokenizer


def write_counts(counts: Counts, tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write counts as text, compressed if the name ends in `.gz`.

    Raises:
        ResourceError: the file cannot be written.
    """
    with atomic_file(Path(path)) as file:
        for piece in count_pieces(counts, tokenizer):
            file.write(piece)


def count_pieces(counts: Counts, tokenizer: Tokenizer) -> Iterator[bytes]:
    """Give the bytes of such a text, piece by piece: order after order."""
    columns = counts.word, counts.first, counts.count
    for order in range(1, counts.order + 1):
        yield from ngram_lines(writing.write_count_lines, columns, counts.level, order, tokenizer.vocab)


def read_counts(path: str | os.PathLike[str], *, kind: str = "word") -> TextCounts:
    """Read counts of all orders, of whole lines with `<s>` and `</s>`.

    Args:
        path: The file, plain or compressed, in any order of lines.
        kind: What its words are: `word`, `char` or `byte`.

    Raises:
        UsageError: there is no such file, or its words cannot be tokens of that kind.
        InputError: a line holds no count, or the counts are not complete.
    """
    corpus = Corpus.from_paths(path)
    order, lines = 0, 0
    for block in corpus.blocks():
        lengths, _ = _split(bytearray(block), path, lines)
        order, lines = max(order, int(lengths.max())), lines + len(lengths)
    index = WordIndex(Vocabulary.from_tokens([]), "keep", literal_unk=True, grow=True)
    pieces, lines = [], 0
    for block in corpus.blocks():
        data = bytearray(block)
        lengths, values = _split(data, path, lines)
        ids = index.encode(bytes(data), UNK)
        windows, weight = np.empty((len(lengths), order), np.int32), np.empty(len(lengths), np.int32)
        rows, bad = reading.gather_windows(ids, lengths, values, windows, weight)
        if bad >= 0:
            raise InputError(f"{path}:{lines + bad + 1}: <s> can only begin an n-gram, and </s> only end one")
        pieces.append((windows[:rows].copy(), weight[:rows].copy()))
        lines += len(lengths)
    windows, weight = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    begun, ended = (int(weight[windows[:, 0] == token].sum(dtype=np.int64)) for token in (BOS, EOS))
    if not 0 < begun == ended:
        raise InputError(
            f"{path}: {begun:,} lines begin and {ended:,} end; counts of every order up to {order} are needed, with "
            "<s> and </s>, and none left out for being rare (lmkit count --text, or ngram-count -write)"
        )
    tokenizer = _tokenizer(kind, index.vocabulary(), unk="word" if index.counts[UNK] else "oov")
    ids = tokenizer.ids_of(unprintable(index.vocabulary()) if kind == "char" else index.vocabulary())
    return TextCounts(tokenizer, Run(ids[windows], weight), {"sources": [str(path)]})


def _tokenizer(kind: str, words: Vocabulary, *, unk: str) -> Tokenizer:
    if kind == "word":
        return WordTokenizer(vocab=words, unk=unk)
    if kind == "byte":
        return ByteTokenizer()
    if kind == "char":
        characters = unprintable(words)
        if any(len(character) != 1 for character in characters.tokens[3:]):
            raise UsageError("these are not counts of characters: some n-grams hold longer words")
        return CharTokenizer(vocab=characters)
    raise UsageError(
        f"counts in a text can be those of words, characters or bytes, not of the tokenizer {kind}"
    )


def _split(data: bytearray, path: str | os.PathLike[str], before: int) -> tuple[np.ndarray, np.ndarray]:
    """Take the counts off the lines; give how many words are left on each, and the counts."""
    count = data.count(b"\n")
    lengths, values = np.empty(count, np.int64), np.empty(count, np.int64)
    bad = reading.split_counts(np.frombuffer(data, np.uint8), lengths, values)
    if bad >= 0:
        raise InputError(
            f"{path}:{before + bad + 1}: a line must hold an n-gram, TAB and its count from 1 to {(1 << 31) - 1}"
        )
    return lengths, values
