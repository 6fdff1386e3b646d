"""`lmkit count`."""

from __future__ import annotations

import logging
import shlex
from typing import Any

import click

from lmkit.cli.flags import config_options
from lmkit.config import COUNT_OPTIONS, NgramConfig, TextConfig
from lmkit.options import make

DEFAULT = "lmkit-counts"
EPILOG = """
\b
Examples:
  lmkit count monday.txt -o monday
  lmkit count tuesday.txt -o tuesday --memory 2G
  lmkit train --counts monday tuesday      the model of both texts
  lmkit count monday.txt --text counts.gz  every n-gram with its count, a line each
"""


@click.command("count", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--output", metavar="DIR", help=f"folder to write  [{DEFAULT}, if no --text]")
@click.option("--text", metavar="FILE", help="write every n-gram and its count as a text; - for stdout")
@click.option("--force", is_flag=True, help="replace what is there")
@click.option("-q", "--quiet", is_flag=True, help="say nothing but warnings and errors")
@config_options(TextConfig, NgramConfig, only=COUNT_OPTIONS)
def command(
    files: tuple[str, ...], output: str | None, text: str | None, force: bool, quiet: bool, **given: Any
) -> None:
    """Count the n-grams of texts, to train on later: alone, or together with counts of other texts.

    The model of all counts is the one that the texts themselves would give, joined.
    """
    from lmkit.cli.output import check_file, say, write_bytes
    from lmkit.counting import count, text_of
    from lmkit.scratch import Scratch

    if text is not None:
        check_file(text, force=force)
    folder = output or (DEFAULT if text is None else None)

    if quiet:
        logging.getLogger("lmkit").setLevel(logging.WARNING)
    options = {name: value for name, value in given.items() if value is not None}
    counts = count(files, output=folder, force=force, report=None if quiet else say, **options)
    if text is not None:
        scratch = Scratch.of(make(NgramConfig, {k: options[k] for k in ("memory", "temp") if k in options}))
        write_bytes(text, text_of(counts, scratch=scratch))
        if text != "-" and not quiet:
            say(f"wrote {text}")
    if folder is not None and not quiet:
        say(f"saved {folder}; next: lmkit train --counts {shlex.quote(folder)}")
