"""The command `lmkit`: finds the subcommand, and turns every failure into a message and an exit code.

0 ok; 1 a bug; 2 usage; 3 bad input text; 4 bad model folder; 5 disk, memory or device; 6 training diverged;
130 interrupted; 141 the reader of a pipe has gone; 143 terminated.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
import traceback
import warnings
from importlib import import_module
from keyword import iskeyword
from typing import Any, NoReturn

import click

from lmkit.errors import LmkitError, LmkitWarning, Stopped
from lmkit.version import __version__

COMMANDS = {
    "train": "Train a model on text.",
    "crossval": "Compare options by cross-validation.",
    "count": "Count the n-grams of a text, to train on later.",
    "ppl": "Measure the perplexity of a model.",
    "score": "Give the log-probability of each line of a text, or of each word or token.",
    "rank": "Say which of several lines is the likeliest.",
    "compare": "Measure several models on one text, and say how sure the difference is.",
    "filter": "Keep the lines of a text that a model finds likely.",
    "classify": "Say which of several models each line is most likely of.",
    "mix": "Average several models.",
    "generate": "Write text with a model.",
    "complete": "Complete the word that is being typed.",
    "export": "Write a model in a format of other tools.",
    "import": "Read a model from a format of other tools.",
    "plot": "Draw the learning curves of trained models.",
    "info": "Describe a model folder.",
    "doctor": "Tell whether a recurrent model is in a state to learn in.",
}
EXAMPLES = """
\b
Examples:
  lmkit train corpus.txt                        an n-gram model; holds out lines to measure on
  lmkit ppl                                     its perplexity on the held-out test lines
  lmkit generate --prefix "once upon"           text from it
  lmkit train corpus.txt --backend rnn --budget 10m -o my-rnn
"""


class _PipeIsGone(Exception):
    """Nobody reads our output any more."""


class _StandardError(logging.Handler):
    """What the library has to say beside its results."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


class LazyGroup(click.Group):
    """Imports the file of a command only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name  # no file can be named `import`
        command: click.Command = import_module(f"lmkit.cli.{module}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click would turn a broken pipe into exit code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _PipeIsGone from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lmkit")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train, measure and sample language models from plain text."""  # --debug is taken out by `main`


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]  # wherever it stands
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (a closed descriptor)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # text is UTF-8 whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", LmkitWarning)
    log = logging.getLogger("lmkit")
    log.setLevel(logging.INFO)
    log.handlers = [_StandardError()]
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        code = _run(arguments, debug)
    finally:
        signal.signal(signal.SIGTERM, previous)
    atexit.register(gc.freeze)  # after torch was imported, the last look for garbage would take a second
    sys.exit(code)


def _run(arguments: list[str], debug: bool) -> int:
    try:
        cli.main(arguments, prog_name="lmkit", standalone_mode=False)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except (BrokenPipeError, _PipeIsGone):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # let nothing more be written into it
        return 141
    except (KeyboardInterrupt, click.Abort) as stop:
        cause = stop.__cause__ if isinstance(stop, click.Abort) else stop
        code = getattr(cause, "exit_code", 130)
        _say("terminated" if code == 143 else "interrupted")
        return int(code)
    except click.ClickException as error:
        error.show()
        return 2
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _say_error(error)


def _say_error(error: Exception) -> int:
    """Say what went wrong, and give its exit code."""
    if isinstance(error, LmkitError):
        _say(f"error: {error}")
        return error.exit_code
    if isinstance(error, OSError):
        _say(f"error: {error.strerror or error}; the result could not be written")
        return 5
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        _say(f"error: out of memory ({error}); use less text, a lower --order or a smaller model")
        return 5
    _say(
        f"error: {type(error).__name__}: {error}\nThis is a bug in lmkit; run again with --debug and report it."
    )
    return 1


def _terminated(number: int, frame: Any) -> NoReturn:
    raise Stopped(143)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    _say(f"warning: {message}")


def _say(text: str) -> None:
    from lmkit.cli.output import say

    say(f"lmkit: {text}")
