"""Steps whose rows do not know of each other: a text is the same whatever is generated beside it.

A library multiplies one row, a few, and many in different ways, which round differently, and takes a function of the
last numbers of an array in another way than of the others. Where a token is drawn, a difference in the last bit can be
another token, and then another text. Here each row is multiplied by the weights in one order, however many there are,
and each number is a function of itself alone. For a single row that is also the fastest way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmkit.nn.devices import follow_torch

_LARGE = 1 << 22  # multiplications that are worth a second thread
_apart: ContextVar[bool] = ContextVar("apart", default=False)


@contextmanager
def apart() -> Iterator[None]:
    """Let the functions of this file go row by row within the block, in this thread."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give x W^T + b (..., O) of x (..., I), W (O, I) and b (O,), within `apart` each row as if it were alone.

    >>> x, weight = torch.randn(5, 3), torch.randn(4, 3)
    >>> with torch.no_grad(), apart():
    ...     bool((linear(x, weight)[2] == linear(x[2:3], weight)[0]).all())
    True
    """
    if not _goes_apart(x) or weight.dtype != torch.float32:
        return functional.linear(x, weight, bias)
    rows = x.detach().reshape(-1, x.shape[-1]).contiguous()
    out = torch.from_numpy(products(rows.numpy(), weight.detach().contiguous().numpy()))
    if bias is not None:
        out += bias.detach()
    return out.view(*x.shape[:-1], len(weight))


def products(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Give x W^T (B, O) of x (B, I) and W (O, I), each row as if it were alone."""
    from lmkit.nn import row_kernels

    out = np.empty((len(x), len(weight)), np.float32)
    large = worth_threads(x, weight)
    loop = follow_torch(row_kernels.products_in_parallel) if large else row_kernels.products
    loop(x, weight, out)
    return out


def worth_threads(x: np.ndarray, weight: np.ndarray) -> bool:
    """Say whether the product of x (B, I) and W (O, I) is worth a second thread."""
    return weight.size * len(x) > _LARGE


def sigmoid(x: Tensor) -> Tensor:
    """Give 1 / (1 + exp(-x)), within `apart` of each number by itself."""
    return _each("sigmoid", x) if _goes_apart(x) else torch.sigmoid(x)


def tanh(x: Tensor) -> Tensor:
    """Give the hyperbolic tangent, within `apart` of each number by itself."""
    return _each("tanh", x) if _goes_apart(x) else torch.tanh(x)


def _goes_apart(x: Tensor) -> bool:
    return _apart.get() and x.device.type == "cpu" and x.dtype == torch.float32


def _each(name: str, x: Tensor) -> Tensor:
    from lmkit.nn import row_kernels

    y = x.detach().clone(memory_format=torch.contiguous_format)
    getattr(row_kernels, name)(y.view(-1).numpy())
    return y


class Linear(nn.Linear):
    """torch's layer, by `linear`."""

    gates = 1  # layers that lie one under another in its weights, each with a scale of its own

    def forward(self, x: Tensor) -> Tensor:
        """Give x W^T + b."""
        return linear(x, self.weight, self.bias)
