"""Dropout: noise in training that keeps units from leaning on one another (Srivastava et al. 2014).

    h' = 0 with probability p, else h / (1 - p)        so that E[h'] = h

All three kinds multiply by one mask, drawn by one function; they differ only in what shares a draw. Each is
the identity in evaluation and at rate 0. Masks come from torch's global generator, which a checkpoint keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmkit.errors import UsageError


def bernoulli_mask(
    shape: Sequence[int], rate: float, *, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Draw a mask: each element 0 with probability `rate`, else 1 / (1 - rate).

    Its type and device are those of `like`.

    >>> mask = bernoulli_mask((2, 1000), 0.5, like=torch.ones(1), generator=torch.Generator().manual_seed(1))
    >>> mask.unique(), bool(0.9 < mask.mean() < 1.1)
    (tensor([0., 2.]), True)
    """
    keep = 1 - _checked(rate)
    return like.detach().new_empty(tuple(shape)).bernoulli_(keep, generator=generator).div_(keep)


class Dropout(nn.Module):
    """Drop each element on its own; x of any shape.

    >>> Dropout(rate=0.5).eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, *, rate: float) -> None:
        super().__init__()
        self.rate = _checked(rate)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by a fresh mask of the shape of x."""
        if not self.training or self.rate == 0:
            return x
        return x * bernoulli_mask(x.shape, self.rate, like=x)

    def extra_repr(self) -> str:
        """Show the rate in print(module)."""
        return f"rate={self.rate}"


class LockedDropout(Dropout):
    """Drop the same units at every time step of a sequence (Gal and Ghahramani 2016, variational dropout).

    A mask that changed with time would wipe the memory a little at each step; a locked one leaves the kept
    units whole from the first step to the last.

    >>> y = LockedDropout(rate=0.5)(torch.ones(7, 2, 4))
    >>> bool((y == y[:1]).all())
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x (T, B, H) by a fresh mask (1, B, H)."""
        if not self.training or self.rate == 0:
            return x
        return x * bernoulli_mask((1, *x.shape[1:]), self.rate, like=x)


class EmbeddingDropout(Dropout):
    """Look words up, dropping whole words: all of a word's occurrences in the batch, or none (as above, 4.2).

    >>> table, tokens = torch.ones(10, 3), torch.tensor([[1, 2], [2, 1]])
    >>> y = EmbeddingDropout(rate=0.5)(table, tokens)
    >>> bool((y[0, 0] == y[1, 1]).all() and (y[0, 1] == y[1, 0]).all())
    True
    """

    def forward(self, table: Tensor, tokens: Tensor, *, sparse: bool = False) -> Tensor:  # type: ignore[override]
        """Look tokens (T, B) up in table (V, E), under a fresh mask (V, 1) over the words: (T, B, E).

        The mask multiplies the rows that were looked up, not the table: the same result, at the cost of
        T B E multiplications in place of V E. `sparse` asks for a gradient of those rows alone.
        """
        embedded = functional.embedding(tokens, table, sparse=sparse)  # (T, B, E)
        if not self.training or self.rate == 0:
            return embedded
        mask = bernoulli_mask((table.shape[0], 1), self.rate, like=table)  # (V, 1)
        return embedded * mask[tokens]  # (T, B, E) * (T, B, 1)


def _checked(rate: float) -> float:
    if not 0 <= rate < 1:
        raise UsageError(f"dropout rate is {rate}; it must be at least 0 and below 1 (0 drops nothing)")
    return rate
