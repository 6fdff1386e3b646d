"""One step of training: forward, backward, clip, move. A gradient that is no number never reaches the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lmkit.nn.clip import clip_grad_norm, clip_grad_value
from lmkit.nn.devices import enough_memory
from lmkit.nn.full_softmax import FullHead
from lmkit.nn.optim import make_optimizers
from lmkit.nn.precision import Precision
from lmkit.nn.regularization import Regularization
from lmkit.nn.sampled_softmax import SampledSoftmax
from lmkit.nn.weight_decay import project
from lmkit.rnn.batches import Window
from lmkit.rnn.distributed import World
from lmkit.rnn.network import Network, States
from lmkit.rnn.teacher import Teacher


@dataclass(frozen=True)
class Step:
    """What came of a step: loss (nats per token), norm of the gradient before clipping, and whether both are finite.

    Attributes:
        overflowed: only because a float16 could not hold them; the next step is scaled by less.
    """

    loss: float
    norm: float
    overflowed: bool = False

    @property
    def finite(self) -> bool:
        """Whether the weights were moved."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Learner:
    """A network, its optimiser, and the hidden states that one window leaves to the next.

    Attributes:
        regularization: gives the rates of the noise at a share of it.
        states: of the streams of this process; None before the first window.
        scale: what every learning rate is multiplied by, besides the schedule.
    """

    def __init__(
        self,
        network: Network,
        *,
        optimizer: str,
        learning_rate: float,
        weight_decay: float,
        grad_clip: float,
        clip_value: float = 0.0,
        max_norm: float = 0.0,
        regularization: Callable[[float], Regularization],
        sampled: SampledSoftmax | None = None,
        precision: str = "float32",
        accumulate: int = 1,
        seed: int = 0,
        world: World | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.network = network
        self.device = network.output.bias.device
        self.clip = grad_clip or math.inf
        self.clip_value = clip_value
        self.max_norm = max_norm
        self.regularization = regularization
        self.sampled = sampled
        self.precision = Precision(precision, self.device)
        self.accumulate = accumulate
        self.seed = seed
        self.world = world or World()
        self.teacher = teacher
        self.states: States | None = None
        self.scale = 1.0
        network.sparse = sampled is not None
        self.optimizers = make_optimizers(
            optimizer,
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            sparse=network.tables() if sampled else (),
        )

    def step(self, window: Window, *, number: int, rate: float, noise: float) -> Step:
        """Follow the gradient of one window at a share `rate` of the peak learning rate.

        Args:
            window: All streams; this process reads its share of them.
            number: Of the step; the candidates of a sampled softmax are drawn by it.
            rate: What the schedule says.
            noise: How much there is of all noise that grows.

        Raises:
            ResourceError: the device has too little memory.
        """
        streams = window.inputs.shape[1]
        with enough_memory(
            f"{streams} streams of {len(window.inputs)} steps on {self.device}",
            f"give --batch-size {max(1, streams // 2)}, or --accumulate {2 * self.accumulate}",
        ):
            return self._step(window, number, rate, self.regularization(noise))

    def _step(self, window: Window, number: int, rate: float, rates: Regularization) -> Step:
        columns = self.world.share(window.inputs.shape[1])
        inputs = torch.as_tensor(window.inputs[:, columns], device=self.device)
        targets = torch.as_tensor(window.targets[:, columns], device=self.device)
        if window.first or self.states is None:
            self.states = self.network.initial_state(inputs.shape[1])
        self.network.train()
        self.network.regularize(rates)
        self.optimizers.zero_grad()
        with self.precision.step():
            taught = None if self.teacher is None else self.teacher.read(window, columns)
            loss, after = self._backward(inputs, targets, self.states, number, rates, taught)
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        self.world.average_gradients(parameters)
        self.precision.unscale(parameters)
        step = Step(self.world.mean(loss), clip_grad_norm(parameters, self.clip))
        step = replace(step, overflowed=self.precision.adapt(finite=step.finite))
        if step.finite:
            if self.clip_value:
                clip_grad_value(parameters, self.clip_value)
            self.optimizers.step(self.scale * rate)
            if self.max_norm:
                project(self.network.stack, self.max_norm)
            self.states = after
        else:  # such a gradient never reaches the weights, nor such a state the next window
            self.states = None
        return step

    def arrays(self) -> dict[str, np.ndarray]:
        """Give copies of what is remembered from step to step, but the weights."""
        tensors = {f"optimizer.{name}": tensor for name, tensor in self.optimizers.state_tensors().items()}
        for depth, layer in enumerate(self.states or ()):
            tensors |= {f"states.{depth}.{part}": tensor for part, tensor in enumerate(layer)}
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up what `arrays` gave."""
        kept = {
            name.removeprefix("optimizer."): torch.from_numpy(array.copy()).to(self.device)
            for name, array in arrays.items()
            if name.startswith("optimizer.")
        }
        self.optimizers.load_tensors(kept)
        self.states = None
        if self.teacher is not None:
            self.teacher.state = None
        if any(name.startswith("states.") for name in arrays):
            self.states = tuple(
                tuple(
                    torch.from_numpy(arrays[f"states.{depth}.{part}"].copy()).to(self.device)
                    for part in range(len(layer))
                )
                for depth, layer in enumerate(self.network.initial_state(1))
            )

    def _backward(
        self,
        inputs: Tensor,
        targets: Tensor,
        states: States,
        number: int,
        rates: Regularization,
        taught: Tensor | None,
    ) -> tuple[float, States]:
        """Add up the gradients of the mean loss, some streams at a time; give the loss and the states after."""
        candidates = None
        if self.sampled is not None:
            candidates = self.sampled.draw(np.random.default_rng([self.seed, number])).to(self.device)
        loss, after = 0.0, []
        width = math.ceil(inputs.shape[1] / self.accumulate)
        for begin in range(0, inputs.shape[1], width):
            part = slice(begin, begin + width)
            share = self.precision.scale * targets[:, part].numel() / targets.numel()
            with self.precision.forwards():
                hidden, left = self.network.read(
                    inputs[:, part], tuple(tuple(tensor[part] for tensor in state) for state in states)
                )
                features = self.network.output_dropout(hidden)
                head, rows, named = self.network.output, features.flatten(0, 1), targets[:, part].flatten()
                if self.sampled is not None and candidates is not None:
                    assert isinstance(head, FullHead)
                    mean, gradient = self.sampled.backward(head, rows, named, candidates, share=share)
                elif self.teacher is not None and taught is not None:
                    expected = taught[:, part].flatten(0, 1).to(self.device)
                    loss_of = partial(self.teacher.loss, head)
                    mean, gradient = head.backward(rows, named, expected, share=share, loss=loss_of)
                else:
                    mean, gradient = head.backward(rows, named, share=share)
                penalty = rates.penalty(features, hidden)
            loss += mean / self.precision.scale
            roots, gradients = [rows], [gradient]
            if penalty is not None:
                roots, gradients = [rows, penalty], [gradient, torch.full_like(penalty, share)]
            torch.autograd.backward(roots, gradients)
            after.append(left)
        layers = zip(*after, strict=True)
        joined = tuple(
            tuple(torch.cat(parts).detach() for parts in zip(*layer, strict=True)) for layer in layers
        )
        return loss, joined
