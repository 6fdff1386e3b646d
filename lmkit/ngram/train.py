"""From ids to an n-gram model: count, prune, estimate."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from lmkit.config import NgramConfig, TextConfig
from lmkit.errors import LmkitWarning
from lmkit.ngram.continuations import continuations
from lmkit.ngram.count_trie import CountTrie, count_ngrams
from lmkit.ngram.counts import TextCounts, join
from lmkit.ngram.discounts import check_fallback
from lmkit.ngram.external_sort import SortedRun, merge, runs_of_text
from lmkit.ngram.kneser_ney import estimate
from lmkit.ngram.model import NgramModel
from lmkit.ngram.pruning import check_thresholds, compact, keep
from lmkit.ngram.quantization import quantize
from lmkit.ngram.suffix_sort import SortedWindows, sort_suffixes, with_line_starts
from lmkit.ngram.trie import Trie
from lmkit.progress import Progress
from lmkit.scratch import Scratch
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import SPECIALS, read_word_list

_STAGES = ["sorting", "merging", "counting", "linking", "estimating", "quantizing"]


def check(config: NgramConfig) -> tuple[int, ...]:
    """Refuse options that cannot be; give one pruning threshold per order.

    Raises:
        UsageError: they contradict each other.
        InputError: the list of words cannot be read.
    """
    check_fallback(config.discount_fallback)
    if config.limit_vocab is not None:
        read_word_list(Path(config.limit_vocab))
    return check_thresholds(config.prune, config.order)


def _allowed(path: Path, tokenizer: Tokenizer) -> np.ndarray:
    """Mark the tokens (V,) of a list, and those that no list can hold: specials and the space."""
    allowed = np.zeros(len(tokenizer.vocab), bool)
    allowed[[tokenizer.vocab.id(word) for word in (*read_word_list(path), " ")]] = True
    allowed[: len(SPECIALS)] = True
    return allowed


def train(
    ids: np.ndarray,
    *,
    tokenizer: Tokenizer,
    config: NgramConfig,
    valid: np.ndarray | None = None,
    report: Callable[[str], None] | None = None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> NgramModel:
    """Estimate interpolated modified Kneser-Ney from a text.

    Args:
        ids: (T,) int32, every line ended by `</s>`.
        tokenizer: Whose ids they are.
        config: Order, pruning and the rest.
        valid: Not used: nothing is tuned.
        report: Receives lines for the user.
        log: Receives the number of n-grams of each order.

    Raises:
        UsageError: options contradict each other.
        ResourceError: the text has too many tokens.
    """
    scratch = Scratch.of(config)
    with Progress(_STAGES, show=report is not None, amount=len(ids)) as progress:
        model = _fit(
            _windows(ids, tokenizer, config, scratch, progress), tokenizer, config, scratch, progress
        )
    return _reported(model, progress, report, log)


def train_on_counts(
    parts: Sequence[TextCounts],
    *,
    options: TextConfig,
    config: NgramConfig,
    report: Callable[[str], None] | None = None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> NgramModel:
    """Estimate the model of several texts from their counts: the one that the joined text would give.

    Args:
        parts: The counts of each.
        options: Which words are to be kept.
        config, report, log: See `train`.

    Raises:
        UsageError: options contradict each other, or the counts do not go together.
        InputError: the counts are not complete.
        ResourceError: there are too many tokens.
    """
    scratch = Scratch.of(config)
    with Progress(_STAGES, show=report is not None) as progress:
        progress.stage("merging")
        tokenizer, windows = join(
            parts, order=config.order, options=options, scratch=scratch, watch=progress.over
        )
        model = _fit(windows, tokenizer, config, scratch, progress)
    return _reported(model, progress, report, log)


def _windows(
    ids: np.ndarray, tokenizer: Tokenizer, config: NgramConfig, scratch: Scratch, progress: Progress
) -> SortedWindows:
    """Sort the windows of a text, in memory or within its bound."""
    if scratch.bounded:
        return merged_windows(ids, tokenizer, config, scratch, progress)
    progress.stage("sorting")
    stream = with_line_starts(ids, scratch=scratch)
    return sort_suffixes(stream, order=config.order, vocab_size=len(tokenizer.vocab))


def merged_windows(
    ids: np.ndarray, tokenizer: Tokenizer, config: NgramConfig, scratch: Scratch, progress: Progress
) -> SortedRun:
    """Sort the windows of a text in runs, as many tokens at a time as memory allows, and merge the runs."""
    vocab_size = len(tokenizer.vocab)
    scratch.check_disk(len(ids) * _disk_bytes(config.order))
    progress.stage("sorting")
    stream = with_line_starts(ids, scratch=scratch)
    runs = runs_of_text(
        stream, order=config.order, vocab_size=vocab_size, scratch=scratch, watch=progress.over
    )
    del stream
    progress.stage("merging")
    return merge(runs, vocab_size=vocab_size, scratch=scratch, watch=progress.over)


def _disk_bytes(order: int) -> int:
    """Give about how many bytes of disk a token takes: in the text, in runs, merged, and as nodes of the trie."""
    window, node = 4 * order + 4, 30
    return 4 + 2 * window + 2 + node * (1 + (order - 1) * 3 // 5)


def _fit(
    windows: SortedWindows, tokenizer: Tokenizer, config: NgramConfig, scratch: Scratch, progress: Progress
) -> NgramModel:
    """Make the model of some sorted windows; see `train`."""
    progress.stage("counting")
    counts = count_ngrams(windows, scratch=scratch)
    del windows  # what is no longer needed makes room for the next stage
    model = _estimated(counts, tokenizer, config, scratch, progress)
    del counts
    if config.quantize is None:
        return model
    progress.stage("quantizing")
    trie = quantize(cast(Trie, model.trie), config.quantize, empty=scratch.empty)
    return NgramModel(tokenizer=model.tokenizer, trie=trie)


def _estimated(
    counts: CountTrie,
    tokenizer: Tokenizer,
    config: NgramConfig,
    scratch: Scratch,
    progress: Progress,
) -> NgramModel:
    """Estimate the model of some counts; see `train`."""
    thresholds = check(config)
    allowed = None if config.limit_vocab is None else _allowed(Path(config.limit_vocab), tokenizer)
    kept = keep(counts, thresholds=thresholds, allowed=allowed, scratch=scratch)
    if tokenizer.unk == "none":  # such a tokenizer's vocabulary is fixed
        kept[: len(tokenizer.vocab)] = True
    progress.stage("linking")
    continued = continuations(counts, scratch=scratch)
    progress.stage("estimating")
    trie = estimate(
        counts,
        continued,
        kept,
        interpolate_unigrams=config.interpolate_unigrams,
        fallback=config.discount_fallback,
        scratch=scratch,
    )
    unigrams = kept[: len(tokenizer.vocab)]
    if not unigrams.all():
        tokenizer = tokenizer.restrict(unigrams)
    trie = compact(trie, kept, scratch=scratch).trim()
    if trie.order < config.order:
        warnings.warn(
            f"no n-gram of order {trie.order + 1} is left (short lines, or pruned): the model has order {trie.order}",
            LmkitWarning,
            stacklevel=2,
        )
    return NgramModel(tokenizer=tokenizer, trie=trie)


def _reported(
    model: NgramModel,
    progress: Progress,
    report: Callable[[str], None] | None,
    log: Callable[[dict[str, Any]], None],
) -> NgramModel:
    """Say what came of a training."""
    sizes = model.trie.sizes()
    log({"ngrams": sizes, "seconds": progress.seconds})
    if report:
        report("n-grams by order: " + " ".join(f"{size:,}" for size in sizes))
    return model
