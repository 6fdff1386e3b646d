r"""Perplexity, measured in one pass and reported with everything that a reader needs to trust it.

    cross-entropy  H = -1/T sum log p(token)        perplexity = exp H        bits per byte = H T / (bytes ln 2)

T counts every token that is predicted: words (or characters, ...) and one `</s>` a line. Perplexities compare only
on the same tokens; bits per byte compare across tokenizers, because ``\n`` is the byte that `</s>` stands for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lmkit.json_text import finite
from lmkit.model import Context, LanguageModel
from lmkit.reading import Block, context_of, scored_blocks
from lmkit.text.corpus import Corpus, PathLike

SCHEMA = 1
_COUNTS = ("tokens", "oov", "lines", "words", "characters", "bytes")
_TOKENS = 2 + _COUNTS.index("tokens")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one pass over a text found. Sums are natural logarithms in float64.

    Attributes:
        logprob_known, logprob_oov: sums of log p over the known words, and over the unknown, scored as `<unk>`.
        tokens, oov, lines, words, characters, bytes: counts; a line end is a token, a character and a byte.
        open_vocabulary: whether the model gives every text a probability, so that bytes may be compared.
        adaptive: whether the model learnt from the text meanwhile, so that it compares only with others that do.
        signature: the protocol, to be quoted with the number.
    """

    logprob_known: float
    logprob_oov: float
    tokens: int
    oov: int
    lines: int
    words: int
    characters: int
    bytes: int
    open_vocabulary: bool
    adaptive: bool
    signature: str

    @property
    def logprob(self) -> float:
        """Sum of log p over all tokens, unknown words scored as `<unk>`."""
        return self.logprob_known + self.logprob_oov

    @property
    def cross_entropy(self) -> float:
        """Nats per token."""
        return -self.logprob / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(cross_entropy), unknown words scored as `<unk>`: 1 is perfect."""
        return _exp(self.cross_entropy)

    @property
    def perplexity_without_oov(self) -> float:
        """The same with unknown words left out of both sums; not a number where all are unknown."""
        known = self.tokens - self.oov
        return _exp(-self.logprob_known / known) if known else math.nan

    @property
    def oov_rate(self) -> float:
        """Share of the tokens that are unknown."""
        return self.oov / self.tokens

    @property
    def bits_per_token(self) -> float:
        """Bits per token."""
        return self.cross_entropy / math.log(2)

    @property
    def bits_per_word(self) -> float:
        """Bits per word between white space; not a number in a text of blank lines."""
        return self.bits_per_token * self.tokens / self.words if self.words else math.nan

    @property
    def bits_per_character(self) -> float | None:
        """Bits per character, line ends counted; undefined (None) where unknown words hide what they are."""
        return self.bits_per_token * self.tokens / self.characters if self._comparable else None

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of UTF-8, line ends counted; undefined (None) where unknown words hide what they are."""
        return self.bits_per_token * self.tokens / self.bytes if self._comparable else None

    @property
    def _comparable(self) -> bool:
        return self.open_vocabulary or self.oov == 0

    def as_dict(self) -> dict[str, Any]:
        """Give every number by name, for JSON; what is infinite or undefined is None."""
        derived = (
            "perplexity", "perplexity_without_oov", "cross_entropy", "bits_per_token", "bits_per_word",
            "bits_per_character", "bits_per_byte", "oov_rate", "logprob",
        )  # fmt: skip
        stored = [f.name for f in fields(self) if f.name not in ("signature", "open_vocabulary", "adaptive")]
        values = {name: getattr(self, name) for name in (*derived, *stored)}
        return {**finite(values), "adaptive": self.adaptive, "signature": self.signature, "schema": SCHEMA}


def perplexity(
    model: LanguageModel,
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    context: Context | None = None,
    report: Callable[[int], None] = lambda tokens: None,
) -> Evaluation:
    """Measure a model on a text: a path, several paths, or the text itself.

    Args:
        model: Any language model.
        text_or_path: See `Corpus.of`.
        context: How far back a model that reads on looks: to the beginning of the `line`, of the `document` (blank
            lines separate them), or as far as it can (`stream`, which is meant if it is not given).
        report: Receives the number of tokens after each block.

    Raises:
        InputError: the text is empty or cannot be read as text.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> result = perplexity(UniformModel(tokenizer=ByteTokenizer()), "fox")
    >>> result.tokens, round(result.perplexity), round(result.bits_per_byte, 3)
    (4, 257, 8.006)
    """
    return evaluation_of(model, _sums(model, text_or_path, context, report).sum(axis=0), context)


def perplexity_by_file(
    model: LanguageModel,
    paths: PathLike | Iterable[PathLike] | Corpus,
    *,
    context: Context | None = None,
    report: Callable[[int], None] = lambda tokens: None,
) -> tuple[dict[str, Evaluation], Evaluation]:
    """Measure each of several files, and all of them as the one text that `perplexity` takes them for.

    A model that reads on does so from file to file, so that the files are to the whole what its parts are. Files of no
    bytes are left out. The arguments are those of `perplexity`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [Path(folder) / name for name in ("one.txt", "two.txt")]
    ...     written = [path.write_text("fox") for path in paths]
    ...     files, whole = perplexity_by_file(UniformModel(tokenizer=ByteTokenizer()), paths)
    >>> {Path(name).name: found.tokens for name, found in files.items()}, whole.tokens
    ({'one.txt': 4, 'two.txt': 4}, 8)
    """
    corpus = Corpus.of(paths)
    sums = _sums(model, corpus, context, report)
    names = [source.name for source in corpus.sources]
    by_name: dict[str, np.ndarray] = {}
    for name, of_file in zip(names, sums, strict=True):
        if of_file[_TOKENS]:
            by_name[name] = by_name.get(name, 0) + of_file
    files = {name: evaluation_of(model, of_file, context) for name, of_file in by_name.items()}
    return files, evaluation_of(model, sums.sum(axis=0), context)


def evaluation_of(model: LanguageModel, sums: np.ndarray, context: Context | None) -> Evaluation:
    """Give what sums over a text, those of `sums_of`, say of a model."""
    known, unknown, *counts = sums.tolist()
    return Evaluation(
        logprob_known=known,
        logprob_oov=unknown,
        **dict(zip(_COUNTS, map(int, counts), strict=True)),
        open_vocabulary=model.tokenizer.unk == "none",
        adaptive=model.adaptive,
        signature=model.signature(context_of(model, context)),
    )


def _sums(
    model: LanguageModel,
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    context: Context | None,
    report: Callable[[int], None],
) -> np.ndarray:
    """Give the two sums of log p and the counts of each source (N, 8); whole numbers in float64 are exact."""
    corpus = Corpus.of(text_or_path)
    sums, tokens = np.zeros((len(corpus.sources), 2 + len(_COUNTS))), 0
    for block in scored_blocks(model, corpus, context=context):
        sums[block.source] += sums_of(block)
        tokens += int(block.tokens.sum())
        report(tokens)
    return sums


def sums_of(block: Block) -> tuple[float, ...]:
    """Give the two sums of log p and the counts of a block; what `evaluation_of` takes."""
    columns = (block.logprobs_known, block.logprobs_oov, block.tokens, block.oov)
    return (
        *(column.sum() for column in columns),
        len(block.tokens),
        block.words,
        block.characters,
        len(block.text),
    )


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
