"""Generated text on its way out: token by token, one text after another, nothing that a terminal would obey."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.output import harmless, json_line

if TYPE_CHECKING:
    from lmkit.generation import Sample, Token
    from lmkit.text.tokenizer import Tokenizer

_COLORS = ((1, "bright_green"), (3, "green"), (6, "yellow"), (10, "magenta"))  # up to so many bits; red above


class TextPrinter:
    """Prints texts in their order: the first that is not finished as it comes, the others when their turn is.

    A text that has had its turn is forgotten.
    """

    def __init__(self, prefixes: Sequence[str], samples: int, *, apart: bool, show_probs: bool) -> None:
        """Begin.

        Args:
            prefixes: What the texts go on from.
            samples: Texts for each prefix.
            apart: Whether an empty line stands between texts, which may be of several lines.
            show_probs: Whether to colour tokens by their surprisal.
        """
        self.prefixes = prefixes
        self.samples = samples
        self.count = len(prefixes) * samples
        self.apart = apart
        self.colored = show_probs and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.current = 0
        self.waiting: dict[int, list[str]] = {}
        self.finished: set[int] = set()
        self._begin()

    def token(self, token: Token) -> None:
        """Take one more token of a text."""
        text = harmless(token.text)
        if self.colored and text.strip():
            bits = -token.logprob / 0.6931471805599453
            text = click.style(text, fg=next((color for most, color in _COLORS if bits <= most), "red"))
        if token.sample == self.current:
            _write(text)
        elif text:
            self.waiting.setdefault(token.sample, []).append(text)
        if token.reason is not None:
            self.finished.add(token.sample)
        while self.current in self.finished:
            self._end()

    def close(self) -> None:
        """Print what there is of texts that are not finished."""
        while self.current < self.count:
            self._end()

    def _begin(self) -> None:
        if self.current < self.count:
            if self.current and self.apart:
                _write("\n")
            _write(harmless(self.prefixes[self.current // self.samples]))
            _write("".join(self.waiting.pop(self.current, [])))

    def _end(self) -> None:
        _write("\n")
        self.finished.discard(self.current)
        self.current += 1
        self._begin()


class JsonPrinter:
    """Prints one JSON object a text, with its tokens, as soon as those before it are printed."""

    def __init__(self, samples: Sequence[Sample], tokenizer: Tokenizer, *, seed: int) -> None:
        self.samples: list[Sample | None] = list(samples)
        self.tokenizer = tokenizer
        self.seed = seed
        self.current = 0
        self.finished: set[int] = set()

    def token(self, token: Token) -> None:
        """Take one more token of a text."""
        sample = self.samples[token.sample]
        assert sample is not None
        sample.add(token)
        if token.reason is not None:
            self.finished.add(token.sample)
        while self.current in self.finished:
            self._print()

    def close(self, reason: str | None = None) -> None:
        """Print what there is of texts that are not finished, for a reason of their end."""
        while self.current < len(self.samples):
            sample = self.samples[self.current]
            assert sample is not None
            sample.reason = reason or sample.reason
            self._print()

    def _print(self) -> None:
        sample = self.samples[self.current]
        assert sample is not None
        entry = json_entry(sample, self.tokenizer) | {"seed": self.seed, "sample": sample.number, "schema": 1}
        _write(json_line(entry) + "\n")
        self.finished.discard(self.current)
        self.samples[self.current] = None
        self.current += 1


def json_entry(sample: Sample, tokenizer: Tokenizer) -> dict[str, Any]:
    """Give what is to be said of a text."""
    return {
        "text": sample.text,
        "prefix": sample.prefix,
        "tokens": [tokenizer.vocab[index] for index in sample.ids],
        "logprobs": [round(logprob, 6) for logprob in sample.logprobs],
        "reason": sample.reason,
    }


def print_all(tokens: Iterable[Token], printer: TextPrinter | JsonPrinter) -> None:
    """Print tokens as they come; an interrupt leaves nothing unprinted."""
    try:
        for token in tokens:
            printer.token(token)
    except KeyboardInterrupt:
        if isinstance(printer, JsonPrinter):
            printer.close("interrupted")
        else:
            printer.close()
        raise
    printer.close()


def _write(text: str) -> None:
    if text:
        click.echo(text, nl=False)
        sys.stdout.flush()
