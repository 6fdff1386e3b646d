"""Precision: the numbers that training multiplies. Weights, sums, losses and all that is measured stay float32.

float64     53 bits of significand; not offered: an LSTM of 256 units takes 2.7 times as long in it (a Zen 1)
float32     24 bits of significand
tf32        11 bits and the range of float32: how the tensor cores of NVIDIA's GPUs can read float32
bfloat16     8 bits and the range of float32
float16     11 bits, nothing above 65504 and nothing below 6e-8: a gradient is too small for it unless it is scaled
            up on its way back (Micikevicius et al. 2018)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lmkit.errors import UsageError, did_you_mean
from lmkit.nn.clip import scale_gradients

# of the kinds of device that have several, the widest first
PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "tf32", "bfloat16", "float16")}
_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_WORTH = 1.3  # times as fast, for a narrower precision to be chosen
_HOPELESS = 10  # times as slow with a few rows, for it not to be tried with many
_ROWS = {"cpu": (8, 2048), "cuda": (1 << 10, 1 << 14)}  # few, and enough to keep the device busy
_TURNS = 6  # of which the shortest counts
_STEADY = 2000  # steps without an overflow, after which a scale is doubled


class Precision:
    """How a device multiplies in training.

    Attributes:
        scale: what losses are multiplied by before they are followed back; 1 but for float16, where it is as large as
            the gradients allow.

    >>> precision = Precision("bfloat16", torch.device("cpu"))
    >>> with precision.step(), precision.forwards():
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """

    def __init__(self, name: str, device: torch.device) -> None:
        choices = PRECISIONS.get(device.type, ("float32",))
        if name not in choices:
            raise UsageError(f"{name!r} is no precision of {device}; {did_you_mean(name, choices)}")
        self.name = name
        self.device = device
        self.scale = 2.0**16 if name == "float16" else 1.0
        self.steady = 0  # steps since it last changed

    def forwards(self) -> torch.autocast:
        """Give the context that a network is read in."""
        dtype = _HALVES.get(self.name)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Give the context of a whole step, forwards and backwards: tf32, or strictly not."""
        if self.device.type != "cuda":
            yield
            return
        parts: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
        before = [part.allow_tf32 for part in parts]
        try:
            for part in parts:
                part.allow_tf32 = self.name == "tf32"
            yield
        finally:
            for part, allowed in zip(parts, before, strict=True):
                part.allow_tf32 = allowed

    def unscale(self, parameters: Iterable[Tensor]) -> None:
        """Bring gradients of a scaled loss back to their size."""
        if self.scale != 1.0:
            scale_gradients(parameters, 1 / self.scale)

    def adapt(self, *, finite: bool) -> bool:
        """Halve the scale after gradients that were not finite, double it after many that were.

        Tells whether a smaller scale may be the cure.
        """
        if self.name != "float16" or (not finite and self.scale == 1.0):
            return False
        self.steady = self.steady + 1 if finite else 0
        if not finite:
            self.scale /= 2
        elif self.steady == _STEADY:
            self.scale, self.steady = 2 * self.scale, 0
        return not finite

    def state(self) -> dict[str, Any]:
        """Give what `restore` needs."""
        return {"name": self.name, "scale": self.scale, "steady": self.steady}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the scale that was found, or from the first one if it was found for another precision."""
        if state["name"] != self.name:
            state = Precision(self.name, self.device).state()
        self.scale, self.steady = state["scale"], state["steady"]


def fastest(device: torch.device) -> str:
    """Measure which precision a device multiplies matrices fastest in: not every processor that can is faster so.

    A few rows are tried before many: a processor that only imitates a precision may take hundreds of times as long.
    Precisions are measured in turns, so that whatever else a machine does disturbs one as much as another.
    """
    if device.type not in PRECISIONS:
        return "float32"
    few, many = _ROWS[device.type]
    first = _in_turns(PRECISIONS[device.type], device, few)
    bearable = [name for name, seconds in first.items() if seconds <= _HOPELESS * min(first.values())]
    chosen, *narrower = bearable
    if narrower:
        times = _in_turns(bearable, device, many)
        for name in narrower:
            if _WORTH * times[name] < times[chosen]:
                chosen = name
    return chosen


def _in_turns(names: Sequence[str], device: torch.device, rows: int) -> dict[str, float]:
    """Give the shortest time of each precision."""
    turns = [[_seconds(Precision(name, device), rows) for name in names] for _ in range(_TURNS)]
    return dict(zip(names, map(min, zip(*turns, strict=True)), strict=True))


def _seconds(precision: Precision, rows: int) -> float:
    """Give the time of a product of two matrices, those of a layer of 512 units."""
    dtype = _HALVES.get(precision.name, torch.float32)
    a, b = (torch.ones(shape, device=precision.device, dtype=dtype) for shape in ((rows, 512), (512, 2048)))
    with precision.step():
        torch.mm(a, b)[0, 0].item()  # wakes the device up
        start = time.perf_counter()
        torch.mm(a, b)[0, 0].item()
        return time.perf_counter() - start
