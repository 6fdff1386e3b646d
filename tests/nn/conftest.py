"""What the tests of the nn core share: one seed, a slope measured by hand, and a GPU where there is one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(20)


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
