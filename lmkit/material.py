"""What a model is made of and measured on: texts read once, cut into tokens, and held out in part."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.backends import BACKENDS, Backend
from lmkit.bundle import Record
from lmkit.config import TextConfig
from lmkit.counting import natural_order, open_counts
from lmkit.errors import InputError, UsageError, did_you_mean
from lmkit.initial import Initial
from lmkit.model import LanguageModel
from lmkit.options import make
from lmkit.progress import Progress
from lmkit.scratch import Scratch
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.splits import HOLDOUT, MIN_LINES, TrainingLines
from lmkit.text.tokenizer import Tokenizer, check_options, choose_tokenizer
from lmkit.text.vocabulary import EOS, UNK


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What to learn from, what to measure on, and the share of lines to hold out for that; see `lmkit.train`."""

    train: Any
    valid: PathLike | Corpus | None = None
    test: PathLike | Corpus | None = None
    holdout: float | None = None


@dataclass
class Material:
    """What a model is made of and measured on.

    Attributes:
        fit: makes the model; takes `report` and `log` as `Backend` says.
        config: the options of the backend.
        record: what is to be kept of it.
        measured: the text to validate on, if there is one; `valid_ids`, the same as the backend got it, if it did.
        options: how it was prepared, resolved.
    """

    fit: Callable[..., LanguageModel]
    config: Any
    record: Record
    measured: Corpus | None
    options: dict[str, Any]
    valid_ids: np.ndarray | None = None


def from_text(
    texts: Texts,
    chosen: Backend,
    options: Mapping[str, Any],
    *,
    initial: Initial | None,
    goes_on: Path | None,
    report: Callable[[str], None] | None,
) -> Material:
    """Read a text: hold lines out, learn the tokenizer or take that of a model, turn it into ids.

    Args:
        texts, chosen, options: What `lmkit.train` was asked for.
        initial: The model to begin from.
        goes_on: The folder of the checkpoints to go on from.
        report: Receives lines for the user.
    """
    text_config, model_config = _route(options, chosen, initial, goes_on)
    holdout = texts.holdout
    if holdout is None:
        holdout = HOLDOUT if texts.valid is None and texts.test is None else 0.0
    scratch = Scratch.of(model_config)
    corpus = Corpus.to_learn_from(texts.train)
    if initial is None:
        kind, text_config = choose_tokenizer(corpus, text_config)
    else:
        kind = type(initial.model.tokenizer)
    given = _given(kind, text_config.specials, texts)
    with Progress(["reading"], show=report is not None, unit="bytes") as progress:
        progress.stage("reading")
        lines = TrainingLines(
            kind.reads(corpus, text_config.specials),
            holdout=holdout,
            valid=texts.valid is None,
            test=texts.test is None,
            watch=progress.advance,
        )
        learn = kind.learn if initial is None else initial.read
        tokenizer, ids = learn(lines, options=text_config, scratch=scratch)
    if not any(((piece > EOS) | (piece == UNK)).any() for piece in scratch.pieces(ids)):
        names = ", ".join(source.name for source in corpus.sources)
        raise InputError(f"{names}: only blank lines ({lines.lines_read}); there is nothing to learn")
    if report:
        if initial is None:
            report(f"{len(ids):,} tokens, {len(tokenizer.vocab):,} different, read as {tokenizer.kind}s")
        else:
            report(initial.remark(tokenizer, ids, scratch=scratch))
        report(_what_is_held_out(lines, holdout))
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
    valid = None if measured is None or not chosen.tunes else tokenizer.encode_corpus(measured)
    fit = partial(fit, ids, tokenizer=tokenizer, config=model_config, valid=valid)
    return Material(fit, model_config, record, measured, options, valid)


def from_counts(texts: Texts, chosen: Backend, options: Mapping[str, Any]) -> Material:
    """Open counts: their texts were cut into tokens when they were counted, and nothing can be held out of them."""
    if texts.holdout:
        raise UsageError("nothing can be held out of counts; give --valid and --test files")
    train = texts.train
    names = [os.fspath(name) for name in ([train] if isinstance(train, str | os.PathLike) else train)]
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
    given = _given(type(tokenizer), tokenizer.specials, texts)
    record = Record(splits={"sources": names, "lines": sum(part.lines for part in parts)})
    _keep_given(record, given)
    fit = partial(train_on_counts, parts, options=text_config, config=model_config)
    return Material(fit, model_config, record, given.get("valid"), {"counts": names, **asdict(text_config)})


def _route(
    options: Mapping[str, Any],
    chosen: Backend,
    initial: Initial | None = None,
    goes_on: Path | None = None,
) -> tuple[TextConfig, Any]:
    """Give each option to the config that has it, as far as what there is to begin or go on from leaves it open."""
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
    if goes_on is not None:
        model_config = chosen.resume(model_config, folder=goes_on, given=options.keys())
    elif initial is not None:
        model_config = chosen.begin(model_config, initial=initial.model, given=options.keys())
    chosen.check(model_config)
    return text_config, model_config


def _names(backend: str) -> set[str]:
    return {f.name for f in dataclasses.fields(BACKENDS[backend].config)}


def _given(kind: type[Tokenizer], specials: str, texts: Texts) -> dict[str, Corpus]:
    """Read the texts to measure on once: what is wrong with them is an error now, not after the training."""
    given = {
        name: kind.reads(text if isinstance(text, Corpus) else Corpus.from_paths(text), specials)
        for name, text in (("valid", texts.valid), ("test", texts.test))
        if text is not None
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


def _what_is_held_out(lines: TrainingLines, wanted: float) -> str:
    splits = lines.record()
    if splits["holdout"]:
        return (
            f"held out {splits['valid_lines']:,} lines for validation and {splits['test_lines']:,} for test of "
            f"{splits['lines']:,} (--holdout 0 trains on every line)"
        )
    why = f" (fewer than {MIN_LINES}, or none with such a hash)" if wanted else ""
    return f"nothing is held out, the model is trained on all {splits['lines']:,} lines{why}"
