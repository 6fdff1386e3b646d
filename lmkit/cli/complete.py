"""`lmkit complete`."""

from __future__ import annotations

import click

EPILOG = """
\b
Examples:
  lmkit complete "the quick br"         what the last word may become
  lmkit complete "the quick " -n 3      the three likeliest next words
"""


@click.command("complete", epilog=EPILOG)
@click.argument("text")
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option("-n", "--samples", default=10, metavar="N", type=int, help="How many words  [10]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a word.")
def command(text: str, model: str | None, samples: int, as_json: bool) -> None:
    """Print the likeliest completions of the word that a text ends in, or after a space the likeliest next words.

    A line for each: the word and its probability, with a tab between.
    """
    from lmkit.bundle import load
    from lmkit.cli.output import harmless, json_line, say
    from lmkit.generation.completion import complete

    found = complete(load(model), text, samples=samples)
    for entry in found:
        if as_json:
            facts = {"word": entry.word, "probability": round(entry.probability, 6), "schema": 1}
            click.echo(json_line(facts))
        else:
            click.echo(f"{harmless(entry.word)}\t{entry.probability:.4f}")
    if not found:
        say("lmkit: the model knows no word that begins so")
