"""Gradient clipping: the cure for exploding gradients (Pascanu, Mikolov and Bengio 2013, algorithm 1).

    by norm     g <- min(1, theta / ||g||) g              ||g|| that of all gradients taken as one vector
    by value    g_i <- min(max(g_i, -theta), theta)       each number on its own

By norm the direction of the step is kept, by value it is bent; one huge number then takes nothing from the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from lmkit.errors import UsageError
from lmkit.nn.norms import global_norm


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale the gradients in place so that their global norm is at most `max_norm`; give the norm before.

    Exact: above the threshold the norm becomes max_norm itself (torch's own adds 1e-6 to the denominator);
    at or below it nothing is touched. `max_norm` of inf only measures. Parameters without a gradient are
    passed over.

    A norm that is NaN or infinite is returned as it is, with every gradient left untouched: the caller
    looks at the norm and skips the step, since any scaling would carry the NaN into all the weights.

    A sparse gradient (of the rows of a table that took part) is coalesced: several values for one row are added.

    >>> import torch
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> clip_grad_norm([w], 1.0), w.grad
    (5.0, tensor([0.6000, 0.8000]))
    """
    if not max_norm > 0:
        raise UsageError(f"the clipping norm is {max_norm}; it must be positive (inf clips nothing)")
    gradients = [_dense_part(parameter) for parameter in parameters if parameter.grad is not None]
    norm = global_norm(gradients)
    if math.isfinite(norm) and norm > max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / norm)
    return norm


def clip_grad_value(parameters: Iterable[Tensor], largest: float) -> None:
    """Bring every number of the gradients into [-largest, largest], in place; NaN stays NaN.

    Infinity becomes `largest`: look whether the gradient is finite first.

    >>> import torch
    >>> w = torch.zeros(3, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -0.5, -4.0])
    >>> clip_grad_value([w], 1.0)
    >>> w.grad
    tensor([ 1.0000, -0.5000, -1.0000])
    """
    if not largest > 0:
        raise UsageError(f"the clipping value is {largest}; it must be positive (inf clips nothing)")
    for parameter in parameters:
        if parameter.grad is not None:
            _dense_part(parameter).clamp_(-largest, largest)


def scale_gradients(parameters: Iterable[Tensor], factor: float) -> None:
    """Multiply the gradients in place, sparse ones too; parameters without one are passed over.

    >>> import torch
    >>> w = torch.zeros(1, requires_grad=True)
    >>> w.grad = torch.tensor([3.0])
    >>> scale_gradients([w], 2.0)
    >>> w.grad
    tensor([6.])
    """
    for parameter in parameters:
        if parameter.grad is not None:
            _dense_part(parameter).mul_(factor)


def _dense_part(parameter: Tensor) -> Tensor:
    """Give the numbers that a gradient consists of, sharing their memory."""
    assert parameter.grad is not None
    if not parameter.grad.is_sparse:
        return parameter.grad
    parameter.grad = parameter.grad.coalesce()
    return parameter.grad.values()
