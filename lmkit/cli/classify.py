"""`lmkit classify`."""

from __future__ import annotations

import click

from lmkit.cli.flags import numbers
from lmkit.errors import UsageError

EPILOG = """
\b
Examples:
  lmkit classify lines.txt --model en=english --model fr=french
  lmkit classify - --model spam=spam --model ham=ham --prior 0.2,0.8 --json
"""


@click.command("classify", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-m", "--model", "models", multiple=True, metavar="NAME=DIR", help="A class and its model.")
@click.option("--prior", metavar="LIST", help="How frequent the classes are, in the same order  [equally]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with all log-probabilities.")
def command(files: tuple[str, ...], models: tuple[str, ...], prior: str | None, as_json: bool) -> None:
    """Say of each line of a text which of several models it is most likely of.

    A row of output for each, with tabs between: the class, its probability given the line, the line itself. Models of
    bytes or subwords suit best: they know every word.
    """
    from lmkit.bundle import load
    from lmkit.classification import classify
    from lmkit.cli.output import row_of
    from lmkit.text.corpus import Corpus

    named = dict(_named(option) for option in models)
    if len(named) < len(models):
        raise UsageError("a class is named twice; give each a name of its own: --model en=DIR --model fr=DIR")
    if len(named) < 2:
        raise UsageError("name two classes or more, each with a model: --model en=DIR --model fr=DIR")
    shares = None if prior is None else dict(zip(named, numbers("--prior", prior, len(named)), strict=True))
    loaded = {name: load(folder) for name, folder in named.items()}
    for line in classify(loaded, Corpus.from_paths(files), prior=shares):
        facts = {"label": line.label, "probability": round(line.probability, 6)}
        more = {"logprobs": line.logprobs, "oov": line.oov} if as_json else {}
        click.echo(row_of({**facts, **more, "text": line.text}, as_json=as_json))


def _named(option: str) -> tuple[str, str]:
    name, sign, folder = option.partition("=")
    if not (name and sign and folder):
        raise UsageError(f"--model {option}: give a class and its model, as in en=english-model")
    return name, folder
