"""What a training is at one moment, as arrays and numbers: what rescues go back to, and all that checkpoints hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from lmkit.json_text import finite
from lmkit.nn.averaging import WeightAverage
from lmkit.nn.saving import load_arrays, state_arrays
from lmkit.rnn.checkpoint import Arrays
from lmkit.rnn.learner import Step
from lmkit.tensors import prefixed, under

if TYPE_CHECKING:
    from lmkit.rnn.trainer import Trainer

Snapshot = tuple[Arrays, dict[str, Any]]


def take(trainer: Trainer) -> Snapshot:
    """Give copies of the weights, of the optimiser, and of where the run is: what it may have to go back to."""
    arrays = prefixed("network", state_arrays(trainer.network)) | trainer.learner.arrays()
    arrays["random"] = torch.get_rng_state().numpy().copy()
    if trainer.learner.device.type == "cuda":
        arrays["random.cuda"] = torch.cuda.get_rng_state(trainer.learner.device).numpy().copy()
    facts = {
        "step": trainer.schedule.step,
        "schedule": trainer.schedule.state(),
        "reader": [trainer.reader.epoch, trainer.reader.window],
        "scale": trainer.learner.scale,
        "precision": trainer.learner.precision.state(),
        "waited": trainer.waited,
        "cooling": trainer.cooling,
        "bad_steps": trainer.bad_steps,
        "rescues": trainer.rescues,
        "mark": trainer.mark,
        "steps": finite([[step.loss, step.norm] for step in trainer.steps]),
    }
    return arrays, facts


def restore(trainer: Trainer, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Go back to what `take` gave."""
    load_arrays(trainer.network, under("network", arrays))
    trainer.learner.load_arrays(arrays)
    torch.set_rng_state(torch.from_numpy(arrays["random"].copy()))
    if "random.cuda" in arrays and trainer.learner.device.type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(arrays["random.cuda"].copy()), trainer.learner.device)
    trainer.schedule.restore(facts["schedule"])
    trainer.reader.seek(*facts["reader"])
    trainer.learner.scale = facts["scale"]
    trainer.learner.precision.restore(facts["precision"])
    trainer.waited, trainer.cooling = facts["waited"], facts["cooling"]
    trainer.bad_steps, trainer.rescues, trainer.mark = facts["bad_steps"], facts["rescues"], facts["mark"]
    steps = ([math.nan if x is None else x for x in step] for step in facts["steps"])
    trainer.steps = [Step(loss, norm) for loss, norm in steps]


def take_all(trainer: Trainer) -> Snapshot:
    """Give all that a run needs to go on as if it had never stopped, what it may have to go back to included."""
    arrays, facts = take(trainer)
    facts["averages"] = [[average.emphasis, average.count] for average in trainer.averages]
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
    """Be what `take_all` found."""
    restore(trainer, arrays, facts)
    trainer.averages = []
    for k, (emphasis, count) in enumerate(facts["averages"]):
        average = WeightAverage(trainer.network, emphasis=emphasis)
        average.count = count
        for i, mean in enumerate(average.means):
            mean.copy_(torch.from_numpy(arrays[f"average.{k}.{i}"].copy()))
        trainer.averages.append(average)
    if trainer.validation is not None:
        trainer.validation.restore(arrays, facts["validation"])
    trainer.good, trainer.last = ((under(name, arrays), facts[name]) for name in ("good", "last"))
