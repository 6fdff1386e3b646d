"""Folds of a text: its lines dealt out by what they say, and models that are each trained without one fold.

Copies of a line are in one fold, so that no model is measured on what it has learnt (cross-validation, Stone 1974).
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lmkit.errors import DivergedError, InputError, ResourceError
from lmkit.evaluation import perplexity
from lmkit.text.corpus import Corpus
from lmkit.text.splits import HOLDOUT, hashed_lines
from lmkit.training import train


class Judgement(NamedTuple):
    """One model: what it made of the fold that it was trained without.

    Attributes:
        perplexity: of that fold; infinite where training diverged.
        tokens, oov: how many it has, and how many of them are unknown.
        learnt: perplexity of a fold that it has learnt.
        capacity: of the model.
        seconds: of training and measuring.
        diverged: why there is no model, if there is none.
    """

    perplexity: float
    tokens: int
    oov: int
    learnt: float
    capacity: int
    seconds: float
    diverged: str | None = None


class Pending(Protocol):
    """A judgement to come."""

    def result(self) -> Judgement:
        """Wait for it, or come to it now."""
        ...

    def cancel(self) -> object:
        """Say that nobody asks for it any more."""
        ...


def judge(folder: Path, options: Mapping[str, Any], *, k: int, fold: int) -> Judgement:
    """Train a model on the folds of `deal` but one, and measure it on that one, and on the next."""
    began = time.monotonic()
    try:
        model = train(folder / f"train-{fold}.txt", **options)
    except DivergedError as error:
        seconds = time.monotonic() - began
        return Judgement(math.inf, 0, 0, math.inf, 0, seconds, diverged=str(error))
    result = perplexity(model, folder / f"valid-{fold}.txt")
    learnt = perplexity(model, folder / f"valid-{(fold + 1) % k}.txt")
    return Judgement(
        perplexity=result.perplexity,
        tokens=result.tokens,
        oov=result.oov,
        learnt=learnt.perplexity,
        capacity=model.capacity(),
        seconds=time.monotonic() - began,
    )


@dataclass
class _Later:
    """Work that is done when it is asked for."""

    result: Callable[[], Judgement]

    def cancel(self) -> None: ...


@contextmanager
def judges(
    folder: Path, options: Sequence[Mapping[str, Any]], *, k: int, jobs: int
) -> Iterator[list[list[Pending]]]:
    """Let models be judged, as many at once as there are jobs, each job a process of its own if there are several.

    Gives, for each set of options, a judgement to come for each fold.

    Raises:
        ResourceError: a process was ended from without.
    """
    work = [[partial(judge, folder, of_one, k=k, fold=fold) for fold in range(k)] for of_one in options]
    if jobs == 1:
        yield [[_Later(one) for one in folds] for folds in work]
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"))  # no fork survives torch
    try:
        with _interrupts_ignored():
            futures: list[list[Pending]] = [[pool.submit(one) for one in folds] for folds in work]
        yield futures
    except BrokenProcessPool:
        raise ResourceError(
            "a process that trained a model was ended, perhaps for lack of memory: train fewer at once (jobs); or the "
            'script that called this does not begin with `if __name__ == "__main__":`'
        ) from None
    except BaseException:
        for process in list(pool._processes.values()):  # `terminate_workers`, from Python 3.14 on
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that are begun leave Ctrl-C, which a terminal sends to all, to the first, which ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
            f"{int(lines.sum())} lines that are not blank, equal ones kept together, are too few for {k} folds and a "
            "test; give a longer text, or fewer folds"
        )
