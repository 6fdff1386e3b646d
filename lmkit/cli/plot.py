"""`lmkit plot`."""

from __future__ import annotations

import click

EPILOG = """
\b
Examples:
  lmkit plot                                   the model of this folder, as curve.png
  lmkit plot small large -o sizes.pdf          two trainings in one picture
  lmkit plot my-rnn/metrics.jsonl --x epoch --force
  lmkit plot losses -o losses.png              the losses, their likelihoods and gradients
  lmkit plot activations -o activations.png    the activations and their derivatives
"""


@click.command("plot", epilog=EPILOG)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("-o", "--output", default="curve.png", metavar="FILE", help=".png, .svg or .pdf  [curve.png]")
@click.option(
    "--x",
    type=click.Choice(["seconds", "epoch", "step"]),
    default="seconds",
    help="What runs to the right  [seconds]",
)
@click.option(
    "--between",
    type=click.Choice(["linear", "nearest", "previous"]),
    default="linear",
    help="What the first training is taken for between its measurements, where others are compared  [linear]",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(models: tuple[str, ...], output: str, x: str, between: str, force: bool) -> None:
    """Draw the learning curves of trained models: model folders, or metrics.jsonl files.

    Perplexity in training (with dropout, on average since the point before) and validation, learning rate and norm of
    the gradient. Without MODEL, that of LMKIT_MODEL or lmkit-model. The words `losses` and `activations` draw those
    functions instead (a folder of that name is ./losses).
    """
    from lmkit.bundle import default_path
    from lmkit.cli.output import check_file, say, write_bytes
    from lmkit.report.curve import Curve, draw, read_curve
    from lmkit.report.picture import kind_of, render

    kind = kind_of(output)
    check_file(output, force=force)
    curves: list[Curve] = []
    if models in (("losses",), ("activations",)):
        from lmkit.report.functions import draw_activations, draw_losses

        figure = draw_losses() if models == ("losses",) else draw_activations()
    else:
        curves = [read_curve(model) for model in models or [default_path()]]
        figure = draw(curves, x=x, between=between)
    write_bytes(output, [render(figure, kind=kind)])
    for curve in curves:
        if (best := curve.best()) is not None:
            lowest, at = curve.perplexity("valid_loss")[best], curve.columns[x][best]
            say(f"{curve.name}: best validation perplexity {lowest:.2f} at {x} {at:g}")
    say(f"wrote {output}")
