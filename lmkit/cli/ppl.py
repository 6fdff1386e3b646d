"""`lmkit ppl`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lmkit.errors import UsageError

EPILOG = """
\b
Examples:
  lmkit ppl                        the last model on its held-out test lines
  lmkit ppl test.txt -m my-rnn
  cat other.txt | lmkit ppl - --json
"""


@click.command("ppl", epilog=EPILOG)
@click.argument("files", nargs=-1, metavar="[FILE...]")
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with every number.")
def command(files: tuple[str, ...], model: str | None, as_json: bool) -> None:
    """Measure the perplexity of a model on text: the files given, or the test lines held out in training."""
    from lmkit.bundle import load
    from lmkit.cli.progress import token_bar
    from lmkit.evaluation import perplexity

    folder = _folder(model)
    loaded = load(folder)
    chosen, what = (list(files), ", ".join(files)) if files else _held_out(folder)
    with token_bar("scoring") as advance:
        result = perplexity(loaded, chosen, report=advance)
    if as_json:
        click.echo(json.dumps(result.as_dict()))
        return
    click.echo(f"perplexity             {result.perplexity:.4f}")
    click.echo(f"  without OOV          {result.perplexity_without_oov:.4f}")
    click.echo(
        f"cross-entropy          {result.cross_entropy:.4f} nats/token, {result.bits_per_token:.4f} bits/token"
    )
    click.echo(f"bits per word          {result.bits_per_word:.4f}")
    undefined = "undefined: unknown words hide what they are"
    for name, value in (("character", result.bits_per_character), ("byte", result.bits_per_byte)):
        click.echo(f"bits per {name:13} {undefined if value is None else f'{value:.4f}'}")
    click.echo(
        f"text                   {result.tokens:,} tokens, {result.lines:,} lines, {result.words:,} words, "
        f"{result.bytes:,} bytes; {result.oov:,} OOV ({result.oov_rate:.2%})"
    )
    click.echo(f"measured on            {what}")
    click.echo(f"signature              {result.signature}")
    if result.oov and result.oov == result.tokens - result.lines:
        click.echo(
            "lmkit: warning: every word is unknown to the model; is this the right text, and the right model?",
            err=True,
        )


def _folder(model: str | None) -> Path:
    from lmkit.bundle import default_path

    return Path(model) if model else default_path()


def _held_out(folder: Path) -> tuple[list[Path] | list[str], str]:
    """Find the text to measure where none is named: test before validation."""
    from lmkit.files import read_json

    splits = read_json(folder / "splits.json")
    for name, what in (("test", "test"), ("valid", "validation")):
        if (folder / f"{name}.txt").exists():
            return [folder / f"{name}.txt"], f"the {what} lines held out in training"
        if named := splits.get(f"{name}_files"):
            return named, ", ".join(named)
    raise UsageError(
        f"{folder}: no lines were held out in training (--holdout 0, or too few lines); name a file: lmkit ppl FILE"
    )
