"""`lmkit score`."""

from __future__ import annotations

import click

EPILOG = """
\b
Examples:
  lmkit score lines.txt > scores.tsv
  cat lines.txt | lmkit score - -m my-rnn --context line
  lmkit score lines.txt --json | jq .perplexity
"""


@click.command("score", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option(
    "--context",
    type=click.Choice(["line", "stream"]),
    help="Whether each line is scored alone, or after those before it  [as the model is measured]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(files: tuple[str, ...], model: str | None, context: str | None, as_json: bool) -> None:
    """Give the log-probability of each line of a text.

    A line of output for each: log p in nats, tokens (the end of the line is one), unknown words, perplexity, the line
    itself, with tabs between.
    """
    from lmkit.bundle import load
    from lmkit.cli.output import scored_line
    from lmkit.model import Context
    from lmkit.scoring import line_scores
    from lmkit.text.corpus import Corpus

    chosen: Context | None = None if context is None else ("line" if context == "line" else "stream")
    if not as_json:
        click.echo("logprob\ttokens\toov\tperplexity\ttext")
    for score in line_scores(load(model), Corpus.from_paths(files), context=chosen):
        click.echo(scored_line(score, as_json=as_json))
