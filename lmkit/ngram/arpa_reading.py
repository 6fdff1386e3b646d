r"""Reading ARPA files of any tool: KenLM, SRILM, lmkit and others.

N-grams may stand in any order, fields be separated by tabs or spaces, backoffs be missing (they are then 1). What a
file leaves open is settled so that probabilities sum to one: an `<unk>` that it lacks gets 10^-100, as in KenLM; an
n-gram whose context or suffix it lacks is given it, without a change to any probability (`GrowingTrie`).
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np

from lmkit.errors import LmkitWarning, ModelFormatError
from lmkit.ngram.arpa import tokenizer_of
from lmkit.ngram.arpa_sections import ArpaSections, check_text, count_lines
from lmkit.ngram.growing_trie import GrowingTrie
from lmkit.ngram.kernels import arpa as kernels
from lmkit.ngram.model import NgramModel
from lmkit.progress import Progress
from lmkit.text.lookup import WordLookup
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS, EOS, SPECIALS, UNK, Vocabulary
from lmkit.text.word_index import KEEP, WordIndex
from lmkit.threads import in_order

ABSENT = -100.0  # log10 of the probability of what a file does not name
_NUMBER = re.compile(rb"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d{1,9})?|inf(inity)?)", re.IGNORECASE)
_FIELD = re.compile(rb"[^\t\n\r ]+")


@dataclass
class _Entries:
    """N-grams of one order as they stand in the file, or in a part of it.

    Attributes:
        context: (m,) int64, the nodes of their contexts, -1 where there is none.
        word: (m,) int32, their last words.
        log10_prob, log10_backoff: (m,) float32.
        line: (m,) int64, where they stand.
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


def read_arpa(
    path: str | os.PathLike[str],
    *,
    tokenizer: str = "word",
    report: Callable[[str], None] | None = None,
) -> NgramModel:
    """Read an n-gram model from an ARPA file, plain or compressed.

    Words are numbered by falling probability, equal ones by their characters, so that the order of the lines does not
    matter. A literal `<unk>` in a text is a word to the model if n-grams of two words and more hold it: then its
    training text was written so.

    Args:
        path: The file.
        tokenizer: What its words are: `word`, or `char` or `byte` for such models written by lmkit, where a space is
            U+2581 or `<0x20>`.
        report: Receives lines for the user; without it nothing is said but warnings.

    Raises:
        UsageError: there is no such file, or its words cannot be tokens of that kind.
        ModelFormatError: it is no ARPA file, or a damaged one; with file, line and what was found.
        InputError: it is not UTF-8, or its compression is damaged.
        ResourceError: there are too many n-grams.

    >>> import lmkit, tempfile
    >>> model = lmkit.train("the fox ran .\\nthe owl sat .\\n" * 9, order=2, holdout=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lmkit.write_arpa(model, f"{folder}/model.arpa")
    ...     again = read_arpa(f"{folder}/model.arpa")
    >>> lmkit.perplexity(again, "the owl ran .").logprob == lmkit.perplexity(model, "the owl ran .").logprob
    True
    """
    with Progress(["reading"], show=report is not None, unit="bytes") as progress:
        progress.stage("reading")
        sections = ArpaSections(path)
        words, found, ids_of, trie = _unigrams(sections, tokenizer)
        lookup, left_out, with_unk = WordLookup(words, literal_unk=True, special=0), [], False
        for order in range(2, len(sections.sizes) + 1):
            read = partial(_entries, path, order, lookup, ids_of, trie, order == len(sections.sizes))
            entries = _section(sections, order, read, progress)
            left_out.append(entries.left_out)
            with_unk |= entries.with_unk
            _add(path, order, trie, entries)
        sections.expect("\\end\\")
    count = sum(count for count, _ in left_out)
    if count:
        line = min(line for count, line in left_out if count)
        _warn(
            f"{path}:{line}: n-grams in which <s> is not the first word or </s> not the last are left out ({count:,}): "
            "no line of a text holds them"
        )
    if with_unk and tokenizer == "word":
        found.unk = "word"
    model = NgramModel(tokenizer=found, trie=trie.finished(), smoothing="imported")
    if report:
        if trie.supplied:
            report(
                f"{trie.supplied:,} n-grams are supplied: the file lacks them, and has others that contain them"
            )
        report("n-grams by order: " + " ".join(f"{size:,}" for size in model.trie.sizes()))
    return model


def _unigrams(sections: ArpaSections, kind: str) -> tuple[Vocabulary, Tokenizer, np.ndarray, GrowingTrie]:
    """Read the words: give them as they come, the tokenizer, the id of each (words,), and a trie of them."""
    path, index = sections.path, WordIndex(KEEP)

    def read(line: int, block: bytes) -> _Entries:
        check_text(path, line, block)
        data = bytearray(block)
        numbers, lines = np.empty((2, count_lines(block)), np.float32), np.empty(len(block), np.int32)
        rows, bad, what = kernels.read_unigrams(np.frombuffer(data, np.uint8), *numbers, lines)
        if bad >= 0:
            raise _wrong(path, line, block, bad, 1, what)
        numbers, lines = numbers[:, :rows], lines[:rows]
        _settle(path, line, block, numbers, lines, highest=len(sections.sizes) == 1)
        word = index.encode(bytes(data))[np.arange(rows) + lines]  # a word a line, and every line's end
        nothing = np.empty((0, 1), np.int32)
        context, at = np.zeros(rows, np.int64), lines + np.int64(line)
        return _Entries(context, word, numbers[0], numbers[1], at, nothing, (0, 0), False)

    entries = _section(sections, 1, read, None)
    words = index.vocabulary()
    _, once = np.unique(entries.word, return_index=True)
    if len(once) < len(entries.word):
        twice = np.setdiff1d(np.arange(len(entries.word)), once)[0]
        raise _duplicate(path, int(entries.line[twice]), words[int(entries.word[twice])])
    log10_prob, log10_backoff = np.full(len(words), ABSENT, np.float32), np.zeros(len(words), np.float32)
    log10_prob[entries.word], log10_backoff[entries.word] = entries.log10_prob, entries.log10_backoff
    known = np.bincount(entries.word, minlength=len(words)) > 0
    if not known[EOS]:
        raise ModelFormatError(
            f"{path}: has no 1-gram </s>, which lmkit predicts at the end of every line; train with it (SRILM: without "
            "-no-eos)"
        )
    if not known[BOS]:
        _warn(f"{path}: has no 1-gram <s>; a line begins as if nothing were before it")
    unk = UNK if known[UNK] else words.id("<UNK>")
    if unk == UNK and not known[UNK]:
        _warn(
            f"{path}: has no <unk>; unknown words get the probability 10^{ABSENT:.0f}. Mind the perplexity without "
            "them, or train with it (SRILM: -unk)"
        )
    others = np.array([number for number in range(len(SPECIALS), len(words)) if number != unk], np.int64)
    others = others[most_likely([words.tokens[number] for number in others], log10_prob[others])]
    ordered = Vocabulary.from_tokens(words.tokens[number] for number in others)
    tokenizer = tokenizer_of(kind, ordered, unk="oov", what="n-grams")
    ids = tokenizer.ids_of(ordered) if kind == "byte" else np.arange(len(ordered), dtype=np.int32)
    ids_of = np.zeros(len(words), np.int32)
    ids_of[[UNK, BOS, EOS, *others]] = ids
    of_id = np.full((2, len(tokenizer.vocab)), [[ABSENT], [0]], np.float32)
    of_id[:, ids] = log10_prob[[unk, BOS, EOS, *others]], log10_backoff[[unk, BOS, EOS, *others]]
    return words, tokenizer, ids_of, GrowingTrie(of_id[0], of_id[1])


def most_likely(words: Sequence[str], log10_prob: np.ndarray) -> np.ndarray:
    """Give the places of words by falling probability (V,), equal ones by their characters.

    >>> most_likely(["owl", "fox", "the"], np.array([-2, -2, -1])).tolist()
    [2, 1, 0]
    """
    by_name = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    return by_name[np.argsort(-log10_prob[by_name], kind="stable")]


def _section(
    sections: ArpaSections, order: int, read: Callable[[int, bytes], _Entries], progress: Progress | None
) -> _Entries:
    """Read the n-grams of one order, on all cores where there is a progress to show, and count them."""
    expected = sections.sizes[order - 1]
    parts = []
    if expected or sections.comes(f"\\{order}-grams:"):
        sections.expect(f"\\{order}-grams:")
        if progress is None:  # words are numbered as they come
            parts = [read(line, block) for line, block in sections.section()]
        else:
            for part in in_order(lambda piece: read(*piece), sections.section()):
                parts.append(part)
                progress.advance(0)
    entries = _joined(parts, order)
    count = len(entries.word) + entries.left_out[0]
    if count != expected:
        why = "was cut short" if sections.ended() else "is damaged"
        raise ModelFormatError(
            f"{sections.path}:{sections.line}: the header says {expected:,} {order}-grams, but there are {count:,}; "
            f"the file {why}, so get or write it again"
        )
    return entries


def _entries(
    path: str | os.PathLike[str],
    order: int,
    lookup: WordLookup,
    ids_of: np.ndarray,
    trie: GrowingTrie,
    highest: bool,
    line: int,
    block: bytes,
) -> _Entries:
    """Read some lines of n-grams of two words and more."""
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
    return _Entries(
        context=context,
        word=ids[:, -1].copy(),
        log10_prob=numbers[0],
        log10_backoff=numbers[1],
        line=lines + np.int64(line),
        orphans=ids[context < 0],
        left_out=(int(left_out[0]), line + int(left_out[1])),
        with_unk=bool((ids == UNK).any()),
    )


def _joined(parts: list[_Entries], order: int) -> _Entries:
    """Put the parts of a section together; they are given up."""

    def column(name: str, nothing: np.ndarray) -> np.ndarray:
        return np.concatenate([nothing, *(vars(part).pop(name) for part in parts)])

    count, lines = 0, []
    for part in parts:
        count += part.left_out[0]
        lines += [part.left_out[1]] if part.left_out[0] else []
    return _Entries(
        context=column("context", np.empty(0, np.int64)),
        word=column("word", np.empty(0, np.int32)),
        log10_prob=column("log10_prob", np.empty(0, np.float32)),
        log10_backoff=column("log10_backoff", np.empty(0, np.float32)),
        line=column("line", np.empty(0, np.int64)),
        orphans=column("orphans", np.empty((0, order), np.int32)),
        left_out=(count, min(lines, default=0)),
        with_unk=any(part.with_unk for part in parts),
    )


def _add(path: str | os.PathLike[str], order: int, trie: GrowingTrie, entries: _Entries) -> None:
    """Put a section into the trie, its missing contexts first."""
    if len(entries.orphans):
        contexts = entries.orphans[:, :-1]
        moved = trie.supply(contexts)
        lost = entries.context < 0
        entries.context = moved[entries.context]
        entries.context[lost] = trie.find(contexts)
    twice = trie.add(entries.context, entries.word, entries.log10_prob, entries.log10_backoff)
    if twice >= 0:
        raise _duplicate(path, int(entries.line[twice]), f"{order}-gram")


def _settle(
    path: str | os.PathLike[str],
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

    By way of a float64, unless that lies half-way between two.

    >>> nearest_float32("-0.30103"), nearest_float32("-1e-9"), nearest_float32("-inf")
    (np.float32(-0.30103), np.float32(-1e-09), np.float32(-inf))
    """
    wide = float(text)
    with np.errstate(over="ignore"):
        near = np.float32(wide)
    for other in (np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))):
        if np.isfinite(near) and np.isfinite(other) and 2 * wide == float(near) + float(other):
            exact = Fraction(text)
            if abs(exact - Fraction(float(other))) < abs(exact - Fraction(float(near))):
                return np.float32(other)
    return near


def _wrong(
    path: str | os.PathLike[str], line: int, block: bytes, bad: int, order: int, what: int, where: int = 0
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


def _refused(path: str | os.PathLike[str], line: int, text: bytes, why: str) -> ModelFormatError:
    shown = text[:60].decode("utf-8", errors="replace")
    return ModelFormatError(
        f"{path}:{line}: found {shown!r}, {why}; the file is damaged, so get or write it again"
    )


def _duplicate(path: str | os.PathLike[str], line: int, what: str) -> ModelFormatError:
    return ModelFormatError(
        f"{path}:{line}: the {what} of this line stands in the file before; which one is meant cannot be known, so "
        "remove one of them"
    )


def _warn(message: str) -> None:
    warnings.warn(message, LmkitWarning, stacklevel=3)
