r"""Reading ARPA files of any tool: KenLM, SRILM, lmkit and others.

N-grams may stand in any order, fields be separated by tabs or spaces, backoffs be missing (they are then 1). What a
file leaves open is settled so that probabilities sum to one: an `<unk>` that it lacks gets 10^-100, as in KenLM; an
n-gram whose context or suffix it lacks is given it, without a change to any probability (`GrowingTrie`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from lmkit.errors import LmkitWarning, ModelFormatError
from lmkit.ngram.arpa import tokenizer_of
from lmkit.ngram.arpa_lines import Entries, joined, ngrams_of, unigrams_of
from lmkit.ngram.arpa_sections import ArpaSections
from lmkit.ngram.growing_trie import GrowingTrie
from lmkit.ngram.model import NgramModel
from lmkit.progress import Progress
from lmkit.text.corpus import PathLike
from lmkit.text.lookup import WordLookup
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS, EOS, SPECIALS, UNK, Vocabulary
from lmkit.text.word_index import KEEP, WordIndex
from lmkit.threads import in_order

ABSENT = -100.0  # log10 of the probability of what a file does not name


def read_arpa(
    path: PathLike,
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
        words, found, ids_of, trie = _unigrams(sections, tokenizer, progress)
        lookup, left_out, with_unk = WordLookup(words, literal_unk=True, special=0), [], False
        for order in range(2, len(sections.sizes) + 1):
            read = partial(ngrams_of, path, order, lookup, ids_of, trie, order == len(sections.sizes))
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


def _unigrams(
    sections: ArpaSections, kind: str, progress: Progress
) -> tuple[Vocabulary, Tokenizer, np.ndarray, GrowingTrie]:
    """Read the words: give them as they come, the tokenizer, the id of each (words,), and a trie of them."""
    path, index = sections.path, WordIndex(KEEP)
    read = partial(unigrams_of, path, index, len(sections.sizes) == 1)
    entries = _section(sections, 1, read, progress)  # words are numbered as they come
    words = index.vocabulary()
    _, once = np.unique(entries.word, return_index=True)
    if len(once) < len(entries.word):
        twice = np.setdiff1d(np.arange(len(entries.word)), once)[0]
        raise _duplicate(path, entries.line[twice], f"word {words[int(entries.word[twice])]!r}")
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
    sections: ArpaSections, order: int, read: Callable[[int, bytes], Entries], progress: Progress
) -> Entries:
    """Read the n-grams of one order, but words on all cores, and compare their number with the header."""
    expected = sections.sizes[order - 1]

    def pieces() -> Iterator[tuple[int, bytes]]:
        if expected or sections.comes(f"\\{order}-grams:"):
            sections.expect(f"\\{order}-grams:")
            for line, block in sections.section():
                yield line, block
                progress.advance(len(block))

    every = map if order == 1 else in_order
    parts = list(every(lambda piece: read(*piece), pieces()))
    entries = joined(parts, order)
    count = len(entries.word) + entries.left_out[0]
    if count != expected:
        why = "was cut short" if sections.ended() else "is damaged"
        raise ModelFormatError(
            f"{sections.path}:{sections.line}: the header says {expected:,} {order}-grams, but there are {count:,}; "
            f"the file {why}, so get or write it again"
        )
    return entries


def _add(path: PathLike, order: int, trie: GrowingTrie, entries: Entries) -> None:
    """Put a section into the trie, its missing contexts first."""
    if len(entries.orphans):
        contexts = entries.orphans[:, :-1]
        moved = trie.supply(contexts)
        lost = entries.context < 0
        entries.context = moved[entries.context]
        entries.context[lost] = trie.find(contexts)
    twice = trie.add(entries.context, entries.word, entries.log10_prob, entries.log10_backoff)
    if twice >= 0:
        raise _duplicate(path, entries.line[twice], f"{order}-gram")


def _duplicate(path: PathLike, line: int, what: str) -> ModelFormatError:
    return ModelFormatError(
        f"{path}:{line}: the {what} of this line stands in the file before; which one is meant cannot be known, so "
        "remove one of them"
    )


def _warn(message: str) -> None:
    warnings.warn(message, LmkitWarning, stacklevel=3)
