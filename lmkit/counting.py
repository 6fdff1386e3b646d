"""Counts of a text for later: the first half of training an n-gram model, kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lmkit.config import COUNT_OPTIONS, NgramConfig, TextConfig
from lmkit.errors import InputError, UsageError
from lmkit.folders import check_target
from lmkit.ngram.count_trie import count_ngrams
from lmkit.ngram.counts import FILE, TextCounts, join, load_counts, max_order
from lmkit.ngram.counts_text import count_pieces, read_counts
from lmkit.ngram.train import merged_windows
from lmkit.options import make
from lmkit.progress import Progress
from lmkit.scratch import MEMORY, Scratch
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.tokenizer import choose_tokenizer
from lmkit.text.vocabulary import BOS, EOS

_OF_TEXT = ("tokenizer", "vocab_size", "specials")


def count(
    text: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    output: PathLike | None = None,
    force: bool = False,
    report: Callable[[str], None] | None = None,
    **options: Any,
) -> TextCounts:
    """Count the n-grams of a text, and save the counts if a place is given.

    `lmkit.train(..., counts=True)` makes the model of it that the text itself would give, alone or joined with others.

    Args:
        text: A path, several paths, or the text itself: a string of several lines.
        output: The folder to write; none if not given.
        force: Whether an existing folder at `output` may be replaced.
        report: Receives lines for the user; without it nothing is said.
        **options: `order`, `tokenizer`, `specials`, `memory`, `temp`, and `vocab_size` for subwords; see `lmkit.train`.

    Raises:
        UsageError: an option is unknown, or cannot be.
        InputError: the text is empty or not text.
        ResourceError: the counts cannot be written.

    >>> counts = count("the fox ran .\\nthe fox sat .\\n", order=2)
    >>> counts.order, counts.lines
    (2, 2)
    """
    if output is not None:
        check_target(Path(output), force=force, holds=FILE)
    unknown = options.keys() - set(COUNT_OPTIONS)
    if unknown:
        raise UsageError(f"there is no option {min(unknown)!r}; counting has {', '.join(COUNT_OPTIONS)}")
    of_text = make(TextConfig, {name: value for name, value in options.items() if name in _OF_TEXT})
    config = make(NgramConfig, {name: value for name, value in options.items() if name not in _OF_TEXT})
    scratch = Scratch.of(config)
    corpus = Corpus.to_learn_from(text)
    kind, of_text = choose_tokenizer(corpus, of_text)
    if of_text.vocab_size is not None and "vocab" in kind.options:
        raise UsageError(
            "which words are kept is chosen in training: lmkit train --counts ... --vocab-size N"
        )
    with Progress(["reading", "sorting", "merging"], show=report is not None) as progress:
        progress.stage("reading")
        tokenizer, ids = kind.learn(kind.reads(corpus, of_text.specials), options=of_text, scratch=scratch)
        merged = merged_windows(ids, tokenizer, config, scratch, progress)
    if merged.counts[EOS] + merged.counts[BOS] == merged.counts.sum():
        names = ", ".join(source.name for source in corpus.sources)
        raise InputError(
            f"{names}: only blank lines ({int(merged.counts[EOS]):,}); there is nothing to count"
        )
    facts = {"sources": [source.name for source in corpus.sources], "tokens": len(ids)}
    counts = TextCounts.of(tokenizer, merged.run, facts, scratch=scratch)
    if report:
        lines = int(merged.counts[EOS])
        report(
            f"{len(ids):,} tokens in {lines:,} lines: {len(merged.run.weight):,} windows of {config.order} tokens"
        )
    if output is not None:
        counts.save(output, force=force)
    return counts


def open_counts(path: str | os.PathLike[str], *, kind: str = "word", scratch: Scratch = MEMORY) -> TextCounts:
    """Open counts, of either form: a folder, or a text.

    Args:
        path: Which.
        kind: What the words of a text are; see `read_counts`.
        scratch: Where large arrays are.

    Raises:
        UsageError, InputError, ModelFormatError: see `load_counts` and `read_counts`.
    """
    return load_counts(path) if Path(path).is_dir() else read_counts(path, kind=kind, scratch=scratch)


def natural_order(parts: Sequence[TextCounts]) -> int:
    """Give the order at which counts were taken, the lowest of several."""
    return min(max_order(parts), max(part.order for part in parts))


def text_of(counts: TextCounts, *, scratch: Scratch = MEMORY) -> Iterator[bytes]:
    """Give the n-grams of every order with their counts as a text, piece by piece; see `counts_text`."""
    tokenizer, merged = join([counts], order=counts.order, options=TextConfig(), scratch=scratch)
    yield from count_pieces(count_ngrams(merged, scratch=scratch), tokenizer)
