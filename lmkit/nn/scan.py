"""The linear recurrence h_t = f_t h_{t-1} + u_t, element by element: all that a simple recurrent unit does in order.

Everything else of such a layer is products over all steps at once. The scan goes over memory once forwards and once
backwards, by an operation a step, on any device; `sru_loop` is faster on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
        _forward(forget, update, first, out)
        ctx.save_for_backward(forget, out, first)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        forget, out, first = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        by_update, by_forget = torch.empty_like(out), torch.empty_like(out)
        _backward(forget, out, first, gradient, by_update, by_forget)
        return by_forget, by_update, forget[0] * by_update[0]


def _forward(forget: Tensor, update: Tensor, first: Tensor, out: Tensor) -> None:
    for t in range(len(update)):
        torch.addcmul(update[t], forget[t], out[t - 1] if t else first, out=out[t])


def _backward(
    forget: Tensor, out: Tensor, first: Tensor, gradient: Tensor, by_update: Tensor, by_forget: Tensor
) -> None:
    last = len(out) - 1
    for t in range(last, -1, -1):
        if t == last:
            by_update[t] = gradient[t]
        else:
            torch.addcmul(gradient[t], forget[t + 1], by_update[t + 1], out=by_update[t])
        torch.mul(by_update[t], out[t - 1] if t else first, out=by_forget[t])
