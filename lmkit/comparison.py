"""Compare models on one text, in a unit in which they can be compared, line by line.

Models that cut the text into the same tokens compare by the token. Others compare by the byte, which is the same for
all; where unknown words hide what was written, even that flatters those who know few words, and it is said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmkit.bootstrap import Difference, paired_bootstrap
from lmkit.evaluation import Evaluation, evaluation_of, sums_of
from lmkit.model import Context, LanguageModel
from lmkit.reading import scored_blocks
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
        InputError: the text is empty or cannot be read as text.

    >>> import lmkit
    >>> text = "the old fox ran .\\nthe owl sat .\\n" * 20
    >>> models = {f"{n}-gram": lmkit.train(text, order=n, holdout=0) for n in (1, 3)}
    >>> found = compare(models, "the old owl sat .\\nthe fox ran .\\n" * 9)
    >>> found.unit, round(found.contenders["3-gram"].against_first.estimate, 1)
    ('token', -1.2)
    """
    corpus = Corpus.of(text_or_path)
    evaluations, seconds, bits = {}, {}, {}
    sizes: dict[Unit, np.ndarray] = {}
    texts: list[bytes] = []
    for name, model in models.items():
        model.score(["the fox"] * 40)  # sets things up, which is no part of the speed
        began = time.perf_counter()
        blocks = list(scored_blocks(model, corpus, context=context))
        seconds[name] = time.perf_counter() - began
        evaluations[name] = evaluation_of(
            model, np.sum([sums_of(block) for block in blocks], axis=0), context
        )
        bits[name] = np.concatenate([block.logprobs for block in blocks]) / -math.log(2)
        if not texts:
            texts = [line for block in blocks for line in block.text.removesuffix(NEWLINE).split(NEWLINE)]
            sizes["token"] = np.concatenate([block.tokens for block in blocks])
            sizes["byte"] = np.array([len(line) + 1 for line in texts])
    first, *others = models
    same = all(_same_tokens(models[first], models[name]) for name in others)
    unit: Unit = "token" if same else "byte"
    differing = [
        _line(name, place, bits[name] - bits[first], texts)
        for name in others
        for place in _extremes(bits[name] - bits[first], lines)
    ]
    return Comparison(
        unit=unit,
        flattered={
            name: found.oov for name, found in evaluations.items() if found.oov and not found.open_vocabulary
        },
        contenders={
            name: Contender(
                evaluation=found,
                bytes_per_second=found.bytes / seconds[name],
                bits_per_byte=found.bits_per_token * found.tokens / found.bytes,
                against_first=None
                if name == first
                else paired_bootstrap(bits[name] - bits[first], sizes[unit], seed=seed),
            )
            for name, found in evaluations.items()
        },
        lines=differing,
    )


def _same_tokens(one: LanguageModel, other: LanguageModel) -> bool:
    a, b = one.tokenizer, other.tokenizer
    return a.kind == b.kind and a.settings() == b.settings() and a.vocab == b.vocab


def _extremes(differences: np.ndarray, count: int) -> list[int]:
    """Give the places of the lowest and of the highest, none twice, and none of the wrong side."""
    order = np.argsort(differences, kind="stable").tolist()
    low = [place for place in order[:count] if differences[place] < 0]
    high = [place for place in order[::-1][:count] if differences[place] > 0]
    return low + high


def _line(name: str, place: int, differences: np.ndarray, texts: list[bytes]) -> LineDifference:
    return LineDifference(
        name=name,
        number=place + 1,
        bits=float(differences[place]),
        text=texts[place].decode(errors="replace"),
    )
