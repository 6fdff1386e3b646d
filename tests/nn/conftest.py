"""What the tests of the nn core share: one seed, a slope measured by hand, a network, and a GPU where there is one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def _as_torch_begins() -> None:
    """One seed, and the smallest numbers kept: a training before, in the same process, lets them be zero."""
    torch.manual_seed(20)
    torch.set_flush_denormal(False)


@pytest.fixture
def central_difference() -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    """Gradient of a scalar function at x, by (f(x + h) - f(x - h)) / 2h for each element in turn."""

    def slope(function: Callable[[Tensor], Tensor], x: Tensor, h: float = 1e-6) -> Tensor:
        gradient = torch.zeros_like(x)
        for index in range(x.numel()):
            step = torch.zeros_like(x)
            step.view(-1)[index] = h
            gradient.view(-1)[index] = (function(x + step) - function(x - step)) / (2 * h)
        return gradient

    return slope


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return torch.device("cuda:0")


class Network(nn.Module):
    """Something of everything: a tied table, a recurrent layer, a normalisation, and a layer that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.rnn = nn.LSTM(4, 4)
        self.norm = nn.LayerNorm(4)
        self.decoder = nn.Linear(4, 9)
        self.decoder.weight = self.embedding.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def names(module: nn.Module, group: dict[str, Any]) -> set[str]:
    """Give the names of the parameters of an optimiser's group."""
    return {name for name, p in module.named_parameters() if any(p is member for member in group["params"])}
