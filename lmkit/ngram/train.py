"""From ids to an n-gram model: count, prune, estimate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.config import NgramConfig
from lmkit.errors import LmkitWarning
from lmkit.ngram.counting import count_ngrams
from lmkit.ngram.discounts import check_fallback
from lmkit.ngram.kneser_ney import estimate
from lmkit.ngram.model import NgramModel
from lmkit.ngram.pruning import check_thresholds, keep
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import SPECIALS, read_word_list


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
    thresholds = check(config)
    allowed = None if config.limit_vocab is None else _allowed(Path(config.limit_vocab), tokenizer)
    counts = count_ngrams(ids, order=config.order, vocab_size=len(tokenizer.vocab))
    kept = keep(counts, thresholds=thresholds, allowed=allowed)
    if tokenizer.unk == "none":  # such a tokenizer's vocabulary is fixed
        kept[: len(tokenizer.vocab)] = True
    trie = estimate(
        counts, kept, interpolate_unigrams=config.interpolate_unigrams, fallback=config.discount_fallback
    )
    unigrams = kept[: len(tokenizer.vocab)]
    if not unigrams.all():
        tokenizer = tokenizer.restrict(unigrams)
    trie = trie.compact(kept).trim()
    if trie.order < config.order:
        warnings.warn(
            f"no n-gram of order {trie.order + 1} is left (short lines, or pruned): the model has order {trie.order}",
            LmkitWarning,
            stacklevel=2,
        )
    log({"ngrams": trie.sizes()})
    if report:
        report("n-grams by order: " + " ".join(f"{size:,}" for size in trie.sizes()))
    return NgramModel(tokenizer=tokenizer, trie=trie)
