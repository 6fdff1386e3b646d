"""Averaging of weights: what an optimiser circles around is better than where it is (Polyak and Juditsky 1992).

Averaged descent begins with it when it no longer gets ahead (Merity et al. 2018, section 4); a mean over most of a
training of several passes generalises better than its end (Izmailov et al. 2018). How much of the beginning it should
hold depends on the text, so means of several kinds are kept side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The mean of a module's weights over the calls of `update`, the t-th of which counts about t ** emphasis.

    So a mean of any emphasis is of the same share of a training however long that is: half of it is of the last
    half, fifth or thirteenth with an emphasis of 0, 2 or 8 (Shamir and Zhang 2013, section 4).

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

    def __init__(self, module: nn.Module, *, emphasis: float = 0.0) -> None:
        self.emphasis = emphasis
        self.parameters = list(module.parameters())
        self.count = 0
        self.means: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into the mean."""
        self.count += 1
        share = (1 + self.emphasis) / (self.count + self.emphasis)
        for mean, parameter in zip(self.means, self.parameters, strict=True):
            mean.lerp_(parameter, share)

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
