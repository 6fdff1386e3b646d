"""What a command says beside its results."""

from __future__ import annotations

import io
import sys

import pytest
from tqdm import tqdm

from lmkit.cli.output import say


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def screen(written: str) -> list[str]:
    """Give the lines that a terminal shows after what was written to it."""
    lines = [""]
    for piece in written.replace("\x1b[A", "").split("\n"):
        for over in piece.split("\r"):
            lines[-1] = over + lines[-1][len(over) :]
        lines.append("")
    return [line.rstrip() for line in lines if line.strip()]


def test_a_line_stands_above_the_bar_of_what_is_in_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with tqdm(total=4, file=terminal, mininterval=0, ascii=True, ncols=40) as bar:
        bar.update(1)
        say("25 %: half a perplexity")
        bar.update(1)
    first, *_, last = screen(terminal.getvalue())
    assert first == "25 %: half a perplexity"
    assert "50%" in last
