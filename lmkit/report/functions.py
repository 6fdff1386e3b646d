"""The functions that networks are made of, as pictures (extra `plot`: matplotlib): losses, and activations.

A loss is drawn three times: what an error costs; how likely the error is where the loss is a negative log-likelihood,
exp(-loss) made to integrate to one; and how hard it pulls, its gradient. An activation twice: itself, and its
derivative. All of it is computed by the functions that training uses, derivatives by the same automatic
differentiation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from lmkit.nn.activations import ACTIVATIONS
from lmkit.nn.losses import Loss, cross_entropy, huber, l1, l2
from lmkit.report.picture import blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_REACH = 4.0
_POINTS = 2001  # with one at zero
_FAR = 40.0  # where no likelihood is left
_REGRESSIONS: dict[str, Loss] = {"L2": l2, "L1": l1, "Huber, δ = 1": huber}


def draw_losses() -> Figure:
    """Draw what an error of a number costs (L2, L1, Huber), and below it what a logit of the right word does."""
    figure = blank(width=11.0, height=6.5)
    above, below = figure.subplots(2, 3)
    for name, loss in _REGRESSIONS.items():
        _draw_loss(above, name, partial(_of_error, loss))
    _draw_loss(below, "cross-entropy, two words", _binary_cross_entropy, density=False)
    error, logit = "error  ŷ - y", "logit of the right word above the other's"
    _label(above, error, ("loss", "likelihood\nexp(-loss), integrates to 1", "gradient by ŷ"))
    _label(
        below, logit, ("loss (nats)", "probability of the right word\nexp(-loss)", "gradient by the logit")
    )
    return figure


def draw_activations() -> Figure:
    """Draw the activations and their derivatives."""
    figure = blank(width=10.0, height=4.5)
    axes = figure.subplots(1, 2)
    for name, activation in ACTIVATIONS.items():
        for panel, curve in zip(axes, (_sampled(activation), _sampled(grad(activation))), strict=True):
            panel.plot(*curve, label=name)
    _label(axes, "x", ("φ(x)", "φ'(x)"))
    return figure


def _draw_loss(
    axes: np.ndarray, name: str, loss: Callable[[Tensor], Tensor], *, density: bool = True
) -> None:
    """Draw a loss of one number: itself, its likelihood, its gradient."""
    x, y = _sampled(loss)
    whole = 1.0
    if density:
        far, values = _sampled(loss, reach=_FAR)
        whole = float(np.trapezoid(np.exp(-values), far))
    for panel, drawn in zip(axes, (y, np.exp(-y) / whole, _sampled(grad(loss))[1]), strict=True):
        panel.plot(x, drawn, label=name)


def _of_error(loss: Loss, error: Tensor) -> Tensor:
    """Give what one prediction costs that is so far off."""
    return loss(error[None], torch.zeros_like(error)[None])


def _binary_cross_entropy(logit: Tensor) -> Tensor:
    """Give the surprisal of a word that has this logit, where the only other word has 0."""
    return cross_entropy(
        torch.stack([logit, torch.zeros_like(logit)])[None], torch.zeros(1, dtype=torch.long)
    )


def _sampled(function: Callable[[Tensor], Tensor], reach: float = _REACH) -> tuple[np.ndarray, np.ndarray]:
    """Give x (N,) in [-reach, reach] and the function there (N,)."""
    x = torch.linspace(-reach, reach, _POINTS, dtype=torch.float64)
    return x.numpy(), vmap(function)(x).numpy()


def _label(axes: np.ndarray, x: str, names: tuple[str, ...]) -> None:
    panel: Axes
    for panel, name in zip(axes, names, strict=True):
        panel.set(xlabel=x, title=name)
        panel.grid(alpha=0.3)
        panel.legend()
