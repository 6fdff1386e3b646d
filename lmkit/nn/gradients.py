"""Gradients: how large their entries are, and so whether they can move anything.

As a rule of thumb of plain descent, an entry moves its weight as long as it lies in [1e-6, 1e3]. A layer whose entries
lie below has stopped learning (they vanish), one whose entries lie above is thrown about (they explode). float16 holds
less: what is above 65504 overflows, and what is below 2^-25 becomes zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from lmkit.nn.norms import global_norm

SMALLEST, LARGEST = 1e-6, 1e3
_FLOAT16 = (2.0**-25, 65504.0)


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The entries of one gradient; all shares but `zero` are of those that are not exactly zero.

    >>> import torch
    >>> found = Entries.of("w", torch.tensor([0.0, 1e-7, 1.0, 1e5]))
    >>> [round(share, 2) for share in (found.zero, found.below, found.inside, found.above, found.overflow)]
    [0.25, 0.33, 0.33, 0.33, 0.33]
    """

    name: str
    shape: tuple[int, ...]
    norm: float
    zero: float
    below: float
    inside: float
    above: float
    underflow: float  # in float16
    overflow: float

    @classmethod
    def of(cls, name: str, gradient: Tensor) -> Entries:
        """Sort the entries of a gradient by their size; one that is no number counts as above."""
        dense = gradient.to_dense() if gradient.is_sparse else gradient
        size = dense.detach().abs().flatten()
        some = size[size != 0]
        count = max(len(some), 1)

        def share(chosen: Tensor) -> float:
            return chosen.sum().item() / count

        low, high = _FLOAT16
        return cls(
            name=name,
            shape=tuple(gradient.shape),
            norm=global_norm([dense]),
            zero=1 - len(some) / max(len(size), 1),
            below=share(some < SMALLEST),
            inside=share((some >= SMALLEST) & (some <= LARGEST)),
            above=share(~(some <= LARGEST)),
            underflow=share(some < low),
            overflow=share(~(some <= high)),
        )


def share_inside(gradients: Iterable[Tensor]) -> float:
    """Give the share of entries in [1e-6, 1e3] among those of several gradients that are not zero; 1 of none.

    >>> import torch
    >>> share_inside([torch.tensor([0.0, 1.0]), torch.tensor([1e-9])])
    0.5
    """
    found = [gradient.detach().abs() for gradient in gradients]
    some = sum(int((size != 0).sum()) for size in found)
    inside = sum(int(((size >= SMALLEST) & (size <= LARGEST)).sum()) for size in found)
    return inside / some if some else 1.0
