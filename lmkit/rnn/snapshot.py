"""What a training is at one moment, as arrays and numbers: what rescues go back to, and all that checkpoints hold."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import torch

from lmkit.checkpoints import Arrays
from lmkit.json_text import finite
from lmkit.nn.averaging import WeightAverage
from lmkit.nn.saving import load_arrays, state_arrays
from lmkit.rnn.learner import Step
from lmkit.tensors import prefixed, under

if TYPE_CHECKING:
    from lmkit.rnn.trainer import Trainer

Snapshot = tuple[Arrays, dict[str, Any]]
_HIDDEN_STATE = re.compile(r"((good|last)\.)?states\.")


def take(trainer: Trainer) -> Snapshot:
    """Give copies of what a training may have to go back to: weights, optimiser, noise, and the place in the text."""
    arrays = prefixed("network", state_arrays(trainer.network)) | trainer.learner.arrays()
    arrays["random"] = torch.get_rng_state().numpy().copy()
    if trainer.learner.device.type == "cuda":
        arrays["random.cuda"] = torch.cuda.get_rng_state(trainer.learner.device).numpy().copy()
    facts = {
        "reader": [trainer.reader.epoch, trainer.reader.window],
        "precision": trainer.learner.precision.state(),
        "schedule": trainer.schedule.state(),
        "cooling": trainer.cooling,
    }
    return arrays, facts


def restore(trainer: Trainer, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Go back to what `take` gave, but for the clock and the descent it is in, which `turn_back` sets back, too."""
    load_arrays(trainer.network, under("network", arrays))
    trainer.learner.load_arrays(arrays)
    if trainer.world.rank == 0:  # whose noise it is; the other processes have their own
        torch.set_rng_state(torch.from_numpy(arrays["random"].copy()))
        if "random.cuda" in arrays and trainer.learner.device.type == "cuda":
            torch.cuda.set_rng_state(torch.from_numpy(arrays["random.cuda"].copy()), trainer.learner.device)
    trainer.reader.seek(*facts["reader"])
    trainer.learner.precision.restore(facts["precision"])


def turn_back(trainer: Trainer, facts: dict[str, Any]) -> None:
    """Let the time since a snapshot be as if it had not passed."""
    trainer.schedule.restore(facts["schedule"])
    trainer.cooling = facts["cooling"]


def take_all(trainer: Trainer) -> Snapshot:
    """Give all that a run needs to go on as if it had never stopped, what it may have to go back to included."""
    arrays, facts = take(trainer)
    facts |= {
        "scale": trainer.learner.scale,
        "multiplier": trainer.learner.optimizers.multiplier,
        "averages": [[average.emphasis, average.count] for average in trainer.averages],
        "waited": trainer.waited,
        "bad_steps": trainer.bad_steps,
        "rescues": trainer.rescues,
        "mark": trainer.mark,
        "steps": finite([[step.loss, step.norm] for step in trainer.steps]),
        "processes": trainer.world.size,
    }
    for k, average in enumerate(trainer.averages):
        arrays |= {f"average.{k}.{i}": mean.cpu().numpy().copy() for i, mean in enumerate(average.means)}
    if trainer.validation is not None:
        validated, facts["validation"] = trainer.validation.state()
        arrays |= validated
    for name, (kept, where) in (("good", trainer.good), ("last", trainer.last)):
        arrays |= prefixed(name, kept)
        facts[name] = where
    return arrays, facts


def restore_all(trainer: Trainer, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Be what `take_all` found; hidden states are left out where there are, or were, several processes.

    Each of them reads other streams, and only those of the first one were kept.
    """
    if facts["processes"] > 1 or trainer.world.size > 1:
        arrays = {name: array for name, array in arrays.items() if not _HIDDEN_STATE.match(name)}
    restore(trainer, arrays, facts)
    turn_back(trainer, facts)
    trainer.learner.scale = facts["scale"]
    trainer.learner.optimizers.multiplier = facts["multiplier"]
    trainer.averages = []
    for k, (emphasis, count) in enumerate(facts["averages"]):
        average = WeightAverage(trainer.network, emphasis=emphasis)
        average.count = count
        for i, mean in enumerate(average.means):
            mean.copy_(torch.from_numpy(arrays[f"average.{k}.{i}"].copy()))
        trainer.averages.append(average)
    trainer.waited, trainer.mark = facts["waited"], facts["mark"]
    trainer.bad_steps, trainer.rescues = facts["bad_steps"], facts["rescues"]
    steps = ([math.nan if x is None else x for x in step] for step in facts["steps"])
    trainer.steps = [Step(loss, norm) for loss, norm in steps]
    if trainer.validation is not None:
        trainer.validation.restore(arrays, facts["validation"])
    trainer.good, trainer.last = ((under(name, arrays), facts[name]) for name in ("good", "last"))
