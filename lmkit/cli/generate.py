"""`lmkit generate`."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.flags import config_options
from lmkit.config import GenerationConfig
from lmkit.errors import InputError, UsageError
from lmkit.options import make

if TYPE_CHECKING:
    from lmkit.model import LanguageModel

EPILOG = """
\b
Examples:
  lmkit generate --prefix "once upon"
  lmkit generate -m my-rnn -n 5 --temperature 0.8 --top-p 0.95 --seed 1
  lmkit generate --prefix "ROMEO:" --lines 8 --max-tokens 400 --stop "JULIET:"
  lmkit generate --prefix "the owl" --beams 8 -n 3        the three likeliest texts
  lmkit generate --prefix "the owl" --suffix "the tree ." what may stand between (n-grams)
  lmkit generate --prefix-file beginnings.txt --json > texts.jsonl
  lmkit generate -i                                       a prefix a line, from the keyboard
"""


@click.command("generate", epilog=EPILOG)
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option(
    "--prefix", multiple=True, metavar="TEXT", help="Text to go on from; may be given several times"
)
@click.option("--prefix-file", metavar="FILE", help="A file of prefixes, one a line; - is standard input")
@click.option(
    "--suffix", metavar="TEXT", help="Fill the gap between --prefix and this end of a line (n-grams)."
)
@click.option("-i", "--interactive", is_flag=True, help="Read a prefix a line, and go on from each at once.")
@click.option("--show-probs", is_flag=True, help="Colour words by their surprisal, on a terminal.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a sample, with tokens and log-probabilities."
)
@config_options(GenerationConfig)
def command(
    model: str | None,
    prefix: tuple[str, ...],
    prefix_file: str | None,
    suffix: str | None,
    interactive: bool,
    show_probs: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Write text with a model, from a prefix on.

    Text is written as it comes. The last word of a prefix is completed where the model does not know it; a space
    behind it says that it is whole.
    """
    from lmkit.bundle import load

    config = make(GenerationConfig, {name: value for name, value in given.items() if value not in (None, ())})
    if interactive and (prefix or prefix_file or as_json or suffix is not None):
        raise UsageError(
            "-i reads prefixes from standard input; give no --prefix, --prefix-file, --suffix or --json with it"
        )
    if show_probs and (as_json or suffix is not None):
        raise UsageError("--show-probs colours text as it comes; leave it out with --json and --suffix")
    prefixes = [*prefix, *(_lines(prefix_file) if prefix_file else [])]
    loaded = load(model)
    if suffix is not None:
        _fill(loaded, prefixes or [""], suffix, config, as_json=as_json)
    elif interactive:
        _converse(loaded, config, show_probs=show_probs)
    else:
        _print(loaded, prefixes or [""], config, show_probs=show_probs, as_json=as_json)


def _print(
    model: LanguageModel, prefixes: list[str], config: GenerationConfig, *, show_probs: bool, as_json: bool
) -> None:
    """Print the texts of some prefixes."""
    from lmkit.cli.printing import JsonPrinter, TextPrinter, print_all
    from lmkit.generation import Sample, stream
    from lmkit.generation.streaming import line_ends, searched
    from lmkit.seeds import fresh_seed

    config = replace(config, seed=fresh_seed() if config.seed is None else config.seed)
    assert config.seed is not None
    apart = line_ends(model, config) != 1 or any("\n" in text for text in prefixes)
    if searched(config):
        if show_probs:
            raise UsageError(
                "--show-probs colours text as it comes, not what beams, best_of and distinct find"
            )
        _print_found(model, prefixes, config, apart=apart, as_json=as_json)
        return
    # before anything is printed: it refuses what is no text
    tokens = stream(model, prefixes, logprobs=as_json or show_probs, **asdict(config))
    printer: JsonPrinter | TextPrinter
    if as_json:
        unbegun = "max_time" if config.max_time and config.max_tokens else "max_tokens"
        samples = [
            Sample(prefix=text, text=text, number=i, reason=unbegun)
            for text in prefixes
            for i in range(config.samples)
        ]
        printer = JsonPrinter(samples, model.tokenizer, seed=config.seed)
    else:
        printer = TextPrinter(prefixes, config.samples, apart=apart, show_probs=show_probs)
    print_all(tokens, printer)


def _print_found(
    model: LanguageModel, prefixes: list[str], config: GenerationConfig, *, apart: bool, as_json: bool
) -> None:
    """Print the texts that a search finds; one that is interrupted gives the best that it has come to."""
    from lmkit.cli.printing import JsonPrinter, TextPrinter, print_all
    from lmkit.generation import Sample, Token, generate
    from lmkit.generation.deadline import Deadline
    from lmkit.interrupts import finished_first

    deadline, found = Deadline(config.max_time), list[Sample]()
    try:
        with finished_first(deadline.interrupt):
            found = generate(model, prefixes, deadline=deadline, **asdict(replace(config, max_time=None)))
    finally:  # an interrupt comes through here
        if as_json:
            assert config.seed is not None
            JsonPrinter(found, model.tokenizer, seed=config.seed).close()
        else:
            texts = [Token(i, 0, 0.0, s.text[len(s.prefix) :], s.reason) for i, s in enumerate(found)]
            print_all(texts, TextPrinter([s.prefix for s in found], 1, apart=apart, show_probs=False))


def _fill(
    model: LanguageModel, prefixes: list[str], suffix: str, config: GenerationConfig, *, as_json: bool
) -> None:
    """Print the lines that begin with each prefix and end with the suffix."""
    from lmkit.cli.output import harmless
    from lmkit.cli.printing import JsonPrinter
    from lmkit.generation.infill import infill
    from lmkit.seeds import fresh_seed

    if config.max_time is not None:
        raise UsageError(
            "--max-time cuts texts off, and one with a --suffix is whole or none; leave one of them out"
        )
    config = replace(config, seed=fresh_seed() if config.seed is None else config.seed)
    assert config.seed is not None
    for prefix in prefixes:
        found = infill(model, prefix, suffix, **asdict(config))
        if as_json:
            JsonPrinter(found, model.tokenizer, seed=config.seed).close()
            continue
        for sample in found:
            click.echo(harmless(sample.text))


def _converse(model: LanguageModel, config: GenerationConfig, *, show_probs: bool) -> None:
    """Read prefixes from standard input, and go on from each; an empty line goes on from the last text."""
    from lmkit.cli.output import say
    from lmkit.cli.printing import TextPrinter, print_all
    from lmkit.generation.prefixes import Reader, read_prefix
    from lmkit.generation.streaming import Token, run, searched

    if searched(config):
        raise UsageError("-i writes text as it comes; beams, best_of and distinct choose among whole texts")
    reader, last = Reader(model), ""
    if sys.stdin.isatty():
        say("a prefix a line; an empty line goes on from the last text; Ctrl-D ends")
    while True:
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.buffer.readline()
        if not line:
            return
        typed = line.rstrip(b"\r\n").decode("utf-8", errors="surrogateescape")
        try:
            prefix = read_prefix(model.tokenizer, typed or last)
        except InputError as error:
            say(f"lmkit: error: {error}")
            continue
        written: list[str] = [""] * config.samples

        def noted(token: Token, written: list[str] = written) -> Token:
            written[token.sample] += token.text
            return token

        tokens = run(model, [prefix], config, states=[reader.state(prefix.ids)], logprobs=show_probs)
        printer = TextPrinter([prefix.text], config.samples, apart=False, show_probs=show_probs)
        print_all(map(noted, tokens), printer)
        last = prefix.text + written[-1]


def _lines(name: str) -> list[str]:
    """Read a file of prefixes, one a line."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: cannot be read as a file of prefixes: {error.strerror}") from None
    lines = data.removesuffix(b"\n").split(b"\n")
    if not data:
        raise InputError(f"{name}: holds no prefixes; write one a line")
    texts = []
    for number, line in enumerate(lines, start=1):
        try:
            texts.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: line {number} is not UTF-8 text: {error.reason}") from None
    return texts
