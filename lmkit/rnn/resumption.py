"""Going on with a training that broke off, by the options it was begun with but for those that may change."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

from lmkit.checkpoints import Checkpoints
from lmkit.config import RnnConfig
from lmkit.errors import UsageError

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
_OPEN = (None, "auto")  # of which something has been made since


def resumed(config: RnnConfig, *, folder: Path, given: Collection[str]) -> RnnConfig:
    """Give the config of the last checkpoint of a folder, in which nothing is open, with what may change as given.

    Args:
        config: The options.
        folder: Where the checkpoints are.
        given: The names of the options that were asked for. What is asked for as None or "auto" stays as it was;
            of a time and a number of passes, one that is asked for alone takes the place of both.

    Raises:
        UsageError: there is no checkpoint, or another training was asked for.
        ModelFormatError: the checkpoint is damaged, or of another version.
    """
    before = RnnConfig(**Checkpoints(folder).facts()["config"])
    for f in fields(RnnConfig):
        asked, was = getattr(config, f.name), getattr(before, f.name)
        if f.name in given and f.name not in _MAY_CHANGE and asked not in (*_OPEN, was):
            raise UsageError(
                f"{f.name} is {was} in the checkpoint, and {asked} was asked for; leave it out, or train without "
                "--resume"
            )
    asked_for = {name: getattr(config, name) for name in _MAY_CHANGE if name in given}
    asked_for = {name: asked for name, asked in asked_for.items() if asked not in _OPEN or name == "device"}
    if len({"budget", "epochs"} & asked_for.keys()) == 1:  # which now says alone how long
        asked_for = {"budget": None, "epochs": None} | asked_for
    return replace(before, **asked_for)
