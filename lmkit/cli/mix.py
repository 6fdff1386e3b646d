"""`lmkit mix`."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path

import click

from lmkit.cli.flags import numbers
from lmkit.errors import UsageError

EPILOG = """
\b
Examples:
  lmkit mix my-rnn my-ngram -o both                    weights for the validation text of the first model
  lmkit mix news books --tune mails.txt -o mails
  lmkit mix a b c --weights 0.5,0.3,0.2 -o abc
"""


@click.command("mix", epilog=EPILOG)
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL...")
@click.option("-o", "--output", metavar="DIR", help="Model folder to write  [LMKIT_MODEL or lmkit-model]")
@click.option("--tune", multiple=True, metavar="FILE", help="A text that no model has learnt from.")
@click.option("--weights", metavar="LIST", help="Weights, in place of a text to find them on: 0.7,0.3")
@click.option("--force", is_flag=True, help="Replace an existing model.")
@click.option("--json", "as_json", is_flag=True, help="Print the weights as one JSON object.")
def command(
    models: tuple[str, ...],
    output: str | None,
    tune: tuple[str, ...],
    weights: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Average what several models say, weighted as suits a text best.

    The mixture is a model: measure it, generate with it, mix it again. Vocabularies may differ, tokenizers may not.
    Without --tune or --weights the text is the validation text of the first model that has one.
    """
    from lmkit.bundle import Record, default_path, load, measurable_texts, save
    from lmkit.cli.output import json_line, say, warn_of_learnt
    from lmkit.folders import check_target
    from lmkit.mixture.mix import mix
    from lmkit.text.corpus import Corpus

    path = Path(output) if output else default_path()
    check_target(path, force=force)
    if weights is not None and tune:
        raise UsageError("--weights gives the weights, --tune a text to find them on; one of them is enough")
    began = time.monotonic()
    given = None if weights is None else numbers("--weights", weights, len(models))
    loaded = [load(name) for name in models]
    for model in loaded:
        model.config()  # which one that another tool holds has none of: it cannot be saved
    texts = [measurable_texts(Path(name)) for name in models]
    chosen = None
    if given is None:
        chosen = list(tune)
        if not tune:
            owner = next((name for name, found in zip(models, texts, strict=True) if "valid" in found), None)
            if owner is None:
                raise UsageError("no model has a validation text; name one: --tune FILE, or give --weights")
            chosen = texts[models.index(owner)]["valid"]
            warn_of_learnt(models, text_of=owner, name="valid")
        say(f"weights for {', '.join(chosen)}")
    held_out = {}
    for name in ("valid", "test"):  # what is measured next is measured as before
        files = next((found[name] for found in texts if name in found), [])
        if missing := [file for file in files if not Path(file).exists()]:
            say(f"{missing[0]}: is gone, so that the mixture has no {name} text")
        elif files:
            held_out[f"{name}.txt"] = replace(Corpus.from_paths(files), raw=True)  # as it is
    mixture = mix(loaded, tune=chosen, weights=given, report=say)
    record = Record(
        options={"models": list(models), "tune": chosen},
        splits={"sources": list(models)},
        summary={"seconds": round(time.monotonic() - began, 2)},
        held_out=held_out,
    )
    save(mixture, path, force=force, record=record)
    if as_json:
        facts = {"path": str(path), "signature": mixture.signature(), "weights": mixture.weights.tolist()}
        click.echo(json_line({**facts, "models": list(models), "schema": 1}))
    same = "" if path == default_path() else f" -m {shlex.quote(str(path))}"
    say(f"saved {path}; next: lmkit ppl{same}, or lmkit generate{same} --prefix TEXT")
