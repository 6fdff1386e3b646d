"""Optimisation: AdamW or plain descent, and the schedule of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from lmkit.errors import UsageError, did_you_mean
from lmkit.nn.row_rmsprop import RowRmsProp
from lmkit.nn.weight_decay import parameter_groups

OPTIMIZERS = ("adamw", "sgd")
_BETA = 0.99  # of the mean square gradient


class Optimizers:
    """Several optimisers that step together, each at its own peak rate times what the schedule says."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self.peaks: list[float] = [group["lr"] for group in self._groups()]
        self.multiplier = 1.0  # of the last step

    def step(self, multiplier: float = 1.0) -> None:
        """Follow the gradients, at so much of the peak rates."""
        self.multiplier = multiplier
        for group, peak in zip(self._groups(), self.peaks, strict=True):
            group["lr"] = peak * multiplier
        for part in self.parts:
            part.step()

    @property
    def rate(self) -> float:
        """The rate of the last step, the highest of all."""
        return self.multiplier * max(self.peaks)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """Give what the optimisers remember, by names that are the same in another run."""
        found: dict[str, Tensor] = {}
        for name, memory in self._memories():
            found |= {f"{name}.{key}": value for key, value in memory.items() if isinstance(value, Tensor)}
        return found

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `state_tensors` gave."""
        wanted: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            place, key = name.rsplit(".", 1)
            wanted.setdefault(place, {})[key] = value
        for name, memory in self._memories():
            memory.clear()
            memory.update({key: value.clone() for key, value in wanted.get(name, {}).items()})

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def _memories(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (f"{i}.{j}.{k}", part.state[parameter])
            for i, part in enumerate(self.parts)
            for j, group in enumerate(part.param_groups)
            for k, parameter in enumerate(group["params"])
        ]


def make_optimizers(
    kind: str,
    module: nn.Module,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    sparse: Collection[nn.Parameter] = (),
) -> Optimizers:
    """Make what trains a module: `sgd`, or `adamw` with decoupled weight decay (Loshchilov and Hutter 2019).

        m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
        w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + 1e-8) - lr weight_decay w

    By the fused kernel where there is one (33k x 256 weights on two cores: 4 ms a step, 38 without). `sparse` are the
    parameters whose gradients are sparse: with AdamW their rows have no mean m of the gradients (`RowRmsProp`) and do
    not decay.

    >>> len(make_optimizers("adamw", nn.Linear(2, 3)).parts)
    1
    """
    if kind not in OPTIMIZERS:
        raise UsageError(f"unknown optimizer {kind!r}; {did_you_mean(kind, OPTIMIZERS)}")
    rows = {id(parameter) for parameter in sparse}
    groups = parameter_groups(module, weight_decay)
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in rows]
    groups = [group for group in groups if group["params"]]
    if kind == "sgd":
        if sparse:
            groups.append({"params": list(sparse), "weight_decay": 0.0})
        return Optimizers(torch.optim.SGD(groups, lr=learning_rate))
    parts: list[torch.optim.Optimizer] = []
    if groups:
        fused = all(parameter.device.type in ("cpu", "cuda") for parameter in module.parameters())
        parts.append(torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, _BETA), fused=fused))
    if sparse:
        parts.append(RowRmsProp(sparse, lr=learning_rate, beta=_BETA))
    return Optimizers(*parts)


def warmup_cosine(progress: float, warmup: float = 0.03, floor: float = 0.0) -> float:
    """What to multiply the learning rate by, at a share `progress` in [0, 1] of the whole training.

    It rises in a straight line from 0 to 1 over the share `warmup`, then falls along half a cosine to `floor`
    (Loshchilov and Hutter 2017, SGDR, equation 5). Progress may be a share of the steps or of a time budget;
    beyond 1 it stays at the floor. The multiplier at 0 is 0: give (step + 1) / steps to lose no step.

        floor + (1 - floor) (1 + cos(pi (progress - warmup) / (1 - warmup))) / 2

    >>> [round(warmup_cosine(progress, warmup=0.1, floor=0.1), 3) for progress in (0, 0.05, 0.1, 0.55, 1)]
    [0.0, 0.5, 1.0, 0.55, 0.1]
    """
    if not (0 <= warmup < 1 and 0 <= floor <= 1):
        raise UsageError(f"warmup is {warmup} and floor {floor}; need 0 <= warmup < 1 and 0 <= floor <= 1")
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup:
        return progress / warmup
    fallen = (progress - warmup) / (1 - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * fallen))
