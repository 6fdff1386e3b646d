"""The main job: text in, a trained model out, the same for every backend."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from lmkit.backends import BACKENDS, Backend
from lmkit.bundle import Record, save
from lmkit.config import TextConfig, make, seconds
from lmkit.counting import natural_order, open_counts
from lmkit.errors import InputError, Stopped, UsageError, did_you_mean
from lmkit.evaluation import perplexity, seconds_to_score
from lmkit.files import check_target
from lmkit.initial import Initial
from lmkit.model import LanguageModel
from lmkit.progress import Progress
from lmkit.report.tensorboard import check_events, event_log
from lmkit.scratch import Scratch, peak, resident
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.splits import HOLDOUT, MIN_LINES, TrainingLines
from lmkit.text.tokenizer import Tokenizer, check_options, choose_tokenizer
from lmkit.text.vocabulary import EOS, UNK
from lmkit.threads import is_main_process

_VALIDATION_SHARE = 0.04  # of a budget, at most, for measuring the model at the end


def train(
    text: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    output: PathLike | None = None,
    backend: str = "ngram",
    counts: bool = False,
    valid: PathLike | None = None,
    test: PathLike | None = None,
    holdout: float | None = None,
    init_from: PathLike | None = None,
    extend_vocab: bool = False,
    force: bool = False,
    resume: bool = False,
    tensorboard: PathLike | None = None,
    report: Callable[[str], None] | None = None,
    **options: Any,
) -> LanguageModel:
    """Train a language model, and save it if a place is given.

    Args:
        text: A path, several paths, or the text itself: a string of several lines.
        output: The model folder to write; none if not given.
        backend: `ngram`, `rnn`, or the name of an installed one.
        counts: Whether `text` names counts (of `lmkit.count`, or files of n-grams and their counts) instead of texts.
        valid, test: Files to measure on instead of held-out lines.
        holdout: The share of lines to hold out, half for validation and half for test, chosen by a hash of what
            they say. If not given: a tenth, but nothing where `valid`, `test` or `counts` is given.
        init_from: A model folder to begin from; the text is read with that model's tokenizer.
        extend_vocab: Whether to add the words of the text that this model does not know.
        force: Whether an existing model at `output` may be replaced.
        resume: Whether to go on with a training that broke off, from the checkpoint beside `output`; the texts and the
            options are to be the same.
        tensorboard: A folder to write the learning curve to for TensorBoard as it grows; one for each training.
        report: Receives lines for the user; without it nothing is said.
        **options: Fields of `TextConfig` and of the backend's config, by name.

    Raises:
        UsageError: an option is unknown, or cannot be.
        InputError: the text is empty or not text.
        ResourceError: the model cannot be written, or a device or an optional package is not there.
        DivergedError: training left the finite numbers.
        Stopped: the user or the system ended it; what had come of it is saved, and in `.model`.

    >>> model = train("the fox ran .\\nthe fox sat .\\nthe owl sat .\\n" * 40, order=2)
    >>> model.order
    2
    """
    force = force or resume
    if output is not None:
        check_target(Path(output), force=force)
    if not is_main_process():  # of several, one speaks and writes
        report = tensorboard = None
    if tensorboard is not None:
        check_events(Path(tensorboard), output=None if output is None else Path(output))
    began = time.monotonic()
    chosen = BACKENDS[backend]
    checkpoint = _checkpoint_beside(output, chosen, resume=resume, force=force)
    initial = _initial(init_from, chosen, extend_vocab=extend_vocab, counts=counts)
    prepare = _from_counts if counts else partial(_from_text, initial=initial)
    material = prepare(text, chosen, options, valid=valid, test=test, holdout=holdout, report=report)
    record, say = material.record, report or _silent
    stopped: Stopped | None = None
    try:
        with event_log(tensorboard, record.metrics.append) as log:
            keep = {"checkpoint": checkpoint, "resume": resume} if chosen.checkpoints else {}
            model = material.fit(report=report, log=log, **keep)
    except Stopped as stop:
        if stop.model is None:
            raise
        stopped, model = stop, cast(LanguageModel, stop.model)  # as far as it has come, it is worth keeping
    if material.measured is not None and stopped is None:
        _validate(model, material.measured, material.config, record, say)
    record.summary |= {"seconds": round(time.monotonic() - began, 2), "stopped_early": stopped is not None}
    record.options = {"backend": backend, **material.options, **asdict(material.config)}
    if output is not None and is_main_process():
        save(model, output, force=force, record=record)
        if checkpoint is not None and stopped is None:
            shutil.rmtree(checkpoint, ignore_errors=True)
    say(f"{time.monotonic() - began:.1f} s, at most {peak() / 1e9:.2f} GB of memory")
    if stopped is not None:
        raise stopped
    return model


def _checkpoint_beside(output: PathLike | None, chosen: Backend, *, resume: bool, force: bool) -> Path | None:
    """Give the folder for the checkpoints of a training.

    Raises:
        UsageError: there is nothing to resume, or what is there would be lost.
    """
    if output is None or not chosen.checkpoints:
        if resume:
            raise UsageError(
                "there is no checkpoint to resume from: "
                + (
                    "name the model: -o MODEL"
                    if chosen.checkpoints
                    else f"a training of {chosen.name} keeps none"
                )
            )
        return None
    place = Path(f"{os.path.normpath(output)}.checkpoint")
    if place.exists() and not force:
        raise UsageError(
            f"{place}: a training broke off here; go on with --resume, or begin anew with --force"
        )
    if not resume and is_main_process():
        shutil.rmtree(place, ignore_errors=True)
    return place


@dataclass
class _Material:
    """What a model is made of and measured on.

    Attributes:
        fit: makes the model; takes `report` and `log` as `Backend` says.
        config: the options of the backend.
        record: what is to be kept of it.
        measured: the text to validate on, if there is one.
        options: how it was prepared, resolved.
    """

    fit: Callable[..., LanguageModel]
    config: Any
    record: Record
    measured: Corpus | None
    options: dict[str, Any]


def _initial(path: PathLike | None, chosen: Backend, *, extend_vocab: bool, counts: bool) -> Initial | None:
    """Open the model to begin from, if there is one."""
    if path is None:
        if extend_vocab:
            raise UsageError("--extend-vocab adds words to those of a model; name it: --init-from MODEL")
        return None
    if counts:
        raise UsageError(
            "--init-from and --counts cannot go together: a model is trained on with text itself"
        )
    return Initial.open(path, backend=chosen, extend_vocab=extend_vocab)


def _from_text(
    text: Any,
    chosen: Backend,
    options: Mapping[str, Any],
    *,
    initial: Initial | None,
    valid: PathLike | None,
    test: PathLike | None,
    holdout: float | None,
    report: Callable[[str], None] | None,
) -> _Material:
    """Read a text: hold lines out, learn the tokenizer or take that of a model, turn it into ids."""
    text_config, model_config = _route(options, chosen, initial)
    if holdout is None:
        holdout = HOLDOUT if valid is None and test is None else 0.0
    say, scratch = report or _silent, Scratch.of(model_config)
    corpus = Corpus.to_learn_from(text)
    if initial is None:
        kind, text_config = choose_tokenizer(corpus, text_config)
    else:
        kind = type(initial.model.tokenizer)
    given = _given(kind, text_config.specials, valid=valid, test=test)
    with Progress(["reading"], show=report is not None, unit="bytes") as progress:
        progress.stage("reading")
        lines = TrainingLines(
            kind.reads(corpus, text_config.specials),
            holdout=holdout,
            valid=valid is None,
            test=test is None,
            watch=progress.advance,
        )
        learn = kind.learn if initial is None else initial.read
        tokenizer, ids = learn(lines, options=text_config, scratch=scratch)
    if not any(((piece > EOS) | (piece == UNK)).any() for piece in scratch.pieces(ids)):
        names = ", ".join(source.name for source in corpus.sources)
        raise InputError(f"{names}: only blank lines ({lines.lines_read}); there is nothing to learn")
    if initial is None:
        say(f"{len(ids):,} tokens, {len(tokenizer.vocab):,} different, read as {tokenizer.kind}s")
    else:
        say(initial.remark(tokenizer, ids, scratch=scratch))
    say(_what_is_held_out(lines, holdout))
    record = Record(splits=lines.record(), metrics=[{"seconds": progress.seconds}])
    fit, options = chosen.train, {"holdout": holdout, **asdict(text_config)}
    if initial is not None:
        record.splits["lineage"] = initial.lineage
        options |= {"init_from": str(initial.path), "extend_vocab": initial.extend_vocab}
        fit = partial(fit, initial=initial.model)
    _keep_given(record, given)
    for name, held_out in (("valid", lines.valid), ("test", lines.test)):
        if held_out.count:
            record.held_out[f"{name}.txt"] = given[name] = held_out.corpus(f"<{name} lines>")
    measured = given.get("valid")
    fit = partial(
        fit,
        ids,
        tokenizer=tokenizer,
        config=model_config,
        valid=None if measured is None or not chosen.tunes else tokenizer.encode_corpus(measured),
    )
    return _Material(fit, model_config, record, measured, options)


def _from_counts(
    text: Any,
    chosen: Backend,
    options: Mapping[str, Any],
    *,
    valid: PathLike | None,
    test: PathLike | None,
    holdout: float | None,
    report: Callable[[str], None] | None,
) -> _Material:
    """Open counts: their texts were cut into tokens when they were counted, and nothing can be held out of them."""
    if holdout:
        raise UsageError("nothing can be held out of counts; give --valid and --test files")
    names = [os.fspath(name) for name in ([text] if isinstance(text, str | os.PathLike) else text)]
    kind = options.get("tokenizer", "auto")
    kind = "word" if kind == "auto" else str(kind)
    train_on_counts = chosen.train_on_counts
    parts = [open_counts(name, kind=kind) for name in names]
    if not parts:
        raise UsageError("no counts were named; make some first: lmkit count corpus.txt -o counts")
    text_config, model_config = _route({"order": natural_order(parts), **options}, chosen)
    tokenizer = parts[0].tokenizer
    if text_config.tokenizer not in ("auto", tokenizer.kind) or text_config.specials != "error":
        raise UsageError(
            f"these are counts of {tokenizer.kind}s: tokenizer and specials were chosen when the text was counted"
        )
    text_config = replace(text_config, tokenizer=tokenizer.kind, specials=tokenizer.specials)
    check_options(type(tokenizer), text_config)
    given = _given(type(tokenizer), tokenizer.specials, valid=valid, test=test)
    record = Record(splits={"sources": names, "lines": sum(part.lines for part in parts)})
    _keep_given(record, given)
    fit = partial(train_on_counts, parts, options=text_config, config=model_config)
    return _Material(fit, model_config, record, given.get("valid"), {"counts": names, **asdict(text_config)})


def _validate(
    model: LanguageModel, text: Corpus, config: Any, record: Record, say: Callable[[str], None]
) -> None:
    """Measure a model on its validation text, unless that would take more memory, or time, than there is."""
    scratch = Scratch.of(config)
    size = sum(array.nbytes for array in model.arrays().values())
    if scratch.memory is not None and size > scratch.memory - resident():
        say("validation is not measured: scoring would take more memory than is allowed; see lmkit ppl")
        return
    if getattr(config, "budget", None) is not None:
        needed, left = seconds_to_score(model, text), _VALIDATION_SHARE * seconds(config.budget)
        if needed > left:
            say(f"the whole validation text is not measured: that takes about {needed:.0f} s; see lmkit ppl")
            return
    result = perplexity(model, text)
    record.summary["valid"] = result.as_dict()
    oov = f", {result.oov_rate:.1%} unknown words" if result.oov else ""
    say(f"validation perplexity {result.perplexity:.2f} ({result.tokens:,} tokens{oov})")


def _route(
    options: Mapping[str, Any], chosen: Backend, initial: Initial | None = None
) -> tuple[TextConfig, Any]:
    """Give each option to the config that has it, let the model to begin from settle its own, and check the rest."""
    config = chosen.config
    text_names = {f.name for f in dataclasses.fields(TextConfig)}
    model_names = {f.name for f in dataclasses.fields(config)}
    for name in options:
        if name not in text_names | model_names:
            owners = [other for other in BACKENDS.names() if name in _names(other)]
            if owners:
                raise UsageError(
                    f"option {name!r} belongs to the backend {' or '.join(owners)}, not to {chosen.name}"
                )
            raise UsageError(f"there is no option {name!r}; {did_you_mean(name, text_names | model_names)}")
    text_config = make(TextConfig, {name: options[name] for name in options if name in text_names})
    model_config = make(config, {name: options[name] for name in options if name in model_names})
    if initial is not None:
        text_config = initial.text_config(text_config, options)
        model_config = chosen.begin(model_config, initial=initial.model, given=options.keys())
    chosen.check(model_config)
    return text_config, model_config


def _names(backend: str) -> set[str]:
    return {f.name for f in dataclasses.fields(BACKENDS[backend].config)}


def _given(kind: type[Tokenizer], specials: str, **paths: PathLike | None) -> dict[str, Corpus]:
    """Read the texts to measure on once: what is wrong with them is an error now, not after the training."""
    given = {
        name: kind.reads(Corpus.from_paths(path), specials)
        for name, path in paths.items()
        if path is not None
    }
    for corpus in given.values():
        for _ in corpus.blocks():
            pass
    return given


def _keep_given(record: Record, given: Mapping[str, Corpus]) -> None:
    """Note where the texts to measure on are, or keep what came through a pipe and is gone afterwards."""
    for name, corpus in given.items():
        if all(source.lasting for source in corpus.sources):
            record.splits[f"{name}_files"] = [os.path.abspath(source.name) for source in corpus.sources]
        else:
            record.held_out[f"{name}.txt"] = corpus


def _silent(_: str) -> None:
    """Say nothing."""


def _what_is_held_out(lines: TrainingLines, wanted: float) -> str:
    splits = lines.record()
    if splits["holdout"]:
        return (
            f"held out {splits['valid_lines']:,} lines for validation and {splits['test_lines']:,} for test of "
            f"{splits['lines']:,} (--holdout 0 trains on every line)"
        )
    why = f" (fewer than {MIN_LINES}, or none with such a hash)" if wanted else ""
    return f"nothing is held out, the model is trained on all {splits['lines']:,} lines{why}"
