"""The main job: text in, a trained model out, the same for every backend."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lmkit.backends import BACKENDS
from lmkit.bundle import Record, save
from lmkit.config import TextConfig, make
from lmkit.errors import InputError, UsageError, did_you_mean
from lmkit.evaluation import perplexity
from lmkit.files import check_target, sha256
from lmkit.model import LanguageModel
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.splits import HOLDOUT, TrainingLines, bytes_corpus
from lmkit.text.tokenizer import TOKENIZERS, Tokenizer, suitable_tokenizer


def train(
    text: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    output: PathLike | None = None,
    backend: str = "ngram",
    valid: PathLike | None = None,
    test: PathLike | None = None,
    holdout: float | None = None,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> LanguageModel:
    """Train a language model, and save it if a place is given.

    Args:
        text: A path, several paths, or the text itself.
        output: The model folder to write; none if not given.
        backend: `ngram`, `rnn`, or the name of an installed one.
        valid, test: Files to measure on instead of held-out lines.
        holdout: The share of lines to hold out, half for validation and half for test, chosen by a hash of what
            they say. If not given: a tenth, but nothing where `valid` or `test` is given.
        force: Whether an existing model at `output` may be replaced.
        report: Receives lines for the user.
        **options: Fields of `TextConfig` and of the backend's config, by name.

    Raises:
        UsageError: an option is unknown, or cannot be.
        InputError: the text is empty or not text.
        ResourceError: the model cannot be written.

    >>> model = train("the fox ran .\\nthe fox sat .\\nthe owl sat .\\n" * 40, order=2)
    >>> model.order
    2
    """
    if output is not None:
        check_target(Path(output), force=force)
    chosen = BACKENDS[backend]
    text_config, model_config = _route(options, backend, chosen.config)
    if holdout is None:
        holdout = HOLDOUT if valid is None and test is None else 0.0
    began = time.monotonic()
    corpus = Corpus.of(text)
    corpus, text_config = _choose_tokenizer(corpus, text_config)
    lines = TrainingLines(corpus, holdout=holdout)
    kind: type[Tokenizer] = TOKENIZERS[text_config.tokenizer]
    tokenizer, ids = kind.learn(lines, options=text_config)
    if not (ids > 2).any() and not (ids == 0).any():
        names = ", ".join(source.name for source in corpus.sources)
        raise InputError(f"{names}: only blank lines ({lines.lines_read}); there is nothing to learn")
    report(f"{len(ids):,} tokens, {len(tokenizer.vocab):,} different, read as {tokenizer.kind}s")
    record = Record(splits=lines.record())
    _say_what_is_held_out(lines, record, holdout, report)
    if lines.valid and valid is None:
        record.held_out["valid.txt"] = lines.valid
    if lines.test and test is None:
        record.held_out["test.txt"] = lines.test
    for name, path in (("valid", valid), ("test", test)):
        if path is not None:
            file = Path(path).absolute()
            Corpus.from_paths(file).sources[
                0
            ].open().close()  # a wrong name is an error now, not after training
            record.splits[f"{name}_file"] = {"path": str(file), "sha256": sha256(file)}
    measured = _validation(valid, lines)
    model = chosen.train(
        ids,
        tokenizer=tokenizer,
        config=model_config,
        valid=None if measured is None else tokenizer.encode_corpus(measured),
        report=report,
        log=record.metrics.append,
    )
    del ids
    if measured is not None:
        result = perplexity(model, measured)
        record.summary["valid"] = result.as_dict()
        oov = f", {result.oov_rate:.1%} unknown words" if result.oov else ""
        report(f"validation perplexity {result.perplexity:.2f} ({result.tokens:,} tokens{oov})")
    record.summary["seconds"] = round(time.monotonic() - began, 2)
    record.options = {
        "backend": backend, "holdout": holdout, **dataclasses.asdict(text_config), **dataclasses.asdict(model_config)
    }  # fmt: skip
    if output is not None:
        save(model, output, force=force, record=record)
    return model


def _route(options: Mapping[str, Any], backend: str, config: type[Any]) -> tuple[TextConfig, Any]:
    """Give each option to the config that has it."""
    text_names = {f.name for f in dataclasses.fields(TextConfig)}
    model_names = {f.name for f in dataclasses.fields(config)}
    for name in options:
        if name not in text_names | model_names:
            owners = [other for other in BACKENDS.names() if name in _names(other)]
            if owners:
                raise UsageError(
                    f"option {name!r} belongs to the backend {' or '.join(owners)}, not to {backend}"
                )
            raise UsageError(f"there is no option {name!r}; {did_you_mean(name, text_names | model_names)}")
    return (
        make(TextConfig, {name: value for name, value in options.items() if name in text_names}),
        make(config, {name: value for name, value in options.items() if name in model_names}),
    )


def _names(backend: str) -> set[str]:
    return {f.name for f in dataclasses.fields(BACKENDS[backend].config)}


def _choose_tokenizer(corpus: Corpus, config: TextConfig) -> tuple[Corpus, TextConfig]:
    """Settle `auto`, and let the byte tokenizer read any bytes."""
    if config.tokenizer == "auto":
        config = dataclasses.replace(config, tokenizer=suitable_tokenizer(corpus))
    return Corpus(corpus.sources, raw=TOKENIZERS[config.tokenizer].raw), config


def _validation(valid: PathLike | None, lines: TrainingLines) -> Corpus | None:
    """Give the text to validate on: the user's, else the lines held out, else none."""
    if valid is not None:
        return Corpus(Corpus.from_paths(valid).sources, raw=lines.raw)
    return bytes_corpus("<validation lines>", lines.valid, raw=lines.raw) if lines.valid else None


def _say_what_is_held_out(
    lines: TrainingLines, record: Record, wanted: float, report: Callable[[str], None]
) -> None:
    splits = record.splits
    if splits["holdout"]:
        report(
            f"held out {splits['valid_lines']:,} lines for validation and {splits['test_lines']:,} for test of "
            f"{splits['lines']:,} (--holdout 0 trains on every line)"
        )
    elif wanted:
        report(
            f"only {splits['lines']:,} lines (or all alike): nothing is held out, the model is trained on all of them"
        )
