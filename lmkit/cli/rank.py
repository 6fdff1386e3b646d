"""`lmkit rank`."""

from __future__ import annotations

import click

EPILOG = """
\b
Examples:
  lmkit rank "the fox ran" "fox the ran"
  lmkit rank --per-token "a short one" "one that is longer than the other"
  shuf -n 100 lines.txt | lmkit rank -
"""


@click.command("rank", epilog=EPILOG)
@click.argument("lines", nargs=-1, required=True, metavar="LINE...")
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option("--per-token", is_flag=True, help="By the mean of a token, not by the whole line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(lines: tuple[str, ...], model: str | None, per_token: bool, as_json: bool) -> None:
    """Say which of several lines is the likeliest; - reads them from standard input.

    A line of output for each, the likeliest first: log p in nats, tokens (the end of the line is one), unknown words,
    perplexity, the line itself, with tabs between. Each is scored as if it were the first of a text.
    """
    from lmkit.bundle import load
    from lmkit.cli.output import facts_of_line, row_of
    from lmkit.scoring import rank
    from lmkit.text.corpus import Corpus

    if lines == ("-",):
        text = b"".join(Corpus.from_paths("-").blocks()).decode()
        lines = tuple(text.removesuffix("\n").split("\n"))
    for score in rank(load(model), lines, per_token=per_token):
        click.echo(row_of(facts_of_line(score), as_json=as_json))
