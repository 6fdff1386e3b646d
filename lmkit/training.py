"""The main job: text in, a trained model out, the same for every backend."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from lmkit.backends import BACKENDS
from lmkit.bundle import Record, save
from lmkit.config import TextConfig, make
from lmkit.errors import InputError, Stopped, UsageError, did_you_mean
from lmkit.evaluation import perplexity
from lmkit.files import check_target
from lmkit.model import LanguageModel
from lmkit.scratch import Scratch
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.splits import HOLDOUT, MIN_LINES, TrainingLines, bytes_corpus
from lmkit.text.tokenizer import TOKENIZERS, Tokenizer, suitable_tokenizer
from lmkit.text.vocabulary import EOS, UNK


def train(
    text: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    output: PathLike | None = None,
    backend: str = "ngram",
    valid: PathLike | None = None,
    test: PathLike | None = None,
    holdout: float | None = None,
    force: bool = False,
    report: Callable[[str], None] | None = None,
    **options: Any,
) -> LanguageModel:
    """Train a language model, and save it if a place is given.

    Args:
        text: A path, several paths, or the text itself: a string of several lines.
        output: The model folder to write; none if not given.
        backend: `ngram`, `rnn`, or the name of an installed one.
        valid, test: Files to measure on instead of held-out lines.
        holdout: The share of lines to hold out, half for validation and half for test, chosen by a hash of what
            they say. If not given: a tenth, but nothing where `valid` or `test` is given.
        force: Whether an existing model at `output` may be replaced.
        report: Receives lines for the user; without it nothing is said.
        **options: Fields of `TextConfig` and of the backend's config, by name.

    Raises:
        UsageError: an option is unknown, or cannot be.
        InputError: the text is empty or not text.
        ResourceError: the model cannot be written, or the device is not there.
        DivergedError: training left the finite numbers.
        Stopped: the user or the system ended it; what had come of it is saved, and in `.model`.

    >>> model = train("the fox ran .\\nthe fox sat .\\nthe owl sat .\\n" * 40, order=2)
    >>> model.order
    2
    """
    if output is not None:
        check_target(Path(output), force=force)
    chosen = BACKENDS[backend]
    text_config, model_config = _route(options, backend, chosen.config)
    chosen.check(model_config)
    if holdout is None:
        holdout = HOLDOUT if valid is None and test is None else 0.0
    began = time.monotonic()
    say = report or (lambda line: None)
    one_line = isinstance(text, str) and "\n" not in text  # no text to learn from: the name of a file
    corpus = Corpus.from_paths(cast(str, text)) if one_line else Corpus.of(text)
    kind, text_config = _choose_tokenizer(corpus, text_config)
    given = {
        name: _given(path, kind, text_config) for name, path in (("valid", valid), ("test", test)) if path
    }
    lines = TrainingLines(
        kind.reads(corpus, text_config.specials), holdout=holdout, valid=valid is None, test=test is None
    )
    tokenizer, ids = kind.learn(lines, options=text_config, scratch=Scratch.of(model_config))
    if not (ids > EOS).any() and not (ids == UNK).any():
        names = ", ".join(source.name for source in corpus.sources)
        raise InputError(f"{names}: only blank lines ({lines.lines_read}); there is nothing to learn")
    say(f"{len(ids):,} tokens, {len(tokenizer.vocab):,} different, read as {tokenizer.kind}s")
    say(_what_is_held_out(lines, holdout))
    record = Record(splits=lines.record())
    for name, part in given.items():
        if all(source.lasting for source in part.sources):
            record.splits[f"{name}_files"] = [os.path.abspath(source.name) for source in part.sources]
        else:  # a pipe is gone afterwards
            record.held_out[f"{name}.txt"] = b"".join(part.blocks())
    for name, held_out in (("valid", lines.valid), ("test", lines.test)):
        if held_out:
            record.held_out[f"{name}.txt"] = held_out
            given.setdefault(name, bytes_corpus(f"<{name} lines>", held_out, raw=lines.raw))
    measured = given.get("valid")
    stopped: Stopped | None = None
    try:
        model = chosen.train(
            ids,
            tokenizer=tokenizer,
            config=model_config,
            valid=None if measured is None else tokenizer.encode_corpus(measured),
            report=report,
            log=record.metrics.append,
        )
    except Stopped as stop:  # the model as far as it has come is worth keeping
        stopped, model = stop, cast(LanguageModel, stop.model)
    del ids
    if measured is not None and stopped is None:
        result = perplexity(model, measured)
        record.summary["valid"] = result.as_dict()
        oov = f", {result.oov_rate:.1%} unknown words" if result.oov else ""
        say(f"validation perplexity {result.perplexity:.2f} ({result.tokens:,} tokens{oov})")
    record.summary |= {"seconds": round(time.monotonic() - began, 2), "stopped_early": stopped is not None}
    record.options = {"backend": backend, "holdout": holdout, **asdict(text_config), **asdict(model_config)}
    if output is not None:
        save(model, output, force=force, record=record)
    if stopped is not None:
        raise stopped
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


def _choose_tokenizer(corpus: Corpus, config: TextConfig) -> tuple[type[Tokenizer], TextConfig]:
    """Settle `auto`, and refuse options that the tokenizer does not have."""
    if config.tokenizer == "auto":
        config = dataclasses.replace(config, tokenizer=suitable_tokenizer(corpus))
    kind: type[Tokenizer] = TOKENIZERS[config.tokenizer]
    for f in dataclasses.fields(TextConfig):
        if f.name != "tokenizer" and f.name not in kind.options and getattr(config, f.name) != f.default:
            known = ", ".join(sorted(kind.options)) or "none"
            raise UsageError(f"the tokenizer {config.tokenizer} has no option {f.name}; it has {known}")
    if config.vocab is not None and (config.min_count > 1 or config.vocab_size is not None):
        raise UsageError(
            "vocab says which words there are; min_count and vocab_size cannot choose among them"
        )
    return kind, config


def _given(path: PathLike, kind: type[Tokenizer], config: TextConfig) -> Corpus:
    """Read a text to measure on once: what is wrong with it is an error now, not after the training."""
    corpus = kind.reads(Corpus.from_paths(path), config.specials)
    for _ in corpus.blocks():
        pass
    return corpus


def _what_is_held_out(lines: TrainingLines, wanted: float) -> str:
    splits = lines.record()
    if splits["holdout"]:
        return (
            f"held out {splits['valid_lines']:,} lines for validation and {splits['test_lines']:,} for test of "
            f"{splits['lines']:,} (--holdout 0 trains on every line)"
        )
    why = f" (fewer than {MIN_LINES}, or none with such a hash)" if wanted else ""
    return f"nothing is held out, the model is trained on all {splits['lines']:,} lines{why}"
