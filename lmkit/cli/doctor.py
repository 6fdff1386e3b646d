"""`lmkit doctor`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.nn.diagnostics import Examination

EPILOG = """
\b
Examples:
  lmkit doctor --gradients my-rnn valid.txt
  lmkit doctor --gradients my-rnn valid.txt --json
  lmkit doctor --gradients my-rnn valid.txt --init xavier
"""

_FEW = 100  # tokens


@click.command("doctor", epilog=EPILOG)
@click.argument("model", metavar="MODEL")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--gradients", is_flag=True, required=True, help="Look at the gradients of a recurrent model.")
@click.option(
    "--init", metavar="NAME", help="Before its first step: uniform, normal, xavier, orthogonal or constant."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(model: str, files: tuple[str, ...], gradients: bool, init: str | None, as_json: bool) -> None:
    """Tell whether a recurrent model is in a state to learn in, on a text: one pass forwards and back.

    The share of each gradient inside [1e-6, 1e3], what float16 would lose of it, mean and variance of what every layer
    gives out, how far back the gradient reaches, and what is wrong, if anything is. --init shows the same of such a
    network before it has learnt anything, which is how initialisations compare.
    """
    from lmkit.bundle import load
    from lmkit.cli.output import json_line, say
    from lmkit.text.corpus import Corpus

    loaded = load(model)
    if loaded.backend != "rnn":
        raise UsageError(
            f"{model}: a model of the backend {loaded.backend} has no gradients; name a recurrent one"
        )
    from lmkit.rnn.examination import examination
    from lmkit.rnn.model import RnnModel

    assert isinstance(loaded, RnnModel)
    found, calibration = examination(loaded, Corpus.from_paths(files), init=init)
    findings = found.findings(
        guessing=math.log(len(loaded.tokenizer.vocab)),
        frequencies=math.inf if init else calibration.frequencies,
    )
    if calibration.tokens < _FEW:
        say(f"lmkit: warning: {calibration.tokens} tokens say little of a network; give a text of some lines")
    if as_json:
        facts = {
            **asdict(found),
            **asdict(calibration),
            "memory": found.memory,
            "findings": findings,
            "schema": 1,
        }
        click.echo(json_line(facts))
        return
    click.echo(_tables(found))
    click.echo(
        f"the likeliest word has {calibration.confidence:.1%} on average, and is right in {calibration.accuracy:.1%}"
    )
    for line in findings or ["nothing is wrong"]:
        click.echo(line)


def _tables(found: Examination) -> str:
    """Write what was found in columns."""
    wide = max(len(entries.name) for entries in found.gradients)
    lines = [f"{'gradient':<{wide}}      norm  below 1e-6  inside  above 1e3  lost in float16"]
    lines += [
        f"{e.name:<{wide}}  {e.norm:8.2e}  {e.below:10.1%}  {e.inside:6.1%}  {e.above:9.1%}  "
        f"{e.underflow + e.overflow:15.1%}"
        for e in found.gradients
    ]
    lines += ["", f"{'layer':<{wide}}      mean  variance  of the gradient: mean  variance"]
    lines += [
        f"{s.name:<{wide}}  {s.mean:8.1e}  {s.variance:8.1e}  {s.gradient_mean:21.1e}  {s.gradient_variance:8.1e}"
        for s in found.signals
    ]
    lines.append("")
    lines += [f"{name:<{wide}}  spectral radius {radius:.3g}" for name, radius in found.radii.items()]
    lines.append(
        f"loss {found.loss:.4f} nats; the gradient reaches {found.memory} of {max(0, len(found.reach) - 1)} steps back"
    )
    return "\n".join(lines)
