"""Model selection: which options suit a text, judged on every line of it in turn, by a model that has not met it.

For each configuration k models are trained, each without one of k folds of the text, which it is then measured on. A
twentieth of the lines is kept out of all of it, the test lines that `lmkit train` would hold out: they measure one
model, once, the winner, trained again on all folds.
"""

from __future__ import annotations

import itertools
import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lmkit.backends import BACKENDS
from lmkit.bundle import note_test
from lmkit.config import TextConfig
from lmkit.errors import UsageError, did_you_mean
from lmkit.evaluation import Evaluation, perplexity
from lmkit.folders import check_target
from lmkit.folds import Judgement, Pending, deal, judges
from lmkit.options import make
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.sources import Source
from lmkit.text.tokenizer import choose_tokenizer
from lmkit.threads import cores
from lmkit.training import train

MOST_FOLDS = 50
# options that change what is predicted: such perplexities do not compare
_OF_WORDS = ("tokenizer", "vocab", "vocab_size", "min_count", "specials", "limit_vocab")
# options that need what no model has here
_OF_OTHERS = {"patience": "a validation text", "loss": "a teacher", "teacher_share": "a teacher"}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One point of a grid, and what came of it.

    Attributes:
        options: by name.
        perplexities: on each fold, of the model that was trained on the others; infinite where training diverged.
        learnt: on as much of what each model was trained on; far below the others, it has been learnt by heart.
        capacity: what a model can keep, its parameters or its n-grams; the largest of them, None where one diverged.
        seconds: for all of it, one model after another.
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
    jobs: int | None = 1,
    backend: str = "ngram",
    refit: bool = False,
    output: PathLike | None = None,
    force: bool = False,
    report: Callable[[str], None] | None = None,
    **options: Any,
) -> CrossValidation:
    """Compare every combination of some options by k-fold cross-validation.

    Networks have no validation text here: they are trained to the end of their time or epochs, and their last weights
    are measured.

    Args:
        text: As for `lmkit.train`.
        grid: The values to try of each option.
        k: How many folds.
        jobs: How many models are trained at once; more than one have a process each, which imports the main module
            anew (a script then begins with `if __name__ == "__main__":`). None is one for each core, up to k, for
            networks that are trained on a CPU for a number of epochs, and one otherwise.
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
    if jobs is not None and jobs < 1:
        raise UsageError(f"{jobs} models cannot be trained at once; give 1 or more")
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
        counts: dict[int, tuple[int, int]] = {}
        jobs, of_fold = _shared_out(jobs, k, options, grid)
        with judges(folder, [of_fold | point for point in points], k=k, jobs=jobs) as judged:
            found = [
                _configuration(point, folds, counts, say) for point, folds in zip(points, judged, strict=True)
            ]
        found.sort(key=lambda configuration: configuration.mean)
        test = None
        if refit:
            rest = Source(f"{names}, but test lines", lambda: (folder / "rest.txt").open("rb"), lasting=False)
            kept_out = Source(f"{names}, test lines", lambda: (folder / "test.txt").open("rb"), lasting=False)
            options |= found[0].options
            model = train(Corpus([rest]), test=Corpus([kept_out]), output=output, force=force, **options)
            test = perplexity(model, folder / "test.txt")
            if output is not None:
                note_test(Path(output), test.as_dict()["perplexity"])
                say(f"saved {output}")
    return CrossValidation(configurations=found, test=test)


def _configuration(
    point: dict[str, Any],
    folds: Sequence[Pending],
    counts: dict[int, tuple[int, int]],
    say: Callable[[str], None],
) -> Configuration:
    """Gather what came of a point of the grid on each fold; `counts` has the tokens and unknown words of each so far.

    Raises:
        UsageError: other words are unknown than in the configurations before.
    """
    judged: list[Judgement] = []
    for fold, pending in enumerate(folds):
        where = f"{shown(point)}, fold {fold + 1} of {len(folds)}"
        judged.append(one := pending.result())
        if one.diverged is not None:
            say(f"{where}: {one.diverged}")
            for other in folds[fold + 1 :]:
                other.cancel()
            break
        before = counts.setdefault(fold, (one.tokens, one.oov))
        if before != (one.tokens, one.oov):
            raise UsageError(
                f"{where}: other words are unknown than before ({one.oov:,}, not {before[1]:,}); such perplexities do "
                "not compare"
            )
        say(f"{where}: perplexity {one.perplexity:.4f}")
    whole = judged[-1].diverged is None
    return Configuration(
        options=point,
        perplexities=[one.perplexity for one in judged] if whole else [math.inf] * len(folds),
        learnt=[one.learnt for one in judged] if whole else [math.inf] * len(folds),
        capacity=max(one.capacity for one in judged) if whole else None,
        seconds=round(sum(one.seconds for one in judged), 2),
    )


def _shared_out(
    jobs: int | None, k: int, options: dict[str, Any], grid: Mapping[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Settle how many models are trained at once, and give the options with the threads that each of them has.

    A network on a CPU gains less from a second thread than two of them gain from a core each. But what a time is worth,
    and which size it allows, depends on who else is at work; counting n-grams takes all cores as it is; and a GPU
    trains one network at a time.
    """
    if options["backend"] != "rnn":
        return jobs or 1, options
    if jobs is None:
        from lmkit.nn.devices import choose

        asked = {*options, *grid}
        apart = "epochs" in asked and "budget" not in asked and not {"threads", "device"} & grid.keys()
        on_cpu = apart and choose(options.get("device", "auto")).type == "cpu"
        jobs = min(max(1, cores() // options.get("threads", 1)), k) if on_cpu else 1
    return jobs, options if jobs == 1 else {"threads": max(1, cores() // jobs), **options}


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
    for name in [*grid, *options]:
        if name in _OF_OTHERS:
            raise UsageError(
                f"{name} needs {_OF_OTHERS[name]}, which no model has in cross-validation; leave it out"
            )
    for name, values in grid.items():
        if len({str(value) for value in values}) < len(values):
            raise UsageError(f"{name} has a value twice: {', '.join(map(str, values))}; name each once")
        if name in _OF_WORDS:
            raise UsageError(
                f"{name} changes what is predicted, and such perplexities do not compare; choose it, and vary others"
            )
        if name in options or not values:
            raise UsageError(f"{name} is given and varied at once, or has no values; vary it, or choose it")
    return {
        name: [getattr(make(owner[name], {name: value}), name) for value in values]
        for name, values in grid.items()
    }


def shown(options: Mapping[str, Any], *, between: str = ", ") -> str:
    """Write options in a line, or otherwise apart."""
    return between.join(f"{name}={value}" for name, value in options.items())
