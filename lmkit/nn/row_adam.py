"""Adam for tables of which a step moves a few rows: embeddings, and the output layer of a sampled softmax.

The rows without a gradient keep their weights and their averages, as in torch's SparseAdam, whose rule it is: a step
costs what its rows cost, not what the table does. A compiled loop goes over the rows of a table on the CPU (4,600 of
33k x 400: 3 ms, SparseAdam 38, dense AdamW with its fused kernel 25); torch's operations do on another device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmkit.compiled import compiled

EPSILON = 1e-8


class RowAdam(torch.optim.Optimizer):
    """Kingma and Ba 2015 on the rows of sparse gradients, which must be coalesced.

        m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
        w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + 1e-8)

    >>> table = torch.nn.Parameter(torch.ones(3, 2))
    >>> table.grad = torch.sparse_coo_tensor([[1]], [[1.0, -1.0]], (3, 2), check_invariants=True).coalesce()
    >>> RowAdam([table], lr=0.5).step()
    >>> table.data
    tensor([[1.0000, 1.0000],
            [0.5000, 1.5000],
            [1.0000, 1.0000]])
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the rows that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], *group["betas"])

    def _move(self, parameter: Tensor, rate: float, beta1: float, beta2: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = state["step"].item()
        rate, root = rate / (1 - beta1**step), (1 - beta2**step) ** 0.5
        tables = (parameter, state["exp_avg"], state["exp_avg_sq"])
        move = (
            _move_on_cpu if parameter.device.type == "cpu" and parameter.dtype == torch.float32 else move_rows
        )
        assert parameter.grad is not None
        ids, gradient = parameter.grad.indices()[0], parameter.grad.values()
        if not len(ids):
            return
        move(*tables, ids, gradient, rate, root, beta1, beta2)


def _move_on_cpu(
    weight: Tensor, mean: Tensor, square: Tensor, ids: Tensor, gradient: Tensor, *numbers: float
) -> None:
    """Do what `move_rows` does, by the compiled loop."""
    tables = [table.detach().view(len(table), -1).numpy() for table in (weight, mean, square)]
    constants = [np.float32(number) for number in numbers]
    _move_rows(*tables, ids.numpy(), gradient.reshape(len(ids), -1).numpy(), *constants)


def move_rows(
    weight: Tensor,
    mean: Tensor,
    square: Tensor,
    ids: Tensor,
    gradient: Tensor,
    rate: float,
    root: float,
    beta1: float,
    beta2: float,
) -> None:
    """Move rows `ids` (R,) of a table (V, ...) and its averages along gradients (R, ...)."""
    m = mean[ids].lerp_(gradient, 1 - beta1)
    v = square[ids].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    mean[ids], square[ids] = m, v
    weight.index_add_(0, ids, m / (v.sqrt() / root + EPSILON), alpha=-rate)


@compiled
def _move_rows(weight, mean, square, ids, gradient, rate, root, beta1, beta2):  # type: ignore[no-untyped-def]
    one, epsilon = np.float32(1), np.float32(EPSILON)
    for i in range(len(ids)):
        w, m, v, g = weight[ids[i]], mean[ids[i]], square[ids[i]], gradient[i]
        for j in range(len(w)):
            m[j] = beta1 * m[j] + (one - beta1) * g[j]
            v[j] = beta2 * v[j] + (one - beta2) * g[j] * g[j]
            # not "/": it would be checked for zero, which keeps the loop from the processor's wide registers
            w[j] -= np.divide(rate * m[j], np.divide(np.sqrt(v[j]), root) + epsilon)
