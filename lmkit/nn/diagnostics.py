"""Diagnostics: whether a network is in a state to learn in, read off one pass forwards and back.

gradients   how large their entries are: `lmkit.nn.gradients`
signals     mean and variance of what a layer gives out, and of the gradient by it: neither should grow or shrink
            from layer to layer (Glorot and Bengio 2010)
memory      the spectral radius of what leads from one state to the next, and how much of the gradient by the last
            step comes back to each step before it: a product of Jacobians (Pascanu, Mikolov and Bengio 2013)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmkit.nn.dropout import EmbeddingDropout
from lmkit.nn.gradients import LARGEST, SMALLEST, Entries
from lmkit.nn.norms import frobenius_norm, spectral_radius
from lmkit.nn.recurrence import Recurrence
from lmkit.nn.regularization import recurrent_weights

_VANISHED = 1e-3  # of the gradient of the layer that has the largest
_LONG = 10.0  # rows: what a layer reads is of unit size, and trained rows have a length of 1 to 4
_LITTLE = 0.1  # nats, that may be chance
_LEARNT = 0.01  # nats: below it little gradient is no fault
_FORGOTTEN = 1e-3  # of the gradient by the last step: what is less has not come back
_SMALLER = "begin with smaller weights (--init orthogonal, xavier), lower --learning-rate, set --grad-clip"


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Mean and variance of what a layer gives out, and of the gradient of the loss by it."""

    name: str
    mean: float
    variance: float
    gradient_mean: float
    gradient_variance: float


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What one pass showed.

    Attributes:
        loss: in nats.
        gradients: of every parameter that has one.
        signals: of the embedding and the recurrent layers, in their order.
        layers: the names that the parameters of recurrent layers begin with.
        radii: the largest spectral radius among the gates of each recurrent matrix.
        lengths: the root of the mean square length of the rows of each matrix of a recurrent layer.
        reach: (T,) the gradient of the last step's output by each step's input, relative to that by the last.
        largest: the largest weight of each parameter.
    """

    loss: float
    gradients: list[Entries]
    signals: list[Signal]
    layers: list[str]
    radii: dict[str, float]
    lengths: dict[str, float]
    reach: list[float]
    largest: dict[str, float]

    @property
    def memory(self) -> int:
        """How many steps before the last one its gradient reaches, at a thousandth of its size."""
        back = self.reach[-2::-1]
        return next((steps for steps, share in enumerate(back) if not share >= _FORGOTTEN), len(back))

    def findings(self, *, guessing: float = math.inf, frequencies: float = math.inf) -> list[str]:
        """Name what is wrong, and what to do; nothing where the network is sound.

        Args:
            guessing: the loss of a guess, log V, in nats.
            frequencies: that of the output biases alone, which know how frequent words are, of a trained network.
        """
        if not math.isfinite(self.loss) or not all(math.isfinite(entries.norm) for entries in self.gradients):
            return [
                "diverged: the loss or its gradient is no number; train again with a lower --learning-rate"
            ]
        found = [
            f"diverged: a weight of {name} has grown to {weight:.3g}; lower --learning-rate, set --grad-clip"
            for name, weight in self.largest.items()
            if weight > 100
        ]
        if found:
            return found
        found = [
            f"too large: {name} has a spectral radius of {radius:.3g}, so that states grow with each step; {_SMALLER}"
            for name, radius in self.radii.items()
            if radius > 5
        ]
        found += [
            f"too large: rows of {name} are {length:.3g} long, so that what is read grows in each layer; {_SMALLER}"
            for name, length in self.lengths.items()
            if length > _LONG
        ]
        if self.loss > guessing + _LITTLE:
            found.append(
                f"worse than guessing: {self.loss:.3g} nats where a guess has {guessing:.3g}; the weights are too "
                "large (lower --learning-rate, set --grad-clip), layers give out numbers whose mean is far from 0 (as "
                "by sigmoid: another --activation), or the network is of another text"
            )
        elif self.loss > frequencies - _LITTLE:
            found.append(
                f"hardly learnt: {self.loss:.3g} nats, where to know how frequent words are has {frequencies:.3g}; "
                "train longer, or, where that was done, lower --learning-rate, set --grad-clip"
            )
        layers = [self._of(name) for name in self.layers]
        most = max((layer.rms for layer in layers), default=0.0)
        for layer in layers:
            if layer.below > 0.5 and layer.rms < _VANISHED * most:
                found.append(
                    f"vanishing: {layer.below:.0%} of the gradient of {layer.name} is below {SMALLEST:g}, where "
                    f"another layer has {most / max(layer.rms, 1e-300):.0e} times as much; take fewer layers, or "
                    "another activation (sigmoid shrinks it, relu may be dead)"
                )
            elif layer.below > 0.99 and self.loss > _LEARNT:
                found.append(
                    f"vanishing: {layer.below:.0%} of the gradient of {layer.name} is below {SMALLEST:g}, so that "
                    "nothing is learnt there; begin with larger weights (--init), take another activation (relu may be "
                    "dead)"
                )
            if layer.above > 0.01:
                found.append(
                    f"exploding: {layer.above:.0%} of the gradient of {layer.name} is above {LARGEST:g}; set "
                    "--grad-clip, begin with smaller weights"
                )
        return found

    def _of(self, layer: str) -> _Layer:
        """Join the gradients of the matrices of a layer."""
        parts = [g for g in self.gradients if g.name.startswith(f"{layer}.") and len(g.shape) > 1]
        sizes = [math.prod(part.shape) for part in parts]
        total = max(sum(sizes), 1)
        return _Layer(
            name=layer,
            rms=math.hypot(*(part.norm for part in parts)) / total**0.5,
            below=sum((p.zero + (1 - p.zero) * p.below) * n for p, n in zip(parts, sizes, strict=True))
            / total,
            above=sum((1 - p.zero) * p.above * n for p, n in zip(parts, sizes, strict=True)) / total,
        )


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """The gradient of a whole layer: the root of the mean square of its entries, and shares of all of them."""

    name: str
    rms: float
    below: float
    above: float


def examine(module: nn.Module, loss: Callable[[], Tensor]) -> Examination:
    """Compute a loss, follow it back, and look at all that passes by; the weights stay as they are.

    Args:
        module: Whose parameters, recurrent layers and embedding are looked at.
        loss: Computes a scalar by it.

    >>> from lmkit.nn.stack import RecurrentStack
    >>> stack, x = RecurrentStack(kind="lstm", input_size=4, hidden_size=8), torch.randn(5, 2, 4)
    >>> found = examine(stack, lambda: stack(x, stack.initial_state(2))[0].square().mean())
    >>> [signal.name for signal in found.signals], found.findings()
    (['cells.0'], [])
    """
    outputs: dict[str, Tensor] = {}
    parts = {
        name: part for name, part in module.named_modules() if isinstance(part, Recurrence | EmbeddingDropout)
    }

    def keep(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: object, output: Tensor | tuple[Tensor, object]) -> None:
            outputs[name] = output[0] if isinstance(output, tuple) else output
            outputs[name].retain_grad()

        return hook

    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    module.zero_grad(set_to_none=True)
    try:
        value = loss()
        back = reach(*outputs.values())
        for output in outputs.values():
            output.grad = None  # following it back has left one there
        value.backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in hooks:
            handle.remove()
    named = list(module.named_parameters())
    found = Examination(
        loss=value.item(),
        gradients=[Entries.of(name, p.grad) for name, p in named if p.grad is not None],
        signals=[_signal(name, output) for name, output in outputs.items()],
        layers=[name for name, part in parts.items() if isinstance(part, Recurrence)],
        radii={
            f"{name}.{inner}": spectral_radius(weight)
            for name, part in parts.items()
            for inner, weight in recurrent_weights(part).items()
            if "bias" not in inner and weight.shape[0] % weight.shape[-1] == 0
        },
        lengths={
            f"{name}.{inner}": frobenius_norm(weight.detach()) / len(weight) ** 0.5
            for name, part in parts.items()
            if isinstance(part, Recurrence)
            for inner, weight in part.named_parameters()
            if weight.dim() == 2
        },
        reach=back,
        largest={name: p.detach().abs().max().item() for name, p in named},
    )
    module.zero_grad(set_to_none=True)
    return found


def reach(*outputs: Tensor) -> list[float]:
    """Give (T,) how much of the gradient by the last step of the last output comes back to each step of the first.

    Along one random direction, relative to what comes to the last step.
    """
    if len(outputs) < 2:
        return []
    first, last = outputs[0], outputs[-1][-1]
    direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(0)).to(last)
    (gradient,) = torch.autograd.grad(last, first, direction, retain_graph=True)
    norms = gradient.flatten(1).double().norm(dim=1)  # (T,)
    return [float(share) for share in norms / norms[-1].clamp_min(1e-300)]


def _signal(name: str, output: Tensor) -> Signal:
    gradient = torch.zeros_like(output) if output.grad is None else output.grad
    return Signal(
        name=name,
        mean=output.mean().item(),
        variance=output.var(correction=0).item(),
        gradient_mean=gradient.mean().item(),
        gradient_variance=gradient.var(correction=0).item(),
    )
