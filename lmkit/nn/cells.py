"""Cells: one recurrent layer. From the past and the present input to a new hidden state.

    rnn   H_t = phi(X_t W_xh + H_{t-1} W_hh + b)                                        (Elman 1990)
    mlp   H_t = phi(X_t W_xh + b)                        the same with the memory taken out
    lstm  I, F, O = sigmoid(X_t W_x. + H_{t-1} W_h. + b.), G = tanh(X_t W_xg + H_{t-1} W_hg + b_g)
          C_t = F C_{t-1} + I G,  H_t = O tanh(C_t)                     (Hochreiter and Schmidhuber 1997)
    gru   R, Z = sigmoid(X_t W_x. + H_{t-1} W_h. + b.), N = tanh(X_t W_xn + b_xn + R (H_{t-1} W_hn + b_hn))
          H_t = (1 - Z) N + Z H_{t-1}                                                 (Cho et al. 2014)

    sru, mogrifier    see the files of their names

Products of gates are taken element by element. All are one interface: x (T, B, I) and a state go in,
y (T, B, H) and the state after the last step come out. A long sequence in bulk equals its steps one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lmkit.errors import UsageError, did_you_mean
from lmkit.nn.activations import ACTIVATIONS
from lmkit.nn.activations import activation as activation_named
from lmkit.nn.gates import gru_step, lstm_step
from lmkit.nn.mogrifier import Mogrifier
from lmkit.nn.recurrence import Arrays, Recurrence, State
from lmkit.nn.rows import Linear, linear, products, sigmoid, tanh
from lmkit.nn.sru import Sru


class Mlp(Recurrence):
    """A layer with no memory: each output depends on the input of its own time step alone.

    >>> cell = Mlp(input_size=2, hidden_size=3, activation="relu")
    >>> y, state = cell(torch.zeros(5, 1, 2), cell.initial_state(1))
    >>> y.shape, state
    (torch.Size([5, 1, 3]), ())
    """

    state_size: ClassVar[int] = 0
    activations: ClassVar[tuple[str, ...]] = tuple(ACTIVATIONS)

    def __init__(self, *, input_size: int, hidden_size: int, activation: str = "tanh") -> None:
        phi = activation_named(activation)
        super().__init__(input_size=input_size, hidden_size=hidden_size, activation=activation)
        self.phi = {"tanh": tanh, "sigmoid": sigmoid}.get(activation, phi)
        self.layer = Linear(input_size, hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Map x (T, B, I) to phi(x W + b) (T, B, H); the state stays the empty tuple."""
        return self.phi(self.layer(x)), state


class _Fused(Recurrence):
    """A layer of torch's own: one fused call for a sequence, and the bare equations of `gates` for one step.

    One step without gradients, as of a model that learns while it reads, is dominated by the cost of the
    call. 256 units, one row, one core of a 2.5 GHz CPU, milliseconds per step (torch 2.13):

               fused call    torch.*_cell
        lstm   0.534         0.049             (oneDNN sets up its primitives at every call)
        gru    0.055         0.040
        rnn    0.027         0.015

    Switching oneDNN off for the call (0.073) is slower, and the switch is global: not safe among threads. So the
    equations are written out, and their products can be those of `rows`.
    """

    layer: nn.RNNBase
    equations: Callable[[Tensor, Tensor, State], State]  # (x W + b, h W + b, state) -> next state

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read x (T, B, I) from the state on; give the hidden state at each step and the last state."""
        if x.shape[0] == 1 and x.device.type == "cpu" and not torch.is_grad_enabled():
            state = self._step(x[0], state)
            return state[0].unsqueeze(0), state
        y: Tensor
        last: Tensor | tuple[Tensor, ...]
        first = tuple(part.unsqueeze(0).contiguous() for part in state)  # (1, B, H) each
        y, last = self.layer(x, first if len(first) > 1 else first[0])
        return y, tuple(part[0] for part in (last if isinstance(last, tuple) else (last,)))

    def _step(self, x: Tensor, state: State) -> State:
        """One step: x (B, I) and the state to the next state."""
        by_input, by_state, *biases = self.weights()
        by_input = linear(x, by_input, biases[0])  # (B, gates H)
        by_state = linear(state[0], by_state, biases[1])
        return self.equations(by_input, by_state, state)

    def weights(self) -> tuple[Tensor, ...]:
        """Give the weights by input and by state, and their biases."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        found: tuple[Tensor, ...] = tuple(getattr(self.layer, name) for name in names)
        return found


class Rnn(_Fused):
    """The plain recurrent layer, with tanh or relu.

    >>> cell = Rnn(input_size=2, hidden_size=3)
    >>> y, (h,) = cell(torch.zeros(5, 1, 2), cell.initial_state(1))
    >>> y.shape, bool((y[-1] == h).all())
    (torch.Size([5, 1, 3]), True)
    """

    activations: ClassVar[tuple[str, ...]] = ("relu", "tanh")

    def __init__(self, *, input_size: int, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size, activation=activation)
        self.layer = nn.RNN(input_size, hidden_size, nonlinearity=activation)
        phi = tanh if activation == "tanh" else torch.relu
        self.equations = lambda by_input, by_state, _: (phi(by_input + by_state),)


class Gru(_Fused):
    """The gated recurrent unit: a reset gate and an update gate over one state.

    >>> cell = Gru(input_size=2, hidden_size=3)
    >>> y, (h,) = cell(torch.zeros(5, 1, 2), cell.initial_state(1))
    >>> y.shape, h.shape
    (torch.Size([5, 1, 3]), torch.Size([1, 3]))
    """

    def __init__(self, *, input_size: int, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size, activation=activation)
        self.layer = nn.GRU(input_size, hidden_size)
        self.equations = gru_step


class Lstm(_Fused):
    """Long short-term memory: a hidden state (B, H) and a cell (B, H) that gates write, keep and read.

    >>> cell = Lstm(input_size=2, hidden_size=3)
    >>> y, (h, c) = cell(torch.zeros(5, 1, 2), cell.initial_state(1))
    >>> y.shape, h.shape, c.shape
    (torch.Size([5, 1, 3]), torch.Size([1, 3]), torch.Size([1, 3]))
    """

    state_size: ClassVar[int] = 2

    def __init__(self, *, input_size: int, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size, activation=activation)
        self.layer = nn.LSTM(input_size, hidden_size)
        self.equations = lstm_step

    def single_step(self, x: np.ndarray, state: Arrays) -> tuple[np.ndarray, Arrays]:
        """Read one input x (B, I), without torch."""
        from lmkit.nn import row_kernels

        by_input, by_state, *biases = (weight.detach().numpy() for weight in self.weights())
        gates = products(x, by_input) + biases[0] + products(state[0], by_state) + biases[1]
        h, c = np.empty_like(state[0]), np.empty_like(state[1])
        row_kernels.lstm(gates, state[1], h, c)
        return h, (h, c)


CELLS: dict[str, type[Recurrence]] = {
    "gru": Gru,
    "lstm": Lstm,
    "mlp": Mlp,
    "mogrifier": Mogrifier,
    "rnn": Rnn,
    "sru": Sru,
}


def make_cell(name: str, *, input_size: int, hidden_size: int, activation: str = "tanh") -> Recurrence:
    """Make the layer of that kind; an unknown kind, or an activation it cannot have, is a UsageError.

    >>> type(make_cell("gru", input_size=2, hidden_size=3)).__name__
    'Gru'
    """
    if name not in CELLS:
        raise UsageError(
            f"unknown cell {name!r}; {did_you_mean(name, CELLS)}; put one of your own into lmkit.nn.cells.CELLS first"
        )
    return CELLS[name](input_size=input_size, hidden_size=hidden_size, activation=activation)
