"""Some lines of an ARPA file as n-grams: what the compiled loops read, and what they leave to Python."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lmkit.errors import ModelFormatError
from lmkit.ngram.arpa_sections import check_text, count_lines
from lmkit.ngram.growing_trie import GrowingTrie
from lmkit.ngram.kernels import arpa as kernels
from lmkit.text.corpus import PathLike
from lmkit.text.lookup import WordLookup
from lmkit.text.vocabulary import UNK
from lmkit.text.word_index import WordIndex

_NUMBER = re.compile(rb"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d{1,9})?|inf(inity)?)", re.IGNORECASE)
_TINY, _HUGE = 1e-37, 1e38  # beyond, float32s have fewer bits, or there are none
_FIELD = re.compile(rb"[^\t\n\r ]+")


@dataclass
class Entries:
    """N-grams of one order as they stand in the file, or in a part of it.

    Attributes:
        context: (m,) int64, the nodes of their contexts, -1 where there is none.
        word: (m,) int32, their last words.
        log10_prob, log10_backoff: (m,) float32.
        line: (m,) uint32, where they stand.
        orphans: (k, n) int32, the words of those without a context.
        left_out: how many were left out, and the line of the first.
        with_unk: whether any holds `<unk>`.
    """

    context: np.ndarray
    word: np.ndarray
    log10_prob: np.ndarray
    log10_backoff: np.ndarray
    line: np.ndarray
    orphans: np.ndarray
    left_out: tuple[int, int]
    with_unk: bool


def unigrams_of(path: PathLike, index: WordIndex, highest: bool, line: int, block: bytes) -> Entries:
    """Read some lines of one word each.

    Args:
        path: The file, for messages.
        index: Numbers the words, as they come.
        highest: Whether there are no longer n-grams.
        line: The number of the first line.
        block: The lines.

    Raises:
        ModelFormatError: a line is none; with its number, and what was found.
        InputError: it is not UTF-8.
    """
    check_text(path, line, block)
    data = bytearray(block)
    numbers, lines = np.empty((2, count_lines(block)), np.float32), np.empty(count_lines(block), np.int32)
    rows, bad, what = kernels.read_unigrams(np.frombuffer(data, np.uint8), *numbers, lines)
    if bad >= 0:
        raise _wrong(path, line, block, bad, 1, what)
    numbers, lines = numbers[:, :rows], lines[:rows]
    _settle(path, line, block, numbers, lines, highest=highest)
    word = index.encode(bytes(data))[np.arange(rows) + lines]  # a word a line, and every line's end
    nothing = np.empty((0, 1), np.int32)
    context, at = np.zeros(rows, np.int64), (lines + np.int64(line)).astype(np.uint32)
    return Entries(context, word, numbers[0], numbers[1], at, nothing, (0, 0), False)


def ngrams_of(
    path: PathLike,
    order: int,
    lookup: WordLookup,
    ids_of: np.ndarray,
    trie: GrowingTrie,
    highest: bool,
    line: int,
    block: bytes,
) -> Entries:
    """Read some lines of n-grams of two words and more.

    Args:
        path: The file, for messages.
        order: How many words.
        lookup: The known words; `ids_of` (words,) are their ids.
        trie: The n-grams of the order below.
        highest, line, block: See `unigrams_of`.

    Raises:
        ModelFormatError, InputError: See `unigrams_of`.
    """
    check_text(path, line, block)
    count = count_lines(block)
    ids, lines = np.empty((count, order), np.int32), np.empty(count, np.int32)
    numbers, left_out = np.empty((2, count), np.float32), np.zeros(2, np.int64)
    rows, bad, what, where = kernels.read_ngrams(
        np.frombuffer(block, np.uint8), lookup.table, lookup.hashes, lookup.words, lookup.offsets, ids_of, ids,
        *numbers, lines, left_out,
    )  # fmt: skip
    if bad >= 0:
        raise _wrong(path, line, block, bad, order, what, where)
    ids, numbers, lines = ids[:rows], numbers[:, :rows], lines[:rows]
    _settle(path, line, block, numbers, lines, highest=highest)
    context = trie.find(ids, 0, order - 1)
    return Entries(
        context=context,
        word=ids[:, -1].copy(),
        log10_prob=numbers[0],
        log10_backoff=numbers[1],
        line=(lines + np.int64(line)).astype(np.uint32),
        orphans=ids[context < 0],
        left_out=(int(left_out[0]), line + int(left_out[1])),
        with_unk=bool((ids == UNK).any()),
    )


def joined(parts: list[Entries], order: int) -> Entries:
    """Put the parts of a section together; they are given up."""

    def column(name: str, nothing: np.ndarray) -> np.ndarray:
        return np.concatenate([nothing, *(vars(part).pop(name) for part in parts)])

    count, lines = 0, []
    for part in parts:
        count += part.left_out[0]
        lines += [part.left_out[1]] if part.left_out[0] else []
    return Entries(
        context=column("context", np.empty(0, np.int64)),
        word=column("word", np.empty(0, np.int32)),
        log10_prob=column("log10_prob", np.empty(0, np.float32)),
        log10_backoff=column("log10_backoff", np.empty(0, np.float32)),
        line=column("line", np.empty(0, np.uint32)),
        orphans=column("orphans", np.empty((0, order), np.int32)),
        left_out=(count, min(lines, default=0)),
        with_unk=any(part.with_unk for part in parts),
    )


def _settle(
    path: PathLike,
    line: int,
    block: bytes,
    numbers: np.ndarray,
    lines: np.ndarray,
    *,
    highest: bool,
) -> None:
    """Read the numbers (2, m) that the compiled loop could not, and refuse those that cannot be."""
    odd = np.isnan(numbers)
    if odd.any():
        texts = block.split(b"\n")
        for which, row in np.argwhere(odd):
            fields = _FIELD.findall(texts[lines[row]])
            text = fields[0 if which == 0 else -1]
            if not _NUMBER.fullmatch(text):
                what = ("log10 of a probability", "log10 of a backoff")[which]
                raise _refused(path, line + int(lines[row]), text, f"where {what} should stand")
            numbers[which, row] = nearest_float32(text.decode())
    too_large = (numbers[0] > 0) | (numbers[1] == np.inf)
    if too_large.any():
        row = int(too_large.argmax())
        text = block.split(b"\n")[lines[row]].strip()
        raise _refused(
            path, line + int(lines[row]), text, "a probability above 1, or a backoff without a bound"
        )
    if highest:
        numbers[1] = 0  # nothing backs off from the longest n-grams


def nearest_float32(text: str) -> np.float32:
    """Give the float32 nearest to a decimal number, of two equally near the even one.

    By way of a float64, unless that lies half-way between two; near zero, where processors may flush, that is enough.

    >>> nearest_float32("-0.30103"), nearest_float32("-1e-9"), nearest_float32("-inf")
    (np.float32(-0.30103), np.float32(-1e-09), np.float32(-inf))
    """
    wide = float(text)
    with np.errstate(over="ignore"):
        near = np.float32(wide)
    for other in (np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))):
        half_way = 2 * wide == float(near) + float(other)
        if half_way and _TINY < abs(wide) < _HUGE:
            exact = Fraction(text)
            if abs(exact - Fraction(float(other))) < abs(exact - Fraction(float(near))):
                return np.float32(other)
    return near


def _wrong(
    path: PathLike, line: int, block: bytes, bad: int, order: int, what: int, where: int = 0
) -> ModelFormatError:
    """Make the error for a line that is no n-gram of its order."""
    text = block.split(b"\n")[bad].strip()
    if what == kernels.UNKNOWN:
        word = _FIELD.match(block, where)
        text = word[0] if word else text
        return _refused(path, line + bad, text, "a word that is not among the 1-grams")
    words = "a word" if order == 1 else f"{order} words"
    size = "less" if what == kernels.TOO_FEW else "more"
    return _refused(
        path, line + bad, text, f"{size} than log10 of a probability, {words} and perhaps a backoff"
    )


def _refused(path: PathLike, line: int, text: bytes, why: str) -> ModelFormatError:
    shown = text[:60].decode("utf-8", errors="replace")
    return ModelFormatError(
        f"{path}:{line}: found {shown!r}, {why}; the file is damaged, so get or write it again"
    )
