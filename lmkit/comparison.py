"""Compare models on one text, in a unit in which they can be compared, line by line.

Models that cut the text into the same tokens compare by the token. Others compare by the byte, which is the same for
all; where unknown words hide what was written, even that flatters those who know few words, and it is said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmkit.bootstrap import Difference, paired_bootstrap
from lmkit.evaluation import Evaluation, evaluation_of, sums_of
from lmkit.model import Context, LanguageModel
from lmkit.reading import scored_blocks
from lmkit.seeds import check_seed
from lmkit.text.corpus import NEWLINE, Corpus, PathLike

Unit = Literal["token", "byte"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model that takes part.

    Attributes:
        evaluation: what was found on the whole text.
        bytes_per_second: how fast that went.
        bits_per_byte: what the text costs, unknown words as what `<unk>` costs.
        against_first: how many more bits a unit it needs than the first model; None for that one itself.
    """

    evaluation: Evaluation
    bytes_per_second: float
    bits_per_byte: float
    against_first: Difference | None


@dataclass(frozen=True, kw_only=True)
class LineDifference:
    """A line on which two models differ.

    Attributes:
        name: the model that is compared with the first.
        number: of the line, from 1 on.
        bits: how many more it needs for the line than the first.
        text: the line.
    """

    name: str
    number: int
    bits: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison found.

    Attributes:
        unit: that of the differences.
        flattered: models to whom unknown words hide a part of the text, and how many; these cost them too little.
        contenders: the models by name, in the order given.
        lines: those that each model and the first differ on most, either way.
    """

    unit: Unit
    flattered: dict[str, int]
    contenders: dict[str, Contender]
    lines: list[LineDifference]


def compare(
    models: Mapping[str, LanguageModel],
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    context: Context | None = None,
    lines: int = 3,
    seed: int = 0,
) -> Comparison:
    """Measure models on the same text, and say how sure their differences from the first are.

    Args:
        models: By name, one or more.
        text_or_path: See `Corpus.of`.
        context: How far back the models look; see `perplexity`.
        lines: How many lines to give for each model, of those that it is better on and as many that it is worse on.
        seed: Of the bootstrap.

    Raises:
        UsageError: there is no such seed.
        InputError: the text is empty or cannot be read as text.

    >>> import lmkit
    >>> text = "the old fox ran .\\nthe owl sat .\\n" * 20
    >>> models = {f"{n}-gram": lmkit.train(text, order=n, holdout=0) for n in (1, 3)}
    >>> found = compare(models, "the old owl sat .\\nthe fox ran .\\n" * 9)
    >>> found.unit, round(found.contenders["3-gram"].against_first.estimate, 1)
    ('token', -1.2)
    """
    check_seed(seed)
    corpus = Corpus.of(text_or_path)
    for source in corpus.sources:
        source.open().close()  # what comes through a pipe has come before any clock runs
    measured = {name: _measured(model, corpus, context) for name, model in models.items()}
    first, *others = models
    same = all(_same_tokens(models[first], models[name]) for name in others)
    unit: Unit = "token" if same else "byte"
    sizes = measured[first].tokens if same else measured[first].bytes
    with np.errstate(invalid="ignore"):  # what both have for impossible
        differences = {name: measured[name].bits - measured[first].bits for name in others}
    extremes = {name: _extremes(of_model, lines) for name, of_model in differences.items()}
    texts = _lines_at(models[first], corpus, {place for places in extremes.values() for place in places})
    evaluations = {name: found.evaluation for name, found in measured.items()}
    return Comparison(
        unit=unit,
        flattered={
            name: found.oov for name, found in evaluations.items() if found.oov and not found.open_vocabulary
        },
        contenders={
            name: Contender(
                evaluation=found,
                bytes_per_second=found.bytes / measured[name].seconds,
                bits_per_byte=found.bits_per_token * found.tokens / found.bytes,
                against_first=None
                if name == first
                else paired_bootstrap(differences[name], sizes, seed=seed),
            )
            for name, found in evaluations.items()
        },
        lines=[
            LineDifference(
                name=name, number=place + 1, bits=float(differences[name][place]), text=texts[place]
            )
            for name, places in extremes.items()
            for place in places
        ],
    )


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A model on a text: bits, tokens and bytes of each line (L,), what comes of them all, and the time it took."""

    bits: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray
    evaluation: Evaluation
    seconds: float


def _measured(model: LanguageModel, corpus: Corpus, context: Context | None) -> _Measured:
    for _ in scored_blocks(model, Corpus.from_text("the fox\n" * 40), context=context):
        pass  # sets things up, which is no part of the speed
    began = time.perf_counter()
    bits, tokens, lengths, sums = [], [], [], []
    for block in scored_blocks(model, corpus, context=context):
        ends = np.flatnonzero(np.frombuffer(block.text, np.uint8) == NEWLINE[0])
        bits.append(block.logprobs / -math.log(2))
        tokens.append(block.tokens)
        lengths.append(np.diff(ends, prepend=-1))
        sums.append(sums_of(block))
    seconds = time.perf_counter() - began
    return _Measured(
        bits=np.concatenate(bits),
        tokens=np.concatenate(tokens),
        bytes=np.concatenate(lengths),
        evaluation=evaluation_of(model, np.sum(sums, axis=0), context),
        seconds=seconds,
    )


def _lines_at(model: LanguageModel, corpus: Corpus, places: Collection[int]) -> dict[int, str]:
    """Read some lines of a text again, by their numbers from 0 on."""
    found, begin = {}, 0
    for block in model.tokenizer.reads(corpus, model.tokenizer.specials).blocks():
        lines = block.count(NEWLINE)
        wanted = [place for place in places if begin <= place < begin + lines]
        if wanted:
            texts = block.split(NEWLINE)
            found.update({place: texts[place - begin].decode(errors="replace") for place in wanted})
        begin += lines
    return found


def _same_tokens(one: LanguageModel, other: LanguageModel) -> bool:
    a, b = one.tokenizer, other.tokenizer
    if a.kind != b.kind or a.settings() != b.settings():
        return False
    return a.vocab == b.vocab or a.vocab.ids.keys() == b.vocab.ids.keys()  # in whatever order


def _extremes(differences: np.ndarray, count: int) -> list[int]:
    """Give the places of the lowest and of the highest, none twice, and none of the wrong side."""
    order = np.argsort(differences, kind="stable")  # what is no number comes last
    low, high = order[differences[order] < 0], order[differences[order] > 0]
    return [*low[:count].tolist(), *high[::-1][:count].tolist()]
