"""Several processes that train one network: each reads some of the streams, and all take the same step.

Started by `torchrun --nproc-per-node 2 -m lmkit train ...`, which sets RANK and WORLD_SIZE. Process r of W takes the
columns [r B / W, (r + 1) B / W) of every window, with their hidden states; the gradients are averaged before they are
clipped, so that the weights stay the same everywhere, and equal those of one process up to the order of summation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from lmkit.errors import UsageError


@dataclass(frozen=True)
class World:
    """Which process this is, of how many.

    >>> World().share(8)
    slice(0, 8, None)
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @classmethod
    def join(cls, device: torch.device) -> World:
        """Meet the other processes, if torchrun started any: over gloo on CPUs, nccl on GPUs."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(distributed.get_rank(), size, str(device))

    def share(self, columns: int) -> slice:
        """Give this process's part of the columns of a window.

        Raises:
            UsageError: they cannot be shared out evenly.
        """
        if columns % self.size:
            raise UsageError(
                f"{columns} streams cannot be shared among {self.size} processes evenly; give a --batch-size that can"
            )
        width = columns // self.size
        return slice(self.rank * width, (self.rank + 1) * width)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give every process the mean of all gradients."""
        if self.size == 1:
            return
        for parameter in parameters:
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.is_sparse:
                parameter.grad = self._average_rows(gradient.coalesce())
            else:
                distributed.all_reduce(gradient)
                gradient /= self.size

    def _average_rows(self, gradient: Tensor) -> Tensor:
        """Average the rows that take part anywhere: agree on which, then add them up."""
        taken = torch.zeros(gradient.shape[0], dtype=torch.uint8, device=gradient.device)
        taken[gradient.indices()[0]] = 1
        distributed.all_reduce(taken, op=distributed.ReduceOp.MAX)
        ids = taken.nonzero()[:, 0]
        place = torch.empty(len(taken), dtype=torch.long, device=ids.device)
        place[ids] = torch.arange(len(ids), device=ids.device)
        rows = torch.zeros(len(ids), *gradient.shape[1:], dtype=gradient.dtype, device=ids.device)
        rows[place[gradient.indices()[0]]] = gradient.values()
        distributed.all_reduce(rows)
        shape = gradient.shape
        return torch.sparse_coo_tensor(
            ids[None], rows / self.size, shape, is_coalesced=True, check_invariants=False
        )

    def agree(self, value: Any) -> Any:
        """Give every process what the first one has."""
        if self.size == 1:
            return value
        told = [value]
        distributed.broadcast_object_list(told, src=0, device=torch.device(self.device))
        return told[0]

    def mean(self, number: float) -> float:
        """Give every process the mean of a number."""
        if self.size == 1:
            return number
        total = torch.tensor(number, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return total.item() / self.size

    def first(self, number: float) -> float:
        """Give every process the number of the first: one clock for all."""
        if self.size == 1:
            return number
        told = torch.tensor(number, dtype=torch.float64, device=self.device)
        distributed.broadcast(told, src=0)
        return told.item()
