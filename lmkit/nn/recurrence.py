"""What every recurrent layer is: a sequence and a memory in, a sequence and a memory out.

A layer of your own is a subclass, and a name in `CELLS`. It then trains, scores, writes and is saved as the others are:
`lmkit.train("corpus.txt", backend="rnn", cell="leaky")`. A program that loads such a model names the layer before.

>>> import torch
>>> from lmkit.nn.cells import CELLS
>>> class Leaky(Recurrence):
...     def __init__(self, **sizes):
...         super().__init__(**sizes)
...         self.enter = nn.Linear(self.input_size, self.hidden_size)
...     def forward(self, x, state):
...         (h,), after = state, []
...         for step in torch.tanh(self.enter(x)):
...             h = 0.9 * h + 0.1 * step
...             after.append(h)
...         return torch.stack(after), (h,)
>>> CELLS["leaky"] = Leaky
>>> del CELLS["leaky"]  # it was an example
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lmkit.errors import UsageError
from lmkit.nn.rows import apart

State = tuple[Tensor, ...]
"""The memory of one layer: (B, H) tensors; two for an LSTM, one for an RNN or a GRU, none for an MLP."""
Arrays = tuple[np.ndarray, ...]
"""The same as arrays of float32, on a CPU."""


class Recurrence(nn.Module):
    """One recurrent layer: forward(x (T, B, I), state) -> (y (T, B, H), state).

    `activation` names phi where the kind leaves a choice: one of `activations`. What weight drop may drop is named
    `weight_hh` or begins so.
    """

    state_size: ClassVar[int] = 1  # how many (B, H) tensors the memory is
    activations: ClassVar[tuple[str, ...]] = ("tanh",)

    def __init_subclass__(cls, **more: Any) -> None:
        """Take back a single step of its own from a layer whose sequences are other ones than its parent's."""
        super().__init_subclass__(**more)
        if "forward" in cls.__dict__ and "single_step" not in cls.__dict__:
            cls.single_step = Recurrence.single_step  # type: ignore[method-assign]

    def __init__(self, *, input_size: int, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__()
        if activation not in self.activations:
            raise UsageError(
                f"the cell {type(self).__name__.lower()} cannot have the activation {activation!r}; use "
                f"{' or '.join(self.activations)} (the cell mlp takes any)"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.activation = activation

    def initial_state(self, batch: int) -> State:
        """Zeros, of the type and device of the weights: nothing is remembered yet."""
        weight = next(self.parameters())
        return tuple(weight.new_zeros(batch, self.hidden_size) for _ in range(self.state_size))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read x (T, B, I) from the state on; give the hidden state at each step and the last state."""
        raise NotImplementedError

    def single_step(self, x: np.ndarray, state: Arrays) -> tuple[np.ndarray, Arrays]:
        """Read one input x (B, I) in evaluation on a CPU, each row as if it were alone; give y (B, H) and the state.

        This is how models write text. It is `forward` again; where calls take longer than numbers, a layer has its own.
        """
        with torch.no_grad(), apart():
            y, after = self(torch.from_numpy(x)[None], tuple(torch.from_numpy(part) for part in state))
        return y[0].numpy(), tuple(part.numpy() for part in after)
