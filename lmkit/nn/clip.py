"""Gradient clipping: the cure for exploding gradients (Pascanu, Mikolov and Bengio 2013, algorithm 1).

    g <- min(1, theta / ||g||) g

||g|| is the norm of all gradients taken as one vector, so that the direction of the step is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from lmkit.errors import UsageError


def global_norm(tensors: Iterable[Tensor]) -> float:
    """Euclidean norm of all the tensors taken as one vector: the root of the sum of all squares.

    Row by row in the tensors' own precision, then over the rows in float64. Adding up eight million float32
    squares in one go, as torch's norm does on a CPU, is wrong by up to 0.3 %; this is not, at the same cost.

    >>> global_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    5.0
    """
    rows = [torch.linalg.vector_norm(tensor, dim=-1).flatten() for tensor in tensors]
    return torch.linalg.vector_norm(torch.cat(rows).to("cpu").double()).item() if rows else 0.0


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale the gradients in place so that their global norm is at most `max_norm`; give the norm before.

    Exact: above the threshold the norm becomes max_norm itself (torch's own adds 1e-6 to the denominator);
    at or below it nothing is touched. `max_norm` of inf only measures. Parameters without a gradient are
    passed over.

    A norm that is NaN or infinite is returned as it is, with every gradient left untouched: the caller
    looks at the norm and skips the step, since any scaling would carry the NaN into all the weights.

    A sparse gradient (of the rows of a table that took part) is coalesced: several values for one row are added.

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


def scale_gradients(parameters: Iterable[Tensor], factor: float) -> None:
    """Multiply the gradients in place, sparse ones too; parameters without one are passed over.

    >>> w = torch.zeros(1, requires_grad=True)
    >>> w.grad = torch.tensor([3.0])
    >>> scale_gradients([w], 2.0)
    >>> w.grad
    tensor([6.])
    """
    for parameter in parameters:
        if parameter.grad is not None:
            _dense_part(parameter).mul_(factor)


def project(module: torch.nn.Module, max_norm: float) -> None:
    """Bring every matrix of a module back to the ball of Frobenius norm `max_norm`, in place: weight decay's hard form.

        W <- min(1, max_norm / ||W||) W         the constrained problem that the penalty (lambda/2) ||W||^2 relaxes

    >>> linear = torch.nn.Linear(1, 1)
    >>> _ = linear.weight.data.fill_(5.0)
    >>> project(linear, 2.0)
    >>> linear.weight.item()
    2.0
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() >= 2:
                norm = global_norm([parameter])
                if norm > max_norm:
                    parameter.mul_(max_norm / norm)


def _dense_part(parameter: Tensor) -> Tensor:
    """Give the numbers that a gradient consists of, sharing their memory."""
    assert parameter.grad is not None
    if not parameter.grad.is_sparse:
        return parameter.grad
    parameter.grad = parameter.grad.coalesce()
    return parameter.grad.values()
