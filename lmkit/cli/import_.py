"""`lmkit import`."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

EPILOG = """
\b
Examples:
  lmkit import model.arpa -o model
  lmkit import characters.arpa.gz -o characters --tokenizer char
  lmkit ppl test.txt -m model
"""


@click.command("import", epilog=EPILOG)
@click.argument("file", metavar="FILE")
@click.option(
    "-o", "-m", "--output", metavar="DIR", help="Model folder to write  [LMKIT_MODEL or lmkit-model]"
)
@click.option(
    "--tokenizer", metavar="word|char|byte", default="word", help="What its words are in a text  [word]"
)
@click.option("--force", is_flag=True, help="Replace an existing model.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors.")
def command(file: str, output: str | None, tokenizer: str, force: bool, quiet: bool) -> None:
    """Read an n-gram model from an ARPA file, written by KenLM, SRILM, lmkit or others, and save it as a model folder.

    The file may be compressed; - is standard input.
    """
    from lmkit.bundle import Record, default_path, save
    from lmkit.cli.output import say
    from lmkit.folders import check_target
    from lmkit.ngram.arpa_reading import read_arpa

    folder = Path(output) if output else default_path()
    check_target(folder, force=force)
    began = time.monotonic()
    model = read_arpa(file, tokenizer=tokenizer, report=None if quiet else say)
    record = Record(
        options={"tokenizer": tokenizer, "order": model.order},
        summary={"seconds": round(time.monotonic() - began, 2)},
        splits={"sources": [file]},
    )
    save(model, folder, force=force, record=record)
    if not quiet:
        say(f"saved {folder}; next: lmkit ppl FILE -m {shlex.quote(str(folder))}")
