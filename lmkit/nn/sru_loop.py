"""The part of a simple recurrent unit that goes step by step, as one compiled loop forwards and one backwards.

    f = sigmoid(F + 1),  r = sigmoid(R)
    c_t = f c_{t-1} + (1 - f) z,  h_t = r tanh(c_t) + (1 - r) kept_t

By torch's operations the same is a dozen passes over memory; here it is one, with the streams shared out among the
threads. A layer waits for memory more than it computes, so the gates are read as they come out of a product, in
bfloat16 if it is one, and of what was found forwards only c is kept: backwards the rest is computed again. Both
squashing functions are one rational approximation of tanh, right to the last two bits of a float32, which a processor
computes many at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from lmkit.compiled import compiled, in_parallel, inlined, narrowed, widened
from lmkit.nn.devices import follow_torch

Array = NDArray[Any]  # of float32, or of the bits of bfloat16
_ONE, _HALF = np.float32(1), np.float32(0.5)
_EDGE = np.float32(7.90531110763549805)  # beyond it the hyperbolic tangent is one, in float32
# of x p(x^2) / q(x^2), from the lowest power on; the minimax approximation that Eigen uses, too
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = map(
    np.float32,
    (4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08,
     -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16),
)  # fmt: skip
_Q0, _Q1, _Q2, _Q3 = map(
    np.float32, (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)


def runs_on(gates: Tensor, kept: Tensor) -> bool:
    """Whether the loop is made for such numbers: on a CPU, gates of float32 or bfloat16, and all else of float32."""
    return (
        kept.device.type == "cpu"
        and kept.dtype == torch.float32
        and gates.dtype in (torch.float32, torch.bfloat16)
    )


def highway(gates: Tensor, kept: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Give h (T, B, H) and the last c (B, H).

    Args:
        gates: (T, B, 3H) Z, F and R side by side.
        kept: (T, B, H) what h is where r is 0.
        first: (B, H) the state before.
    """
    out: tuple[Tensor, Tensor] = _Highway.apply(gates, kept, first)
    return out


class _Highway(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, kept: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        kept, first = kept.contiguous(), first.contiguous()
        gates = gates.contiguous().view(*kept.shape[:2], 3, kept.shape[2])  # Z, F, R one after the other
        h, c = torch.empty_like(kept), torch.empty_like(kept)
        _run(_forward, gates, kept, first, c, h)
        ctx.save_for_backward(gates, kept, first, c)
        return h, c[-1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        gates, kept, first, c = ctx.saved_tensors
        by_gates, by_kept, by_state = torch.empty_like(gates), torch.empty_like(kept), gradients[1].clone()
        _run(_backward, gates, kept, first, c, gradients[0].contiguous(), by_gates, by_kept, by_state)
        return by_gates.flatten(2), by_kept, by_state


def _run(loop: Callable[..., None], *tensors: Tensor) -> None:
    """Run a loop over the memory of tensors, in as many threads as torch uses; numpy has the bits of bfloat16."""
    numbers = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor for tensor in tensors)
    follow_torch(loop)(*(tensor.detach().numpy() for tensor in numbers))


@inlined
def _tanh(x: Any) -> Any:
    x = _EDGE if x > _EDGE else x  # no number stays none
    x = -_EDGE if x < -_EDGE else x
    y = x * x
    p = _P0 + y * (_P1 + y * (_P2 + y * (_P3 + y * (_P4 + y * (_P5 + y * _P6)))))
    return x * p / (_Q0 + y * (_Q1 + y * (_Q2 + y * _Q3)))


@inlined
def _sigmoid(x: Any) -> Any:
    return _HALF + _HALF * _tanh(_HALF * x)


@inlined
def _step(z: Array, f: Array, r: Array, before: Array, kept: Array, c: Array, h: Array) -> None:
    """One step of one stream; a loop of its own, which many units go through at a time."""
    for i in range(len(h)):
        forget, carry = _sigmoid(widened(f[i]) + _ONE), _sigmoid(widened(r[i]))
        state = forget * before[i] + (_ONE - forget) * widened(z[i])
        c[i] = state
        h[i] = carry * _tanh(state) + (_ONE - carry) * kept[i]


@inlined
def _step_back(
    z: Array,
    f: Array,
    r: Array,
    before: Array,
    kept: Array,
    c: Array,
    by_h: Array,
    by_z: Array,
    by_f: Array,
    by_r: Array,
    by_kept: Array,
    by_state: Array,
) -> None:
    """The gradient of one step: of what went in, and in `by_state` of the state before in place of that after."""
    for i in range(len(by_h)):
        forget, carry = _sigmoid(widened(f[i]) + _ONE), _sigmoid(widened(r[i]))
        squashed, d = _tanh(c[i]), by_h[i]
        by_c = d * carry * (_ONE - squashed * squashed) + by_state[i]
        by_kept[i] = d * (_ONE - carry)
        by_z[i] = narrowed(by_c * (_ONE - forget), by_z)
        by_f[i] = narrowed(by_c * (before[i] - widened(z[i])) * forget * (_ONE - forget), by_f)
        by_r[i] = narrowed(d * (squashed - kept[i]) * carry * (_ONE - carry), by_r)
        by_state[i] = by_c * forget


@compiled
def highway_step(gates: Array, kept: Array, before: Array, c: Array, h: Array) -> None:
    """Write the next c (B, H) and h (B, H), of gates (B, 3, H), of what h is where r is 0, and of the c before."""
    for b in range(len(kept)):
        _step(gates[b, 0], gates[b, 1], gates[b, 2], before[b], kept[b], c[b], h[b])


@in_parallel
def _forward(gates: Array, kept: Array, first: Array, c: Array, h: Array) -> None:
    for b in prange(len(first)):
        for t in range(len(kept)):
            z, f, r = gates[t, b, 0], gates[t, b, 1], gates[t, b, 2]
            _step(z, f, r, c[t - 1, b] if t else first[b], kept[t, b], c[t, b], h[t, b])


@in_parallel
def _backward(
    gates: Array,
    kept: Array,
    first: Array,
    c: Array,
    by_h: Array,
    by_gates: Array,
    by_kept: Array,
    by_state: Array,
) -> None:
    """`by_state` comes in as the gradient by the last c and goes out as that by the first."""
    for b in prange(len(first)):
        for t in range(len(kept) - 1, -1, -1):
            z, f, r = gates[t, b, 0], gates[t, b, 1], gates[t, b, 2]
            by_z, by_f, by_r = by_gates[t, b, 0], by_gates[t, b, 1], by_gates[t, b, 2]
            before = c[t - 1, b] if t else first[b]
            _step_back(
                z, f, r, before, kept[t, b], c[t, b], by_h[t, b], by_z, by_f, by_r, by_kept[t, b], by_state[b]
            )
