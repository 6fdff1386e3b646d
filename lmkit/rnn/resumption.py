"""Going on with a training that broke off, by the options it was begun with but for those that may change."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

from lmkit.config import RnnConfig
from lmkit.errors import UsageError
from lmkit.rnn.checkpoint import Checkpoints

_MAY_CHANGE = (
    "budget",
    "epochs",
    "learning_rate",
    "grad_clip",
    "clip_value",
    "device",
    "precision",
    "threads",
    "checkpoint",
)


def resumed(config: RnnConfig, *, folder: Path, given: Collection[str]) -> RnnConfig:
    """Give the config of the last checkpoint of a folder, in which nothing is open, with what may change as given.

    Args:
        config: The options.
        folder: Where the checkpoints are.
        given: The names of the options that were asked for. What is asked for as None or "auto" stays as it was.

    Raises:
        UsageError: there is no checkpoint, or another training was asked for.
        ModelFormatError: the checkpoint is damaged, or of another version.
    """
    before = RnnConfig(**Checkpoints(folder).read()[1]["config"])
    for f in fields(RnnConfig):
        asked, was = getattr(config, f.name), getattr(before, f.name)
        if f.name in given and f.name not in _MAY_CHANGE and asked not in (None, "auto", was):
            raise UsageError(
                f"{f.name} is {was} in the checkpoint, and {asked} was asked for; leave it out, or train without "
                "--resume"
            )
    asked_for = {name: getattr(config, name) for name in _MAY_CHANGE if name in given}
    return replace(
        before, **{name: asked for name, asked in asked_for.items() if asked not in (None, "auto")}
    )
