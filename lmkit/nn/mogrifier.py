"""The Mogrifier LSTM: input and hidden state gate each other a few times before each step (Melis et al. 2020).

    x <- 2 sigmoid(h Q_i) x    in odd rounds i,      h <- 2 sigmoid(x R_i) h    in even ones;    then an LSTM step

An input that has seen the state says what it means here, where an embedding says what it means everywhere. The rounds
stand in the way of a fused kernel, so that a step costs several times that of an LSTM.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from lmkit.nn.gates import lstm_step
from lmkit.nn.recurrence import Recurrence, State
from lmkit.nn.rows import Linear, linear, sigmoid

ROUNDS = 4


class Mogrifier(Recurrence):
    """One layer: an LSTM behind `ROUNDS` rounds of gates of rank a quarter of the smaller size.

    >>> cell = Mogrifier(input_size=2, hidden_size=3)
    >>> y, (h, c) = cell(torch.zeros(5, 1, 2), cell.initial_state(1))
    >>> y.shape, h.shape, c.shape
    (torch.Size([5, 1, 3]), torch.Size([1, 3]), torch.Size([1, 3]))
    """

    state_size: ClassVar[int] = 2

    def __init__(self, *, input_size: int, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size, activation=activation)
        rank = max(1, min(input_size, hidden_size) // 4)
        ends = [(hidden_size, input_size), (input_size, hidden_size)] * (ROUNDS // 2)
        self.rounds = nn.ModuleList(
            nn.Sequential(Linear(before, rank, bias=False), Linear(rank, after)) for before, after in ends
        )
        self.cell = nn.LSTMCell(input_size, hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read x (T, B, I) from the state on; give the hidden state at each step and the last state."""
        h, c = state
        outputs = []
        for step in x.unbind(0):
            for number, gate in enumerate(self.rounds):
                if number % 2:
                    h = 2 * sigmoid(gate(step)).to(h.dtype) * h
                else:
                    step = 2 * sigmoid(gate(h)).to(x.dtype) * step
            if torch.is_grad_enabled():
                h, c = self.cell(step, (h, c))
            else:
                of_step = linear(step, self.cell.weight_ih, self.cell.bias_ih)
                h, c = lstm_step(of_step, linear(h, self.cell.weight_hh, self.cell.bias_hh), (h, c))
            outputs.append(h)
        return torch.stack(outputs), (h, c)
