"""Regularisation: what keeps a network from learning its text by heart, every rate in one place, and one dial for all.

locked dropout      of the input, between layers and of the output   (Gal and Ghahramani 2016)
embedding dropout   whole words                                      (the same, section 4.2)
weight drop         recurrent weights, one draw a window             (Wan et al. 2013; Merity et al. 2018, section 2)
AR, TAR             alpha mean(h^2),  beta mean((h_t - h_{t-1})^2)   (Merity et al. 2017)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmkit.nn.dropout import bernoulli_mask


@dataclass(frozen=True, kw_only=True)
class Regularization:
    """Rates of dropout, from 0 to below 1, and factors of the penalties on activations.

    >>> Regularization(hidden=0.5).scaled(0.5).hidden
    0.25
    """

    input: float = 0.0
    hidden: float = 0.0
    output: float = 0.0
    embedding: float = 0.0
    weight: float = 0.0
    activation: float = 0.0  # AR: alpha
    temporal: float = 0.0  # TAR: beta

    def scaled(self, dial: float) -> Regularization:
        """Turn everything up or down; no rate of dropout above 0.9."""
        rates = ("input", "hidden", "output", "embedding", "weight")
        turned = {name: value * dial for name, value in vars(self).items()}
        return Regularization(**turned | {name: min(turned[name], 0.9) for name in rates})

    def penalty(self, dropped: Tensor, hidden: Tensor) -> Tensor | None:
        """Give what AR and TAR add to the loss, if anything.

        Args:
            dropped: (T, B, H) the last layer as the head sees it, after dropout: AR keeps it small.
            hidden: (T, B, H) the same before dropout: TAR keeps it slow.
        """
        terms = []
        if self.activation:
            terms.append(self.activation * dropped.square().mean())
        if self.temporal and len(hidden) > 1:
            terms.append(self.temporal * (hidden[1:] - hidden[:-1]).square().mean())
        return torch.stack(terms).sum() if terms else None


def drop_weights(cell: nn.Module, rate: float) -> dict[str, Tensor]:
    """Give the recurrent weights of a cell, by name, under a fresh mask; for `torch.func.functional_call`.

    The parameters themselves stay where they are, so that the fused kernels find them whole.

    >>> sorted(drop_weights(nn.LSTM(2, 3), 0.5))
    ['weight_hh_l0']
    """
    return {
        name: weight * bernoulli_mask(weight.shape, rate, like=weight)
        for name, weight in recurrent_weights(cell).items()
    }


def recurrent_weights(cell: nn.Module) -> dict[str, nn.Parameter]:
    """Give the matrices that lead from one step's state to the next, by name; an element-wise cell has none."""
    return {name: weight for name, weight in cell.named_parameters() if "weight_hh" in name}
