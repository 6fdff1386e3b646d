"""`lmkit train`."""

from __future__ import annotations

import dataclasses
import logging
import shlex
from pathlib import Path
from typing import Any

import click

from lmkit.cli.flags import SECTIONS, SectionedCommand, config_options
from lmkit.config import RunConfig
from lmkit.options import make, options_of, read_toml
from lmkit.threads import is_main_process

EPILOG = """
\b
Examples:
  lmkit train corpus.txt
  lmkit train books/ more.txt.gz --order 3 --prune 0,0,1 -o trigram
  zcat news.gz | lmkit train - --tokenizer char
  lmkit train huge.txt.zst --memory 4G -o huge
  lmkit train --counts monday/ tuesday/ -o week
  lmkit train train.txt --valid valid.txt --test test.txt --backend rnn --budget 30m -o rnn
  lmkit train letters.txt --backend rnn --init-from rnn --extend-vocab --learning-rate 1e-3 -o letters
"""


@click.command("train", cls=SectionedCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--config", "config_file", metavar="FILE.toml", help="options by name; flags go before them")
@click.option("--json", "as_json", is_flag=True, help="print what was trained as one JSON object")
@click.option("-q", "--quiet", is_flag=True, help="say nothing but warnings and errors")
@config_options(*(config for _, config in SECTIONS))
def command(
    files: tuple[str, ...], config_file: str | None, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Train a model on text: files, folders, patterns, or - for standard input; .gz, .bz2 and .xz are unpacked.

    Lines are sentences. A tenth of them is held out, half for validation, half for test, unless --valid, --test or
    --holdout says otherwise.
    """
    from lmkit.bundle import default_path, measurable_texts, read_config
    from lmkit.cli.output import json_line, say
    from lmkit.training import train

    options = read_toml(Path(config_file)) if config_file else {}
    options.update((name, value) for name, value in given.items() if value is not None)
    run_names = {f.name for f, _ in options_of(RunConfig)}
    run = make(RunConfig, {name: options.pop(name) for name in run_names & options.keys()})
    path = Path(run.output or default_path())

    if quiet:
        logging.getLogger("lmkit").setLevel(logging.WARNING)
    train(files, **{**dataclasses.asdict(run), "output": path}, report=None if quiet else say, **options)
    if not is_main_process():  # of several, the first one has written the model
        return
    if as_json:
        config = read_config(path)
        facts = {
            "path": str(path),
            **{key: config[key] for key in ("signature", "options", "summary")},
            "schema": 1,
        }
        click.echo(json_line(facts))
    same = "" if path == default_path() else f" -m {shlex.quote(str(path))}"
    measured = "" if {"test", "valid"} & measurable_texts(path).keys() else " FILE"
    if not quiet:
        say(f"saved {path}; next: lmkit ppl{measured}{same}, or lmkit generate{same} --prefix TEXT")
