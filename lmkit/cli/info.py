"""`lmkit info`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np

EPILOG = """
\b
Examples:
  lmkit info
  lmkit info -m my-rnn --json
  lmkit info --verify              compare every file with its checksum
  lmkit info -m my-rnn --parameters
"""


@click.command("info", epilog=EPILOG)
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option("--verify", is_flag=True, help="Read every file and compare its checksum.")
@click.option(
    "--parameters", is_flag=True, help="List what was learnt: names, shapes, numbers, their share of all."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(model: str | None, verify: bool, parameters: bool, as_json: bool) -> None:
    """Describe a model folder: what it is, how it was made, how large it is."""
    from lmkit.bundle import check, read_config
    from lmkit.cli.output import json_line
    from lmkit.json_text import read_json
    from lmkit.tensors import read_tensors

    folder = check(model, verify=verify or None)
    config = read_config(folder)
    arrays = read_tensors(folder / "model.safetensors")
    splits = read_json(folder / "splits.json")
    size = sum(file.stat().st_size for file in folder.iterdir())
    if as_json:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        facts = {
            **config,
            "path": str(folder),
            "bytes": size,
            "arrays": shapes,
            "splits": splits,
            "schema": 1,
        }
        click.echo(json_line(facts))
        return
    click.echo(f"model        {folder} ({size:,} bytes, written by lmkit {config['lmkit']})")
    click.echo(f"signature    {config['signature']}")
    if parts := config["model"].get("models"):
        click.echo(f"models       {', '.join(part['backend'] for part in parts)}")
    elif "level" in arrays:
        level = arrays["level"]
        grams = "  ".join(f"{n}: {int(b - a):,}" for n, (a, b) in enumerate(pairwise(level), start=1))
        click.echo(f"n-grams      {grams}")
    else:
        click.echo(f"parameters   {sum(array.size for array in arrays.values()):,}")
    for before in splits.get("lineage", []):
        click.echo(f"begun from   {before['model']}, made of {_texts(before)}")
    click.echo(f"made of      {_texts(splits)}")
    click.echo(
        f"held out     {splits.get('valid_lines', 0):,} lines for validation, {splits.get('test_lines', 0):,} for test"
    )
    valid = config.get("summary", {}).get("valid")
    if valid:
        click.echo(f"validation   perplexity {valid['perplexity']:.4f}")
    click.echo(f"trained in   {config.get('summary', {}).get('seconds', 0):,} s")
    options = ", ".join(f"{k}={v}" for k, v in config.get("options", {}).items() if v is not None)
    click.echo(f"options      {options}")
    if parameters:
        click.echo("\n" + _table(arrays))


def _table(arrays: Mapping[str, np.ndarray]) -> str:
    """List arrays with their shapes, their types, how many numbers they hold, and their share of all numbers."""
    total = sum(array.size for array in arrays.values())
    rows = [
        (name, " x ".join(map(str, array.shape)), str(array.dtype), array.size)
        for name, array in sorted(arrays.items())
    ]
    rows.append(("all", "", "", total))
    wide = max(len(name) for name, *_ in rows)
    return "\n".join(
        f"{name:<{wide}}  {shape:>16}  {kind:>8}  {size:>15,}  {size / max(total, 1):7.2%}"
        for name, shape, kind, size in rows
    )


def _texts(splits: Mapping[str, Any]) -> str:
    """Name the texts of a training, or the models of a mixture."""
    lines = f" ({splits['lines']:,} lines)" if "lines" in splits else ""
    return (", ".join(splits.get("sources", [])) or "unknown") + lines
