"""Flags made of the fields of configs: each option stands in `lmkit.config` and nowhere else."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection
from typing import Any

import click

from lmkit.config import NgramConfig, RnnConfig, RunConfig, TextConfig
from lmkit.errors import UsageError
from lmkit.options import options_of

F = typing.TypeVar("F", bound=Callable[..., Any])
SECTIONS = (
    ("General", RunConfig),
    ("Text", TextConfig),
    ("Backend ngram", NgramConfig),
    ("Backend rnn", RnnConfig),
)


class SectionedCommand(click.Command):
    """Shows the options of each config under a heading of its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        owner = {f.name: title for title, config in SECTIONS for f, _ in options_of(config)}
        for title, _ in SECTIONS:
            shown = [p for p in self.get_params(ctx) if owner.get(p.name or "", "General") == title]
            records = [r for p in shown if (r := p.get_help_record(ctx)) is not None]
            with formatter.section(title):
                formatter.write_dl(records)


def config_options(*configs: type[Any], only: Collection[str] | None = None) -> Callable[[F], F]:
    """Add a flag for each field of some configs, none with a default of its own.

    Args:
        configs: dataclasses of `lmkit.config`.
        only: The names of the fields wanted; all if not given.
    """

    def add(function: F) -> F:
        for config in reversed(configs):
            for f, hint in reversed(list(options_of(config))):
                if only is None or f.name in only:
                    function = _flag(f, hint)(function)
        return function

    return add


def _flag(f: dataclasses.Field[Any], hint: Any) -> Callable[[F], F]:
    flag = f"--{f.name.replace('_', '-')}"
    default = "" if f.default in (None, (), False) else f"  [{_shown(f)}]"
    parameters: dict[str, Any] = {"default": None, "help": f.metadata["help"] + default}
    if hint is bool:
        flags = [flag] if f.default is False else [f"{flag}/--no-{flag[2:]}"]
        return click.option(*flags, is_flag=True, **parameters)
    flags = ["-o", "-m", "--model", flag] if f.name == "output" else [flag]
    if f.metadata["short"]:
        flags = [f"-{f.metadata['short']}", *flags]
    if hint == tuple[str, ...]:  # one a flag: they may hold anything
        return click.option(*flags, f.name, multiple=True, metavar="TEXT", **parameters)
    parameters["metavar"] = "|".join(f.metadata["choices"]) or _metavar(hint)
    return click.option(*flags, f.name, **parameters)


def _shown(f: dataclasses.Field[Any]) -> str:
    return ",".join(f"{item:g}" for item in f.default) if isinstance(f.default, tuple) else str(f.default)


def _metavar(hint: Any) -> str:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return {int: "N", float: "X", str: "TEXT"}.get(kinds[0], "LIST")


def context_option(default: str | None = None) -> Callable[[F], F]:
    """Add `--context`: where a model that reads on begins anew."""
    shown = default or "nowhere"
    return click.option(
        "--context",
        type=click.Choice(["line", "document", "stream"]),
        default=default,
        help=f"Where a model that reads on begins anew: at each line, after each blank line, nowhere  [{shown}]",
    )


def numbers(option: str, text: str, count: int) -> list[float]:
    """Read a list of so many numbers, one for each model.

    Raises:
        UsageError: it is none.
    """
    try:
        found = [float(number) for number in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise UsageError(f"{option} {text}: give a number for each model, {count} in all, as in 0.7,0.3")
    return found
