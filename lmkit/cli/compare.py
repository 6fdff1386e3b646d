"""`lmkit compare`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.flags import context_option
from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.comparison import Comparison
    from lmkit.model import Context

EPILOG = """
\b
Examples:
  lmkit compare my-ngram my-rnn                   on the test text of the first
  lmkit compare small medium large test.txt --lines 5
"""


@click.command("compare", epilog=EPILOG)
@click.argument("arguments", nargs=-1, required=True, metavar="MODEL MODEL... [FILE...]")
@click.option("--lines", default=3, metavar="N", help="Lines to show that two models differ on most  [3]")
@context_option()
@click.option("--seed", default=0, metavar="S", help="Of the bootstrap  [0]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    arguments: tuple[str, ...], lines: int, context: Context | None, seed: int, as_json: bool
) -> None:
    """Measure models on the same text, and say how sure their differences from the first one are.

    Folders that hold a model are models, everything else is text. A difference comes with the interval that 95 % of
    redrawn texts fall in (a paired bootstrap over groups of neighbouring lines) and a p-value. Models of different
    tokens are compared by the byte.
    """
    from lmkit.bundle import load, measurable_texts
    from lmkit.cli.output import json_line, warn_of_learnt
    from lmkit.comparison import compare
    from lmkit.foreign import is_foreign
    from lmkit.text.corpus import Corpus

    folders = [name for name in arguments if (Path(name) / "config.json").is_file() or is_foreign(Path(name))]
    files = [name for name in arguments if name not in folders]
    if files:
        Corpus.from_paths(files)  # a name that is neither is named
    if len(set(folders)) < 2 or len(set(folders)) < len(folders) or lines < 0:
        raise UsageError("name two model folders or more, each once, before the text; --lines is at least 0")
    if not files:
        texts = measurable_texts(Path(folders[0]))
        if not texts:
            raise UsageError(f"{folders[0]}: has no test text; name a text to compare on")
        part = "test" if "test" in texts else "valid"
        files = texts[part]
        warn_of_learnt(folders, text_of=folders[0], name=part)
    models = {name: load(name) for name in folders}
    found = compare(models, Corpus.from_paths(files), context=context, lines=lines, seed=seed)
    sizes = {name: _size(Path(name)) for name in folders}
    if as_json:
        click.echo(json_line(_facts(found, sizes, files)))
        return
    _show(found, sizes)
    click.echo(f"measured on {', '.join(files)}")


def _show(found: Comparison, sizes: Mapping[str, int]) -> None:
    from lmkit.cli.output import harmless

    click.echo("\t".join(("perplexity", "bits_per_byte", "bits_per_word", "KB_per_second", "MB", "model")))
    for name, contender in found.contenders.items():
        of_model = contender.evaluation
        shown = f"{of_model.perplexity:.4f}" if found.unit == "token" else "-"
        hidden = "*" if name in found.flattered else ""
        columns = (shown, f"{contender.bits_per_byte:.4f}{hidden}", f"{of_model.bits_per_word:.4f}")
        speed, size = f"{contender.bytes_per_second / 1e3:,.0f}", f"{sizes[name] / 1e6:,.1f}"
        adapts = " (adaptive)" if of_model.adaptive else ""
        click.echo("\t".join((*columns, speed, size, name + adapts)))
    first = next(iter(found.contenders))
    for name, contender in found.contenders.items():
        difference = contender.against_first
        if difference is None:
            continue
        if math.isnan(difference.p_value):
            click.echo(
                f"{name} - {first}: {difference.estimate:+.4f} bits/{found.unit}: nothing is sure, by too few lines or "
                "by one that a model has for impossible"
            )
            continue
        verdict = (
            "better" if difference.high < 0 else "worse" if difference.low > 0 else "no surer than chance"
        )
        click.echo(
            f"{name} - {first}: {difference.estimate:+.4f} bits/{found.unit} "
            f"(95 %: {difference.low:+.4f} to {difference.high:+.4f}; p {difference.p_value:.2g}): {verdict}"
        )
    for line in found.lines:
        click.echo(f"  {line.bits:+.2f} bits by {line.name} on line {line.number}: {harmless(line.text)}")
    if found.unit == "byte":
        click.echo(
            "their tokens, or the words that they know, differ, so that they are compared by the byte; perplexities a "
            "token would not compare"
        )
    for name, count in found.flattered.items():
        click.echo(
            f"* {name} does not know {count:,} tokens of the text and pays for <unk> alone, which flatters it"
        )
    if len({contender.evaluation.adaptive for contender in found.contenders.values()}) > 1:
        click.echo(
            "those that are adaptive learn from this text as they read it: the others do not compare with them"
        )


def _size(path: Path) -> int:
    """Give the bytes of what a model is made of, without its texts and its learning curve."""
    if path.is_file():
        return path.stat().st_size
    parts = ("model.safetensors", "vocab.txt", "tokenizer.json", "config.json")
    return sum((path / name).stat().st_size for name in parts if (path / name).is_file())


def _facts(found: Comparison, sizes: Mapping[str, int], files: list[str]) -> dict[str, Any]:
    return {
        "unit": found.unit,
        "models": [
            {
                "model": name,
                **contender.evaluation.as_dict(),
                "cost_per_byte": contender.bits_per_byte,
                "hidden_tokens": found.flattered.get(name, 0),
                "bytes_per_second": contender.bytes_per_second,
                "size": sizes[name],
                "against_first": None if contender.against_first is None else asdict(contender.against_first),
            }
            for name, contender in found.contenders.items()
        ],
        "lines": [asdict(line) for line in found.lines],
        "measured_on": files,
        "schema": 1,
    }
