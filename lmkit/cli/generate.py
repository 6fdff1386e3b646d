"""`lmkit generate`."""

from __future__ import annotations

import json
import sys

import click

from lmkit.generation import MAX_TOKENS

EPILOG = """
\b
Examples:
  lmkit generate --prefix "once upon"
  lmkit generate -m my-rnn -n 5 --temperature 0.8 --top-p 0.95 --seed 1
  lmkit generate --prefix "ROMEO:" --lines 8 --max-tokens 400
"""


@click.command("generate", epilog=EPILOG)
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option("--prefix", default="", metavar="TEXT", help="Text to go on from")
@click.option("-n", "--samples", default=1, metavar="SAMPLES", type=int, help="How many texts  [1]")
@click.option(
    "--max-tokens", default=MAX_TOKENS, metavar="N", type=int, help=f"Stop after N tokens  [{MAX_TOKENS}]"
)
@click.option(
    "--lines",
    metavar="N",
    type=int,
    help="Stop after N line ends; 0 goes on  [1; 0 for a model that reads across lines]",
)
@click.option(
    "--temperature",
    default=1.0,
    metavar="T",
    type=float,
    help="Below 1 safer, above 1 wilder, 0 greedy  [1.0]",
)
@click.option(
    "--top-k", default=0, metavar="K", type=int, help="Draw from the K likeliest tokens; 0 is all  [0]"
)
@click.option(
    "--top-p",
    default=1.0,
    metavar="P",
    type=float,
    help="Draw from the likeliest tokens that hold mass P  [1.0]",
)
@click.option("--seed", metavar="S", type=int, help="For the same text again  [a fresh one]")
@click.option("--allow-unk", is_flag=True, help="Let <unk> be written.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a sample, with tokens and log-probabilities."
)
def command(model: str | None, samples: int, seed: int | None, as_json: bool, **options: object) -> None:
    """Write text with a model, from a prefix on."""
    from lmkit.bundle import load
    from lmkit.generation import generate
    from lmkit.seeds import fresh_seed

    loaded = load(model)
    seed = fresh_seed() if seed is None else seed
    results = generate(loaded, samples=samples, seed=seed, **options)  # type: ignore[arg-type]
    for index, sample in enumerate(results):
        if as_json:
            tokens = [loaded.tokenizer.vocab[i] for i in sample.ids]
            entry = {
                "text": sample.text, "prefix": sample.prefix, "tokens": tokens, "logprobs": sample.logprobs,
                "reason": sample.reason, "seed": seed, "sample": index, "schema": 1,
            }  # fmt: skip
            click.echo(json.dumps(entry, ensure_ascii=False))
            continue
        if index and "\n" in "".join(result.text for result in results):
            click.echo()  # texts of several lines stand apart
        click.echo(_harmless(sample.text))


def _harmless(text: str) -> str:
    """Show control characters escaped on a terminal, which would obey them."""
    if not sys.stdout.isatty():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
