"""Weight decay: a preference for short weights, which fit noise less readily (Krogh and Hertz 1991).

    soft, L2           loss + (lambda/2) ||W||^2, so that the gradient gains lambda W        plain descent
    soft, decoupled    W <- W - lr lambda W beside the step, whatever the step is            AdamW
    hard               min loss  where ||W|| <= c:  W <- min(1, c / ||W||) W after each step

For plain descent the first two are one; Adam divides by the size of past gradients, and would decay those weights
least that move most (Loshchilov and Hutter 2019). lambda is the multiplier of the constraint that the hard form keeps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lmkit.nn.norms import frobenius_norm


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters in two for an optimiser: matrices, which decay, and the rest, which do not.

    Biases and the gains of normalisations set an offset or a scale, which shrinking only distorts. An
    embedding table (tied to the output or not) does not decay: a rare word's row would shrink at every step and
    be trained at few. A group that would be empty is left out.

    >>> [(len(group["params"]), group["weight_decay"]) for group in parameter_groups(nn.Linear(2, 3), 0.1)]
    [(1, 0.1), (1, 0.0)]
    """
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            decays = parameter.dim() >= 2 and id(parameter) not in tables
            (decayed if decays else kept).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def project(module: nn.Module, max_norm: float) -> None:
    """Bring every matrix of a module back to the ball of Frobenius norm `max_norm`, in place: the hard form.

    >>> linear = nn.Linear(1, 1)
    >>> _ = linear.weight.data.fill_(5.0)
    >>> project(linear, 2.0)
    >>> linear.weight.item()
    2.0
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() >= 2:
                norm = frobenius_norm(parameter)
                if norm > max_norm:
                    parameter.mul_(max_norm / norm)
