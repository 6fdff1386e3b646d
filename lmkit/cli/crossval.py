"""`lmkit crossval`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.flags import SectionedCommand, config_options
from lmkit.config import NgramConfig, RnnConfig, TextConfig
from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.report.capacity import Point
    from lmkit.selection import CrossValidation

EPILOG = """
\b
Examples:
  lmkit crossval corpus.txt --grid order=2,3,4,5
  lmkit crossval corpus.txt --grid order=3,4 --grid interpolate_unigrams=true,false --refit -o best
  lmkit crossval corpus.txt --grid order=1,2,3,4,5,6 --picture capacity.png
  lmkit crossval corpus.txt --backend rnn --epochs 10 --grid hidden_size=64,128 -k 3
"""


@click.command("crossval", cls=SectionedCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-k", "k", type=int, default=5, help="how many folds  [5]")
@click.option(
    "--jobs",
    type=int,
    help="models trained at once  [of networks on a CPU with --epochs one for each core, up to -k; else 1]",
)
@click.option(
    "--grid", multiple=True, required=True, metavar="NAME=A,B", help="values of an option to compare"
)
@click.option("--backend", default="ngram", metavar="TEXT", help="kind of model  [ngram]")
@click.option(
    "--refit", is_flag=True, help="train the winner on all folds, and measure it on test lines, once"
)
@click.option("-o", "--output", metavar="TEXT", help="model folder to write the winner to")
@click.option("--force", is_flag=True, help="replace an existing model or picture")
@click.option(
    "--picture", metavar="FILE", help="draw capacity against perplexity: .png, .svg or .pdf (extra plot)"
)
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@click.option("-q", "--quiet", is_flag=True, help="say nothing but warnings and errors")
@config_options(TextConfig, NgramConfig, RnnConfig)
def command(
    files: tuple[str, ...],
    k: int,
    jobs: int | None,
    grid: tuple[str, ...],
    backend: str,
    refit: bool,
    output: str | None,
    force: bool,
    picture: str | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Compare options on a text by k-fold cross-validation, and rank them.

    Every line is measured by a model that has not learnt from it or from a copy of it. A twentieth of the lines is kept
    out of all folds, to measure the winner once (--refit).

    The column `training` is the perplexity of lines that a model has learnt from, `capacity` the numbers of its n-grams
    or parameters: who keeps much learns its lines by heart, who keeps little learns neither (--picture).
    """
    from lmkit.cli.output import check_file, json_line, say, write_bytes
    from lmkit.selection import crossval

    if picture is not None:
        from lmkit.report.picture import blank, kind_of

        kind = kind_of(picture)
        blank()  # which tells now, not when all the work is done, that matplotlib is missing
        check_file(picture, force=force)

    found = crossval(
        files,
        grid=_grid(grid),
        k=k,
        jobs=jobs,
        backend=backend,
        refit=refit,
        output=output,
        force=force,
        report=None if quiet else say,
        **{name: value for name, value in given.items() if value is not None},
    )
    if as_json:
        click.echo(json_line(_facts(found)))
    else:
        click.echo(_table(found))
    if picture is not None:
        from lmkit.report.capacity import draw
        from lmkit.report.picture import render

        write_bytes(picture, [render(draw(_points(found)), kind=kind)])
        say(f"wrote {picture}")


def _points(found: CrossValidation) -> list[Point]:
    """Give what the picture shows."""
    from lmkit.report.capacity import Point
    from lmkit.selection import shown

    return [
        Point(shown(c.options, between="\n"), c.capacity, c.mean, c.deviation, c.training)
        for c in found.configurations
        if c.capacity is not None
    ]


def _table(found: CrossValidation) -> str:
    """Write a line for every configuration, the best first, and what the test lines say."""
    from lmkit.selection import shown

    names = list(found.best.options)
    wide = [max(len(n), *(len(str(c.options[n])) for c in found.configurations)) for n in names]
    head = "perplexity  deviation    training      capacity    seconds"
    lines = ["  ".join([*map(str.ljust, names, wide), head])]
    for configuration in found.configurations:
        values = [str(configuration.options[name]).ljust(w) for name, w in zip(names, wide, strict=True)]
        capacity = "-" if configuration.capacity is None else f"{configuration.capacity:,}"
        figures = (
            f"{configuration.mean:10.4f}  {configuration.deviation:9.4f}  {configuration.training:10.4f}"
        )
        lines.append("  ".join([*values, figures, f"{capacity:>12}  {configuration.seconds:9.2f}"]))
    if found.test is not None:
        trained = f"{shown(found.best.options)}, trained on all folds"
        lines.append(f"{trained}: test perplexity {found.test.perplexity:.4f}")
        lines.append(f"signature  {found.test.signature}")
    return "\n".join(lines)


def _grid(texts: tuple[str, ...]) -> dict[str, list[Any]]:
    """Read NAME=A,B; a value that is a list has semicolons in it: prune=0;0;1,0;1;1."""
    switches = {"true": True, "false": False}
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.replace("-", "_")
        if not equals or not all(values.split(",")):
            raise UsageError(f"--grid {text}: write it as --grid order=2,3,4")
        if name in grid:
            raise UsageError(f"--grid {name} is given twice; name all its values at once")
        grid[name] = [switches.get(value, value.replace(";", ",")) for value in values.split(",")]
    return grid


def _facts(found: CrossValidation) -> dict[str, Any]:
    return {
        "configurations": [
            {**vars(c), "mean": c.mean, "deviation": c.deviation, "training": c.training}
            for c in found.configurations
        ],
        "best": found.best.options,
        "test": None if found.test is None else found.test.as_dict(),
        "schema": 1,
    }
