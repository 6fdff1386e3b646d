"""The main job: text in, a trained model out, the same for every backend."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from lmkit.backends import BACKENDS, Backend
from lmkit.bundle import load, read_config, save
from lmkit.checkpoints import Checkpoints
from lmkit.config import MEASURING_SHARE
from lmkit.errors import Stopped, UsageError
from lmkit.evaluation import perplexity
from lmkit.folders import check_target
from lmkit.initial import Initial
from lmkit.material import Material, Texts, from_counts, from_text
from lmkit.model import LanguageModel
from lmkit.report.tensorboard import check_events, event_log
from lmkit.scratch import Scratch, peak, resident
from lmkit.text.corpus import Corpus, PathLike
from lmkit.threads import is_main_process


def train(
    text: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    output: PathLike | None = None,
    backend: str = "ngram",
    counts: bool = False,
    valid: PathLike | Corpus | None = None,
    test: PathLike | Corpus | None = None,
    holdout: float | None = None,
    init_from: PathLike | None = None,
    teacher: PathLike | LanguageModel | None = None,
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
        teacher: A model, or its folder, to learn from beside the text; it must know the same tokens.
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
    taught_by = _teacher(teacher, chosen, options)
    texts = Texts(train=text, valid=valid, test=test, holdout=holdout)
    if counts:
        material = from_counts(texts, chosen, options)
    else:
        goes_on = checkpoint if resume else None
        material = from_text(texts, chosen, options, initial=initial, goes_on=goes_on, report=report)
    record, say = material.record, report or _silent
    stopped: Stopped | None = None
    try:
        with event_log(tensorboard, record.metrics.append) as log:
            keep: dict[str, Any] = {}
            if chosen.resume_place is not None:
                keep = {"checkpoint": checkpoint, "resume": resume}
            if taught_by is not None:
                keep["teacher"] = taught_by
            model = material.fit(report=report, log=log, **keep)
    except Stopped as stop:
        if stop.model is None:
            raise
        stopped, model = stop, cast(LanguageModel, stop.model)  # as far as it has come, it is worth keeping
    late: BaseException | None = None
    if stopped is None:
        try:
            _validate(model, material, say)
        except BaseException as error:  # such as Ctrl-C: the model is done all the same, and kept
            late = error
    record.summary |= {"seconds": round(time.monotonic() - began, 2), "stopped_early": stopped is not None}
    record.options = {"backend": backend, **material.options, **asdict(material.config)}
    if stopped is not None and _stays(output, checkpoint):
        say(f"{output} keeps the model that was there; what has been learnt is in {checkpoint}, for --resume")
    elif output is not None and is_main_process():
        save(model, output, force=force, record=record)
        if checkpoint is not None and stopped is None:
            Checkpoints(checkpoint).remove()
    say(f"{time.monotonic() - began:.1f} s, at most {peak() / 1e9:.2f} GB of memory")
    if stopped is not None:
        raise stopped
    if late is not None:
        raise late
    return model


def _checkpoint_beside(output: PathLike | None, chosen: Backend, *, resume: bool, force: bool) -> Path | None:
    """Give the folder for the checkpoints of a training.

    Raises:
        UsageError: there is nothing to resume, or what is there would be lost.
    """
    if output is None or chosen.resume_place is None:
        if resume:
            raise UsageError(
                "there is no checkpoint to resume from: "
                + (
                    "name the model: -o MODEL"
                    if chosen.resume_place is not None
                    else f"a training of {chosen.name} keeps none"
                )
            )
        return None
    place = Path(f"{os.path.normpath(output)}.checkpoint")
    if Checkpoints(place).whole() and not force:
        raise UsageError(
            f"{place}: a training broke off here; go on with --resume, or begin anew with --force"
        )
    return place


def _stays(output: PathLike | None, checkpoint: Path | None) -> bool:
    """Say whether a model that is done is not to be replaced by one that is not, but can be gone on with."""
    if (
        output is None
        or checkpoint is None
        or not Checkpoints(checkpoint).whole()
        or not Path(output).exists()
    ):
        return False
    return not read_config(Path(output)).get("summary", {}).get("stopped_early", False)


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


def _teacher(
    teacher: PathLike | LanguageModel | None, chosen: Backend, options: dict[str, Any]
) -> LanguageModel | None:
    """Open the model to learn from, if there is one."""
    if teacher is None:
        if alone := {"loss", "teacher_share"} & options.keys():
            name = sorted(alone)[0]
            raise UsageError(f"{name} says how to learn from a model; name it: --teacher MODEL")
        return None
    if not chosen.teachable:
        raise UsageError(f"a model of the backend {chosen.name} learns from text alone; leave out --teacher")
    return teacher if isinstance(teacher, LanguageModel) else load(teacher)


def _validate(model: LanguageModel, material: Material, say: Callable[[str], None]) -> None:
    """Measure a model on its validation text, if it has one and there is the memory and the time for it."""
    if material.measured is None:
        return
    scratch = Scratch.of(material.config)
    size = sum(array.nbytes for array in model.arrays().values())
    if scratch.memory is not None and size > scratch.memory - resident():
        say("validation is not measured: scoring would take more memory than is allowed; see lmkit ppl")
        return
    ids, span = material.valid_ids, getattr(material.config, "time", math.inf)
    if ids is not None and math.isfinite(span):
        needed = len(ids) * model.seconds_per_token(ids)
        if needed > MEASURING_SHARE * span:
            say(f"the whole validation text is not measured: that takes about {needed:.0f} s; see lmkit ppl")
            return
    result = perplexity(model, material.measured)
    material.record.summary["valid"] = result.as_dict()
    oov = f", {result.oov_rate:.1%} unknown words" if result.oov else ""
    say(f"validation perplexity {result.perplexity:.2f} ({result.tokens:,} tokens{oov})")


def _silent(_: str) -> None:
    """Say nothing."""
