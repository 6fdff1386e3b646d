"""`lmkit score`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.flags import context_option
from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.model import Context, LanguageModel
    from lmkit.text.corpus import Corpus

EPILOG = """
\b
Examples:
  lmkit score lines.txt > scores.tsv
  cat lines.txt | lmkit score - -m my-rnn --context line
  lmkit score lines.txt --json | jq .perplexity
  lmkit score stimuli.txt --by word             surprisal of each word, for reading times
  lmkit score text.txt --by token --distributions
"""


@click.command("score", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option(
    "--by",
    type=click.Choice(["line", "word", "token"]),
    default="line",
    help="A row for each of what  [line]",
)
@context_option()
@click.option("--distributions", is_flag=True, help="With --by token: rank and entropy, too; slower.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
def command(
    files: tuple[str, ...],
    model: str | None,
    by: str,
    context: Context | None,
    distributions: bool,
    as_json: bool,
) -> None:
    """Give the log-probability of each line of a text, or the surprisal of each word or token.

    A row of output for each, with tabs between. Of a line: log p in nats, tokens (the end of the line is one), unknown
    words, perplexity, the line itself. Of a word or token: line, first character and the one behind the last, surprisal
    in bits and in nats, bits of all so far, whether the model does not know it, the word; and of a token also what its
    probability rests on, which is the order of the n-gram used, or the norm of a network's features.

    Words are what white space separates, whatever the tokens of the model; each has the sum over its tokens, the space
    behind it included. Line ends (</s>) have rows of their own.
    """
    from lmkit.bundle import load
    from lmkit.cli.output import row_of
    from lmkit.text.corpus import Corpus

    if distributions and by != "token":
        raise UsageError("--distributions are those that tokens are drawn from; add --by token")
    loaded, corpus = load(model), Corpus.from_paths(files)
    rows = (
        _lines(loaded, corpus, context)
        if by == "line"
        else _parts(loaded, corpus, context, by, distributions)
    )
    headed = as_json
    for row in rows:
        if not headed:
            click.echo("\t".join(row))
            headed = True
        click.echo(row_of(row, as_json=as_json))


def _lines(model: LanguageModel, corpus: Corpus, context: Context | None) -> Iterator[dict[str, Any]]:
    from lmkit.cli.output import facts_of_line
    from lmkit.scoring import line_scores

    return map(facts_of_line, line_scores(model, corpus, context=context))


def _parts(
    model: LanguageModel, corpus: Corpus, context: Context | None, by: str, distributions: bool
) -> Iterator[dict[str, Any]]:
    from lmkit.surprisal import token_scores, word_scores

    if by == "word":
        scores = word_scores(model, corpus, context=context)
    else:
        scores = token_scores(model, corpus, context=context, distributions=distributions)
    total = 0.0
    for score in scores:
        total += score.bits
        yield {
            "line": score.line,
            "start": score.start,
            "end": score.end,
            "bits": score.bits,
            "nats": score.nats,
            "total_bits": total,
            "oov": int(score.oov),
            **score.evidence,
            **({"rank": score.rank, "entropy_bits": score.entropy_bits} if distributions else {}),
            "text": score.text,
        }
