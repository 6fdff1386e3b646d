"""`lmkit train`."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

import click

from lmkit.config import NgramConfig, RnnConfig, TextConfig, options_of, read_toml
from lmkit.errors import UsageError

EPILOG = """
\b
Examples:
  lmkit train corpus.txt
  lmkit train books/ more.txt.gz --order 3 --prune 0,0,1 -o trigram
  zcat news.gz | lmkit train - --tokenizer char
  lmkit train train.txt --valid valid.txt --test test.txt --backend rnn --budget 30m -o rnn
"""
SECTIONS = (("Text", TextConfig), ("Backend ngram", NgramConfig), ("Backend rnn", RnnConfig))


class SectionedCommand(click.Command):
    """Shows the options of each config under a heading of its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        owner = {f.name: title for title, config in SECTIONS for f, _ in options_of(config)}
        for title in ("General", *(title for title, _ in SECTIONS)):
            shown = [p for p in self.get_params(ctx) if owner.get(p.name or "", "General") == title]
            records = [r for p in shown if (r := p.get_help_record(ctx)) is not None]
            with formatter.section(title):
                formatter.write_dl(records)


def config_options(function: Any) -> Any:
    """Add a flag for each field of each config, none with a default of its own."""
    for _, config in reversed(SECTIONS):
        for f, hint in reversed(list(options_of(config))):
            flag = f.name.replace("_", "-")
            given = "" if f.default in (None, ()) else f"  [{_shown(f)}]"
            parameters: dict[str, Any] = {"default": None, "help": f.metadata["help"] + given}
            if hint is bool:
                function = click.option(f"--{flag}/--no-{flag}", **parameters)(function)
                continue
            parameters["metavar"] = "|".join(f.metadata["choices"]) or _metavar(hint)
            function = click.option(f"--{flag}", **parameters)(function)
    return function


def _shown(f: dataclasses.Field[Any]) -> str:
    return ",".join(f"{item:g}" for item in f.default) if isinstance(f.default, tuple) else str(f.default)


def _metavar(hint: Any) -> str:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return {int: "N", float: "X", str: "TEXT"}.get(kinds[0], "LIST")


@click.command("train", cls=SectionedCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o",
    "-m",
    "--output",
    "--model",
    metavar="DIR",
    help="Model folder to write  [LMKIT_MODEL or lmkit-model]",
)
@click.option("--backend", default="ngram", metavar="ngram|rnn", help="Kind of model  [ngram]")
@click.option("--valid", metavar="FILE", help="Text to validate on, instead of held-out lines")
@click.option("--test", metavar="FILE", help="Text that `lmkit ppl` measures, instead of held-out lines")
@click.option(
    "--holdout",
    type=float,
    metavar="FRACTION",
    help="Share of the lines to hold out; 0 trains on every line  [0.1]",
)
@click.option("--force", is_flag=True, help="Replace an existing model.")
@click.option("--config", "config_file", metavar="FILE.toml", help="Options by name; flags go before them")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@config_options
def command(
    files: tuple[str, ...], output: str | None, config_file: str | None, quiet: bool, **given: Any
) -> None:
    """Train a model on text: files, folders, patterns, or - for standard input; .gz, .bz2 and .xz are unpacked.

    Lines are sentences. A tenth of them is held out, half for validation, half for test, unless --valid, --test or
    --holdout says otherwise.
    """
    from lmkit.bundle import default_path
    from lmkit.training import train

    options = read_toml(Path(config_file)) if config_file else {}
    for reserved in ("text", "report"):
        if reserved in options:
            raise UsageError(f"{config_file}: there is no option {reserved!r}")
    context = click.get_current_context()
    for name, value in given.items():
        default = context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT
        if not (default and (value is None or name in options)):
            options[name] = value
    path = Path(output or options.pop("output", None) or default_path())

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    train(files, output=path, report=say, **options)
    same = "" if path == default_path() else f" -m {path}"
    say(f"saved {path}; next: lmkit ppl{same}, or lmkit generate{same} --prefix TEXT")
