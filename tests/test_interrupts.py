"""A signal is answered after the step that it comes in."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import lmkit
from lmkit import training
from lmkit.interrupts import finished_first


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []

    def step() -> None:
        with finished_first():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the rest of the step")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_of_before_is_called_and_is_back_afterwards() -> None:
    numbers: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: numbers.append(number))
    try:
        with finished_first():
            os.kill(os.getpid(), signal.SIGTERM)
            assert not numbers
        assert numbers == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(numbers) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), finished_first():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_are_left_alone() -> None:
    found: list[str] = []

    def work() -> None:
        with finished_first():
            found.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["done"]


def test_a_hurried_block_is_told_once_and_left_at_the_second_signal() -> None:
    told: list[str] = []

    def search() -> None:
        with finished_first(lambda: told.append("hurry")):
            os.kill(os.getpid(), signal.SIGINT)
            told.append("going on")
            os.kill(os.getpid(), signal.SIGINT)
            told.append("never")

    with pytest.raises(KeyboardInterrupt):
        search()
    assert told == ["hurry", "going on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_hurries_nobody() -> None:
    told: list[str] = []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with finished_first(lambda: told.append("hurry")):
            os.kill(os.getpid(), signal.SIGINT)
        assert not told
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_model_that_is_done_is_kept_whatever_happens_while_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    text, model = tmp_path / "text.txt", tmp_path / "model"
    text.write_text("the fox ran .\nthe owl sat .\n" * 40)
    monkeypatch.setattr(training, "perplexity", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lmkit.train(text, valid=text, order=2, output=model)
    assert np.isfinite(lmkit.load(model).score(["the", "owl", "ran", "."])).all()
