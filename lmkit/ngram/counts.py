"""Counts as an artefact: the windows of a text and how often each was met; models are made of them at any time.

    config.json         format version, order, how much text
    tokenizer.json      the tokenizer          vocab.txt          its tokens, one a line
    counts.safetensors  `windows` (R, order) in the smallest type that holds the ids, `weight` (R,) int32
    manifest.json       size and sha256 of each file; written last

Windows are those of `suffix_sort`: at each token of a line begun by `<s>`, the next tokens up to the line end. Every
count of every order follows from them, and counts of several texts are those of the joined text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.config import MAX_ORDER, TextConfig
from lmkit.errors import InputError, ModelFormatError, ResourceError, UsageError
from lmkit.folders import atomic_folder, check_folder
from lmkit.json_text import read_json, write_json
from lmkit.ngram.external_sort import (
    Run,
    SortedRun,
    Watch,
    empty_run,
    merge,
    run_of_windows,
    unwatched,
    window_bytes,
)
from lmkit.ngram.kernels import sorting
from lmkit.ngram.suffix_sort import MAX_TOKENS
from lmkit.scratch import Scratch, release
from lmkit.tensors import check_arrays, read_tensors, write_tensors
from lmkit.text.tokenizer import Tokenizer, load_tokenizer
from lmkit.text.vocabulary import BOS, EOS
from lmkit.threads import chunks
from lmkit.version import __version__

FORMAT = 1
FILE = "counts.safetensors"
_REQUIRED = ("config.json", "tokenizer.json", "vocab.txt", FILE)
_LEAST_PIECE, _MOST_PIECE = 1 << 12, 1 << 24  # windows


@dataclass(frozen=True)
class TextCounts:
    """What was counted in a text.

    Attributes:
        tokenizer: Whose ids the windows hold.
        run: The windows, in the smallest type that holds their ids, and how often each was met.
        facts: What else is known of the text, as JSON values.
        name: What to call them in messages.
    """

    tokenizer: Tokenizer
    run: Run
    facts: Mapping[str, Any] = field(default_factory=dict)
    name: str = "the counts"

    @classmethod
    def of(cls, tokenizer: Tokenizer, run: Run, facts: Mapping[str, Any], *, scratch: Scratch) -> TextCounts:
        """Make the counts of a run."""
        windows = scratch.empty(run.windows.shape, _smallest(tokenizer))
        for begin, end in chunks(0, len(windows)):
            windows[begin:end] = run.windows[begin:end]
            release(windows[begin:end], run.windows[begin:end])
        return cls(tokenizer, Run(windows, run.weight), facts)

    @property
    def lines(self) -> int:
        """How many lines the text had."""
        return int(self.unigrams[EOS])

    @property
    def order(self) -> int:
        """How many tokens a window holds."""
        return self.run.windows.shape[1]

    @cached_property
    def unigrams(self) -> np.ndarray:
        """Give how often each token occurs (V,) int64: each is the first of one window.

        Raises:
            ModelFormatError: the windows hold what cannot be.
        """
        counts, begun = (np.zeros(len(self.tokenizer.vocab), np.int64) for _ in range(2))
        for windows, weight in self.pieces(1 << 18):
            sorting.count_first_tokens(windows, weight, counts, begun)
        return counts

    def is_whole(self) -> bool:
        """Tell whether every window reaches its line end, so that longer ones would say no more."""
        return all((windows[:, -1] == EOS).all() for windows, _ in self.pieces(1 << 18))

    def pieces(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give windows (n, order) int32 and weights (n,), so many at a time.

        Raises:
            ModelFormatError: they hold what cannot be.
        """
        for begin, end in chunks(0, len(self.run.weight), size):
            windows, weight = self.run.windows[begin:end].astype(np.int32), self.run.weight[begin:end]
            sound = windows.max() < len(self.tokenizer.vocab) and windows.min() >= 0 and weight.min() >= 1
            if not sound or (windows[:, 1:] == BOS).any():
                raise ModelFormatError(
                    f"{self.name}: ids outside the vocabulary, <s> inside a line or counts below 1; make them again"
                )
            yield windows, weight
            release(self.run.windows[begin:end], weight)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the folder, whole or not at all.

        Raises:
            UsageError: it exists already and `force` is off.
            ResourceError: it cannot be written.
        """
        with atomic_folder(Path(path), force=force, holds=FILE) as folder:
            facts = {
                "format": FORMAT,
                "lmkit": __version__,
                "kind": "counts",
                "order": self.order,
                **self.facts,
            }
            write_json(folder / "config.json", facts)
            self.tokenizer.save(folder)
            write_tensors(folder / FILE, self.run._asdict())


def load_counts(path: str | os.PathLike[str]) -> TextCounts:
    """Open a folder of counts.

    Raises:
        UsageError: there is no such folder.
        ModelFormatError: it is damaged, or no folder of counts.
    """
    folder = Path(path)
    check_folder(folder, _REQUIRED, what="folder of counts", made_by="lmkit count corpus.txt")
    facts = read_json(folder / "config.json")
    if not isinstance(facts, dict) or facts.get("kind") != "counts" or facts.get("format") != FORMAT:
        raise ModelFormatError(f"{folder / 'config.json'}: is not that of counts in format {FORMAT}")
    tokenizer = load_tokenizer(folder)
    arrays = read_tensors(folder / FILE)
    size, order = arrays.get("weight", np.empty(0)).size, facts.get("order")
    if not size or type(order) is not int or not 1 <= order <= MAX_ORDER:
        raise ModelFormatError(f"{folder}: holds no counts, or names no order")
    expected = {"windows": (_smallest(tokenizer).__name__, (size, order)), "weight": ("int32", (size,))}
    check_arrays(str(folder / FILE), arrays, expected)
    return TextCounts(
        tokenizer, Run(*(arrays[name].view(np.ndarray) for name in Run._fields)), facts, str(folder)
    )


def _smallest(tokenizer: Tokenizer) -> type[np.unsignedinteger[Any]]:
    """Give the smallest type that holds every id."""
    return np.min_scalar_type(len(tokenizer.vocab) - 1).type


def join(
    parts: Sequence[TextCounts],
    *,
    order: int,
    options: TextConfig,
    scratch: Scratch,
    watch: Watch = unwatched,
) -> tuple[Tokenizer, SortedRun]:
    """Give the tokenizer and the windows of all texts joined.

    Args:
        parts: The counts of each.
        order: How many tokens a window is to hold; not more than theirs do.
        options: Which words are to be kept.
        scratch, watch: See `merge`.

    Raises:
        UsageError: they do not go together, or hold shorter windows.
        ModelFormatError: a file holds numbers that cannot be.
        ResourceError: the counts add up to more than can be counted.
    """
    first = parts[0].tokenizer
    if len({part.tokenizer.kind for part in parts}) > 1:
        kinds = ", ".join(sorted({part.tokenizer.kind for part in parts}))
        raise UsageError(f"counts of different tokenizers ({kinds}) cannot be added; count all texts alike")
    longest = max_order(parts)
    if order > longest:
        raise UsageError(
            f"the counts hold n-grams up to order {longest}; give --order {longest}, or count again"
        )
    for part in parts:
        _check_lines(part.name, part.unigrams)
    tokens = sum(int(part.unigrams.sum()) for part in parts)
    if tokens > MAX_TOKENS:
        raise ResourceError(f"{tokens:,} tokens are more than the {MAX_TOKENS:,} that one model can count")
    tokenizer = type(first).join([(part.tokenizer, part.unigrams) for part in parts], options=options)
    vocab_size = len(tokenizer.vocab)
    scratch.check_disk(2 * (4 * order + 4) * sum(len(part.run.weight) for part in parts))
    size = max(scratch.room // (2 * window_bytes(order, vocab_size)), _LEAST_PIECE)
    runs = []
    for part in parts:
        ids = tokenizer.ids_of(part.tokenizer.vocab)
        space = empty_run(len(part.run.weight), order, scratch)
        for windows, weight in part.pieces(min(size, _MOST_PIECE)):
            renumbered = np.full((len(windows), order), EOS, np.int32)
            renumbered[:, : part.order] = ids[windows[:, :order]]
            run = run_of_windows(renumbered, weight, vocab_size=vocab_size, space=space)
            runs.append(run)
            space = space.part(len(run.weight))
    return tokenizer, merge(runs, vocab_size=vocab_size, scratch=scratch, watch=watch)


def _check_lines(name: str, counts: np.ndarray) -> None:
    """Refuse counts (V,) of tokens that are not those of whole lines with words in them."""
    begun, ended = counts[[BOS, EOS]].tolist()
    if not 0 < begun == ended:
        raise InputError(
            f"{name}: these are not counts of whole lines: {begun:,} begin and {ended:,} end; count again"
        )
    if counts.sum() == begun + ended:
        raise InputError(f"{name}: only blank lines ({begun:,}); there is nothing to learn")


def max_order(parts: Sequence[TextCounts]) -> int:
    """Give the highest order of a model that some counts can make."""
    return min((part.order for part in parts if not part.is_whole()), default=MAX_ORDER)
