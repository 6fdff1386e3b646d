"""Activations: the non-linear functions phi, applied to each element, that stand between affine maps.

Without one, two layers would be a single affine map: (X W1 + b1) W2 + b2 = X (W1 W2) + (b1 W2 + b2).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lmkit.errors import UsageError, did_you_mean

Activation = Callable[[Tensor], Tensor]


def sigmoid(x: Tensor) -> Tensor:
    """Squash to (0, 1): sigmoid(x) = 1 / (1 + exp(-x)); derivative s (1 - s), at most 1/4.

    Any shape in, the same out. Exact at both ends: exp never overflows.

    >>> sigmoid(torch.tensor([-1000.0, 0.0, 1000.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return torch.sigmoid(x)


def tanh(x: Tensor) -> Tensor:
    """Squash to (-1, 1): tanh(x) = (1 - exp(-2x)) / (1 + exp(-2x)); derivative 1 - tanh(x)^2, at most 1.

    Any shape in, the same out. It is a sigmoid stretched around zero: tanh(x) = 2 sigmoid(2x) - 1.

    >>> tanh(torch.tensor([-1000.0, 0.0, 1000.0]))
    tensor([-1.,  0.,  1.])
    """
    return torch.tanh(x)


def relu(x: Tensor) -> Tensor:
    """Keep what is positive: relu(x) = max(x, 0); derivative 1 above zero, else 0 (0 at zero itself).

    Any shape in, the same out. Its gradient does not fade for large x (Glorot, Bordes and Bengio 2011).

    >>> relu(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([0., 0., 3.])
    """
    return torch.relu(x)


ACTIVATIONS: dict[str, Activation] = {"relu": relu, "sigmoid": sigmoid, "tanh": tanh}


def activation(name: str) -> Activation:
    """Give the activation of that name; an unknown one is a UsageError.

    >>> activation("relu") is relu
    True
    """
    if name not in ACTIVATIONS:
        raise UsageError(f"unknown activation {name!r}; {did_you_mean(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]
