"""RMSProp for tables of which a step moves a few rows: embeddings, and the output layer of a sampled softmax.

It is Adam without a mean of the gradients (b1 = 0). A mean would be of the last visits to a row, however long ago, and
would push a rare word on in a direction that was right for another context.

The rows without a gradient keep their weights and their averages, as in torch's SparseAdam: a step costs what its rows
cost, not what the table does. A compiled loop goes over the rows of a table on the CPU; torch's operations do on
another device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmkit.compiled import compiled

EPSILON = 1e-8


class RowRmsProp(torch.optim.Optimizer):
    """Tieleman and Hinton 2012, with the correction of Kingma and Ba 2015 for the first steps.

    The gradients are sparse, and must be coalesced; of the rows that they have

        v <- beta v + (1 - beta) g^2,   w <- w - lr g / (sqrt(v / (1 - beta^t)) + 1e-8)

    >>> table = torch.nn.Parameter(torch.ones(3, 2))
    >>> table.grad = torch.sparse_coo_tensor([[1]], [[1.0, -1.0]], (3, 2), check_invariants=True).coalesce()
    >>> RowRmsProp([table], lr=0.5).step()
    >>> table.data
    tensor([[1.0000, 1.0000],
            [0.5000, 1.5000],
            [1.0000, 1.0000]])
    """

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, beta: float = 0.99) -> None:
        super().__init__(parameters, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the rows that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], group["beta"])

    def _move(self, parameter: Tensor, rate: float, beta: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["square"] = torch.zeros_like(parameter)
        state["step"] += 1
        root = (1 - beta ** state["step"].item()) ** 0.5
        move = (
            _move_on_cpu if parameter.device.type == "cpu" and parameter.dtype == torch.float32 else move_rows
        )
        assert parameter.grad is not None
        ids, gradient = parameter.grad.indices()[0], parameter.grad.values()
        if len(ids):
            move(parameter, state["square"], ids, gradient, rate, root, beta)


def _move_on_cpu(weight: Tensor, square: Tensor, ids: Tensor, gradient: Tensor, *numbers: float) -> None:
    """Do what `move_rows` does, by the compiled loop."""
    tables = [table.detach().view(len(table), -1).numpy() for table in (weight, square)]
    constants = [np.float32(number) for number in numbers]
    _move_rows(*tables, ids.numpy(), gradient.reshape(len(ids), -1).numpy(), *constants)
    torch.autograd.graph.increment_version(weight)  # or what was made of the table would pass for up to date


def move_rows(
    weight: Tensor, square: Tensor, ids: Tensor, gradient: Tensor, rate: float, root: float, beta: float
) -> None:
    """Move rows `ids` (R,) of a table (V, ...) and its mean square along gradients (R, ...)."""
    v = square[ids].mul_(beta).addcmul_(gradient, gradient, value=1 - beta)
    square[ids] = v
    weight.index_add_(0, ids, gradient / (v.sqrt() / root + EPSILON), alpha=-rate)


@compiled
def _move_rows(weight, square, ids, gradient, rate, root, beta):  # type: ignore[no-untyped-def]
    one, epsilon = np.float32(1), np.float32(EPSILON)
    for i in range(len(ids)):
        w, v, g = weight[ids[i]], square[ids[i]], gradient[i]
        for j in range(len(w)):
            v[j] = beta * v[j] + (one - beta) * g[j] * g[j]
            # not "/": it would be checked for zero, which keeps the loop from the processor's wide registers
            w[j] -= np.divide(rate * g[j], np.divide(np.sqrt(v[j]), root) + epsilon)
