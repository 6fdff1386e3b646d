"""Model selection: which options suit a text, judged on every line of it in turn, by a model that has not met it.

The lines are dealt into k folds by what they say, so that copies of a line are in one fold. For each configuration k
models are trained, each without one fold, which it is then measured on (cross-validation, Stone 1974). A twentieth of
the lines is kept out of all of it, the test lines that `lmkit train` would hold out: they measure one model, once, the
winner, trained again on all folds.
"""

from __future__ import annotations

import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmkit.backends import BACKENDS
from lmkit.config import TextConfig, make
from lmkit.errors import DivergedError, InputError, UsageError, did_you_mean
from lmkit.evaluation import Evaluation, perplexity
from lmkit.files import check_target
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.sources import Source
from lmkit.text.splits import HOLDOUT, hashed_lines
from lmkit.text.tokenizer import choose_tokenizer
from lmkit.training import train

MOST_FOLDS = 50
# options that change what is predicted: such perplexities do not compare
_OF_WORDS = ("tokenizer", "vocab", "vocab_size", "min_count", "specials", "limit_vocab")
_OF_VALIDATION = ("patience",)  # options that need a validation text, which no model has here


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One point of a grid, and what came of it.

    Attributes:
        options: by name.
        perplexities: on each fold, of the model that was trained on the others; infinite where training diverged.
        learnt: on as much of what each model was trained on; far below the others, it has been learnt by heart.
        capacity: what a model can keep, its parameters or its n-grams; the largest of them, None where one diverged.
        seconds: for all of it.
    """

    options: dict[str, Any]
    perplexities: list[float]
    learnt: list[float]
    capacity: int | None
    seconds: float

    @property
    def mean(self) -> float:
        """Mean of the perplexities."""
        return statistics.fmean(self.perplexities)

    @property
    def training(self) -> float:
        """Mean of the perplexities of what was learnt."""
        return statistics.fmean(self.learnt)

    @property
    def deviation(self) -> float:
        """Standard deviation of the perplexities from fold to fold."""
        return statistics.stdev(self.perplexities) if math.isfinite(self.mean) else math.inf


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """All configurations, the best first, and what the test lines say of the best, if it was trained again."""

    configurations: list[Configuration]
    test: Evaluation | None

    @property
    def best(self) -> Configuration:
        """The configuration of the lowest mean perplexity."""
        return self.configurations[0]


def crossval(
    text: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    grid: Mapping[str, Sequence[Any]],
    k: int = 5,
    backend: str = "ngram",
    refit: bool = False,
    output: PathLike | None = None,
    force: bool = False,
    report: Callable[[str], None] | None = None,
    **options: Any,
) -> CrossValidation:
    """Compare every combination of some options by k-fold cross-validation.

    One model is trained at a time; n-grams are counted, and networks trained, on all cores. Networks have no validation
    text here: they are trained to the end of their time or epochs, and their last weights are measured.

    Args:
        text: As for `lmkit.train`.
        grid: The values to try of each option.
        k: How many folds.
        backend: The kind of model.
        refit: Whether to train the best configuration on all folds, and measure it on the test lines.
        output: The folder to save that model in.
        force: Whether a model there may be replaced.
        report: Receives a line for every model.
        **options: Options that do not vary.

    Raises:
        UsageError: an option is unknown, or varied where perplexities could not be compared.
        InputError: the text is too short to be dealt into k folds and test lines.

    >>> lines = "".join(f"the fox saw {n} owls .\\n" for n in range(200))
    >>> found = crossval(lines, grid={"order": [1, 2]}, k=3)
    >>> found.best.options, len(found.best.perplexities)
    ({'order': 2}, 3)
    """
    if not 2 <= k <= MOST_FOLDS:
        raise UsageError(f"{k} folds cannot be; give from 2 to {MOST_FOLDS}")
    grid = _checked(grid, options, backend)
    if output is not None:
        if not refit:
            raise UsageError("only the winner is saved, once it is trained again: add --refit")
        check_target(Path(output), force=force)
    say = report or (lambda line: None)
    corpus = Corpus.to_learn_from(text)
    names = ", ".join(source.name for source in corpus.sources)
    text_options = {f.name for f in fields(TextConfig)} & options.keys()
    kind, text_config = choose_tokenizer(
        corpus, make(TextConfig, {name: options[name] for name in text_options})
    )
    corpus = kind.reads(corpus, text_config.specials)
    options = {**options, "backend": backend, "tokenizer": text_config.tokenizer, "holdout": 0}
    with tempfile.TemporaryDirectory(prefix="lmkit-crossval-", dir=options.get("temp")) as name:
        folder = Path(name)
        deal(corpus, folder, k=k)
        points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
        folds = Folds(folder, options, k, say)
        found = [folds.judge(point) for point in points]
        found.sort(key=lambda configuration: configuration.mean)
        test = None
        if refit:
            rest = Source(f"{names}, but test lines", lambda: (folder / "rest.txt").open("rb"), lasting=False)
            model = train(Corpus([rest]), output=output, force=force, **options | found[0].options)
            test = perplexity(model, folder / "test.txt")
            if output is not None:
                say(f"saved {output}")
    return CrossValidation(configurations=found, test=test)


class Judgement(NamedTuple):
    """One model: perplexity of the fold that it was trained without and of one that it has learnt, and its capacity."""

    perplexity: float
    learnt: float
    capacity: int


class Folds:
    """Lines dealt into folds, and what is the same for every configuration that is judged by them."""

    def __init__(self, folder: Path, options: Mapping[str, Any], k: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.options = options
        self.k = k
        self.say = say
        self.counts: dict[int, tuple[int, int]] = {}  # of tokens and unknown words in each fold

    def judge(self, point: dict[str, Any]) -> Configuration:
        """Train a model without each fold, and measure it there and on as much of what it has learnt.

        Raises:
            UsageError: other words are unknown than in the configurations before.
        """
        began = time.monotonic()
        judged: list[Judgement] = []
        for fold in range(self.k):
            where = f"{shown(point)}, fold {fold + 1} of {self.k}"
            try:
                judged.append(self._fold(fold, point, where))
            except DivergedError as error:
                self.say(f"{where}: {error}")
                break
            self.say(f"{where}: perplexity {judged[-1].perplexity:.4f}")
        whole = len(judged) == self.k
        return Configuration(
            options=point,
            perplexities=[one.perplexity for one in judged] if whole else [math.inf] * self.k,
            learnt=[one.learnt for one in judged] if whole else [math.inf] * self.k,
            capacity=max(one.capacity for one in judged) if whole else None,
            seconds=round(time.monotonic() - began, 2),
        )

    def _fold(self, fold: int, point: Mapping[str, Any], where: str) -> Judgement:
        """Train without a fold, and measure on it, and on the next one; the model is gone afterwards."""
        model = train(self.folder / f"train-{fold}.txt", **{**self.options, **point})
        result = perplexity(model, self.folder / f"valid-{fold}.txt")
        self._compare(fold, result, where)
        learnt = perplexity(model, self.folder / f"valid-{(fold + 1) % self.k}.txt")
        return Judgement(result.perplexity, learnt.perplexity, model.capacity())

    def _compare(self, fold: int, result: Evaluation, where: str) -> None:
        """Refuse a measurement of other words than the first of this fold."""
        before = self.counts.setdefault(fold, (result.tokens, result.oov))
        if before != (result.tokens, result.oov):
            raise UsageError(
                f"{where}: other words are unknown than before ({result.oov:,}, not {before[1]:,}); such perplexities "
                "do not compare"
            )


def _checked(
    grid: Mapping[str, Sequence[Any]], options: Mapping[str, Any], backend: str
) -> dict[str, list[Any]]:
    """Give the grid with every value as its option has it, before any work is done."""
    configs = (TextConfig, BACKENDS[backend].config)
    owner = {f.name: config for config in configs for f in fields(config)}
    for name in [*grid, *options]:
        if name not in owner:
            raise UsageError(
                f"there is no option {name!r} of the backend {backend}; {did_you_mean(name, owner)}"
            )
    for name, values in grid.items():
        if name in _OF_WORDS:
            raise UsageError(
                f"{name} changes what is predicted, and such perplexities do not compare; choose it, and vary others"
            )
        if name in _OF_VALIDATION:
            raise UsageError(f"{name} needs a validation text, and no model has one in cross-validation")
        if name in options or not values:
            raise UsageError(f"{name} is given and varied at once, or has no values; vary it, or choose it")
    return {
        name: [getattr(make(owner[name], {name: value}), name) for value in values]
        for name, values in grid.items()
    }


def deal(corpus: Corpus, folder: Path, *, k: int) -> None:
    """Write the lines of a corpus into train-0.txt and valid-0.txt, ..., rest.txt and test.txt, in their order.

    Every line is in one fold, and in the training text of all others; but for the test lines, which are those that
    `lmkit train` holds out. Blank lines are for training.

    Raises:
        InputError: a fold or the test has no line.
    """
    names = [f"{kind}-{fold}.txt" for fold in range(k) for kind in ("train", "valid")] + [
        "rest.txt",
        "test.txt",
    ]
    lines = np.zeros(k + 1, np.int64)  # of each fold, and of the test
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in names}
        for block in corpus.blocks():
            shares, lengths = hashed_lines(block)
            test = (shares >= HOLDOUT / 2) & (shares < HOLDOUT)
            place = np.where(shares < HOLDOUT, shares, shares - HOLDOUT / 2) / (1 - HOLDOUT / 2)  # in [0, 1)
            fold = np.where(test, k, np.minimum((place * k).astype(np.int64), k - 1))
            fold[lengths == 1] = -1
            lines += np.bincount(fold[fold >= 0], minlength=k + 1)
            data, of_byte = np.frombuffer(block, np.uint8), np.repeat(fold, lengths)
            for number in range(k):
                files[f"train-{number}.txt"].write(data[(of_byte != number) & (of_byte != k)].tobytes())
                files[f"valid-{number}.txt"].write(data[of_byte == number].tobytes())
            files["rest.txt"].write(data[of_byte != k].tobytes())
            files["test.txt"].write(data[of_byte == k].tobytes())
    if not lines.all():
        raise InputError(
            f"{int(lines.sum())} lines that are not blank are too few for {k} folds and a test; give a longer text, or "
            "fewer folds"
        )


def shown(options: Mapping[str, Any], *, between: str = ", ") -> str:
    """Write options in a line, or otherwise apart."""
    return between.join(f"{name}={value}" for name, value in options.items())
