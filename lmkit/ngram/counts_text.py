"""Counts as text: a line for each n-gram of every order, its words, TAB, how often it occurs.

The form of SRILM's `ngram-count -write` and of many others. Words are those of ARPA files (`printable`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lmkit.config import MAX_ORDER
from lmkit.errors import InputError
from lmkit.ngram.arpa import ngram_lines, tokenizer_of
from lmkit.ngram.count_trie import CountTrie
from lmkit.ngram.counts import TextCounts
from lmkit.ngram.external_sort import Run
from lmkit.ngram.kernels import reading, writing
from lmkit.scratch import MEMORY, Scratch, release
from lmkit.text.byte import ByteTokenizer
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS, EOS, UNK
from lmkit.text.word_index import KEEP, WordIndex
from lmkit.threads import chunks


def count_pieces(counts: CountTrie, tokenizer: Tokenizer) -> Iterator[bytes]:
    """Give the bytes of such a text, piece by piece: order after order."""
    columns = counts.word, counts.first, counts.count
    for order in range(1, counts.order + 1):
        yield from ngram_lines(writing.write_count_lines, columns, counts.level, order, tokenizer)


def read_counts(path: str | os.PathLike[str], *, kind: str = "word", scratch: Scratch = MEMORY) -> TextCounts:
    """Read counts of all orders, of whole lines with `<s>` and `</s>`.

    Args:
        path: The file, plain or compressed, in any order of lines.
        kind: What its words are: `word`, `char` or `byte`.
        scratch: Where large arrays are.

    Raises:
        UsageError: there is no such file, or its words cannot be tokens of that kind.
        InputError: a line holds no count, or the counts are not complete.
    """
    corpus = Corpus.from_paths(path)
    totals, lines = np.zeros(MAX_ORDER + 1, np.int64), 0  # how often n-grams of each order were met
    for block in corpus.blocks():
        lengths, values = _split(bytearray(block), path, lines)
        totals += np.bincount(lengths, values, MAX_ORDER + 1).astype(np.int64)
        lines += len(lengths)
    order = int(np.flatnonzero(totals)[-1])
    index = WordIndex(KEEP)
    weighted = scratch.joined(_weighted_windows(corpus, path, order, index), np.int32).reshape(-1, order + 1)
    windows, weight = weighted[:, :order], weighted[:, order]
    _check_complete(path, windows, weight, totals[: order + 1], scratch)
    tokenizer = tokenizer_of(
        kind, index.vocabulary(), unk="word" if index.counts[UNK] else "oov", what="counts"
    )
    if isinstance(tokenizer, ByteTokenizer):
        ids = tokenizer.ids_of(index.vocabulary())
        for piece in scratch.pieces(windows):
            piece[:] = ids[piece]
    facts = {"sources": [str(path)]}
    return replace(TextCounts.of(tokenizer, Run(windows, weight), facts, scratch=scratch), name=str(path))


def _weighted_windows(
    corpus: Corpus, path: str | os.PathLike[str], order: int, index: WordIndex
) -> Iterator[np.ndarray]:
    """Give the windows among the n-grams of a text, numbered by `index`, each followed by its count."""
    lines = 0
    for block in corpus.blocks():
        data = bytearray(block)
        lengths, values = _split(data, path, lines)
        ids = index.encode(bytes(data))
        weighted = np.empty((len(lengths), order + 1), np.int32)
        rows, bad = reading.gather_windows(ids, lengths, values, weighted[:, :order], weighted[:, order])
        if bad >= 0:
            raise InputError(f"{path}:{lines + bad + 1}: <s> can only begin an n-gram, and </s> only end one")
        yield weighted[:rows].ravel()
        lines += len(lengths)


def _check_complete(
    path: str | os.PathLike[str],
    windows: np.ndarray,
    weight: np.ndarray,
    totals: np.ndarray,
    scratch: Scratch,
) -> None:
    """Compare the n-grams met, of each order (order + 1,), with those that follow from the windows."""
    expected = np.zeros(len(totals), np.int64)
    begun = ended = 0
    for low, high in chunks(0, len(weight)):
        some, how_often = windows[low:high], weight[low:high].astype(np.int64)
        lengths = 1 + np.cumprod(some[:, :-1] != EOS, axis=1).sum(axis=1)
        expected += np.bincount(lengths, how_often, len(totals)).astype(np.int64)
        begun += int(how_often[some[:, 0] == BOS].sum())
        ended += int(how_often[some[:, 0] == EOS].sum())
        release(windows)
    expected = np.cumsum(expected[::-1])[::-1]  # a window is an n-gram of every order up to its length
    if not 0 < begun == ended or (expected != totals)[1:].any():
        raise InputError(
            f"{path}: these are not all n-grams of whole lines ({begun:,} lines begin, {ended:,} end): every order "
            "up to the highest is needed, with <s> and </s>, and none left out for being rare (lmkit count --text, "
            "or ngram-count -write)"
        )


def _split(data: bytearray, path: str | os.PathLike[str], before: int) -> tuple[np.ndarray, np.ndarray]:
    """Take the counts off the lines; give how many words are left on each, and the counts."""
    count = data.count(b"\n")
    lengths, values = np.empty(count, np.int64), np.empty(count, np.int64)
    bad = reading.split_counts(np.frombuffer(data, np.uint8), MAX_ORDER, lengths, values)
    if bad >= 0:
        raise InputError(
            f"{path}:{before + bad + 1}: a line must hold an n-gram of at most {MAX_ORDER} words, TAB, and its count "
            f"from 1 to {(1 << 31) - 1}"
        )
    return lengths, values
