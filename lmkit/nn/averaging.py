"""Averaging of weights: what an optimiser circles around is better than where it is (Polyak and Juditsky 1992).

Averaged descent begins with it when it no longer gets ahead (Merity et al. 2018, section 4); a mean over most of a
training of several passes generalises better than its end (Izmailov et al. 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The mean of a module's weights over the calls of `update`.

    >>> module = nn.Linear(1, 1, bias=False)
    >>> average = WeightAverage(module)
    >>> for value in (1.0, 3.0):
    ...     _ = module.weight.data.fill_(value)
    ...     average.update()
    >>> with average.in_place():
    ...     module.weight.item()
    2.0
    >>> module.weight.item()
    3.0
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = list(module.parameters())
        self.count = 0
        self.means: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into the mean."""
        self.count += 1
        for mean, parameter in zip(self.means, self.parameters, strict=True):
            mean.lerp_(parameter, 1 / self.count)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the mean in the place of the weights for a while, if there is one yet."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def take(self) -> None:
        """Let the mean be the weights from now on."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        if self.count:
            for mean, parameter in zip(self.means, self.parameters, strict=True):
                kept = parameter.clone()
                parameter.copy_(mean)
                mean.copy_(kept)
