"""The linear recurrence h_t = f_t h_{t-1} + u_t, element by element: all that a simple recurrent unit does in order.

Everything else of such a layer is products over all steps at once. The scan itself goes over memory once forwards and
once backwards, as a compiled loop on a CPU and as a few operations a step elsewhere. A parallel prefix sum, which
saves a GPU some of the waiting, takes five times as long on a CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmkit.compiled import compiled


def scan(forget: Tensor, update: Tensor, first: Tensor) -> Tensor:
    """Give h (T, B, H) of f and u (T, B, H) and the state (B, H) before.

    >>> scan(torch.full((3, 1, 1), 0.5), torch.ones(3, 1, 1), torch.zeros(1, 1)).flatten()
    tensor([1.0000, 1.5000, 1.7500])
    """
    out: Tensor = _Scan.apply(forget, update, first)  # type: ignore[no-untyped-call]
    return out


class _Scan(torch.autograd.Function):
    """dL/du_t = g_t + f_{t+1} dL/du_{t+1},  dL/df_t = h_{t-1} dL/du_t,  g the gradient that comes from above."""

    @staticmethod
    def forward(ctx: Any, forget: Tensor, update: Tensor, first: Tensor) -> Tensor:
        forget, update, first = forget.contiguous(), update.contiguous(), first.contiguous()
        out = torch.empty_like(update)
        run = _forward if _compiled_for(update) else forward_steps
        run(*_arrays(forget, update, first, out))
        ctx.save_for_backward(forget, out, first)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        forget, out, first = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        by_update, by_forget = torch.empty_like(out), torch.empty_like(out)
        run = _backward if _compiled_for(out) else backward_steps
        run(*_arrays(forget, out, first, gradient, by_update, by_forget))
        return by_forget, by_update, forget[0] * by_update[0]


def forward_steps(forget: Tensor, update: Tensor, first: Tensor, out: Tensor) -> None:
    """Do what `_forward` does, by torch's operations."""
    for t in range(len(update)):
        torch.addcmul(update[t], forget[t], out[t - 1] if t else first, out=out[t])


def backward_steps(
    forget: Tensor, out: Tensor, first: Tensor, gradient: Tensor, by_update: Tensor, by_forget: Tensor
) -> None:
    """Do what `_backward` does, by torch's operations."""
    last = len(out) - 1
    for t in range(last, -1, -1):
        if t == last:
            by_update[t] = gradient[t]
        else:
            torch.addcmul(gradient[t], forget[t + 1], by_update[t + 1], out=by_update[t])
        torch.mul(by_update[t], out[t - 1] if t else first, out=by_forget[t])


def _compiled_for(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    """Give what the chosen loop takes: flat steps (T, B H) of numbers, or the tensors as they are."""
    if not _compiled_for(tensors[0]):
        return tensors
    return tuple(tensor.detach().numpy().reshape(*tensor.shape[:-2], -1) for tensor in tensors)


@compiled
def _forward(forget: np.ndarray, update: np.ndarray, first: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(first)):
        out[0, i] = forget[0, i] * first[i] + update[0, i]
    for t in range(1, len(update)):
        before, f, u, h = out[t - 1], forget[t], update[t], out[t]
        for i in range(len(h)):
            h[i] = f[i] * before[i] + u[i]


@compiled
def _backward(
    forget: np.ndarray,
    out: np.ndarray,
    first: np.ndarray,
    gradient: np.ndarray,
    by_update: np.ndarray,
    by_forget: np.ndarray,
) -> None:
    last = len(out) - 1
    for t in range(last, -1, -1):
        before = out[t - 1] if t else first
        d, g, f = by_update[t], gradient[t], by_forget[t]
        if t == last:
            for i in range(len(g)):
                d[i] = g[i]
        else:
            later, forgotten = by_update[t + 1], forget[t + 1]
            for i in range(len(g)):
                d[i] = g[i] + forgotten[i] * later[i]
        for i in range(len(g)):
            f[i] = d[i] * before[i]
