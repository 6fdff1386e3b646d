"""The simple recurrent unit: gates that look at the input alone, so that only a scan has to go step by step.

    Z, F, R = x_t W + b          F <- sigmoid(F), R <- sigmoid(R)
    C_t = F C_{t-1} + (1 - F) Z
    H_t = R tanh(C_t) + (1 - R) x_t          x_t W_skip where the sizes differ

Lei et al. 2018, without the peepholes on C_{t-1}, which would make the gates wait for the scan; the same as a QRNN
(Bradbury et al. 2017) of width 1 with a highway. 3 H^2 weights where an LSTM has 8 H^2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lmkit.nn.recurrence import Arrays, Recurrence, State
from lmkit.nn.rows import Linear, products
from lmkit.nn.scan import scan
from lmkit.nn.sru_loop import highway, highway_step, runs_on


class Sru(Recurrence):
    """One layer of simple recurrent units.

    >>> cell = Sru(input_size=2, hidden_size=3)
    >>> y, (c,) = cell(torch.zeros(5, 1, 2), cell.initial_state(1))
    >>> y.shape, c.shape
    (torch.Size([5, 1, 3]), torch.Size([1, 3]))
    """

    def __init__(self, *, input_size: int, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size, activation=activation)
        self.layer = Linear(input_size, 3 * hidden_size)
        self.layer.gates = 3
        self.skip = Linear(input_size, hidden_size, bias=False) if input_size != hidden_size else None

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read x (T, B, I) from the state on; give the hidden state at each step and the last state."""
        gates = self.layer(x)  # (T, B, 3H), under autocast of less precision than all else
        kept = x if self.skip is None else self.skip(x).to(x.dtype)
        run = highway if runs_on(gates, kept) else plain
        y, c = run(gates, kept, state[0])
        return y, (c,)

    def single_step(self, x: np.ndarray, state: Arrays) -> tuple[np.ndarray, Arrays]:
        """Read one input x (B, I), without torch."""
        weight, bias = self.layer.weight.detach().numpy(), self.layer.bias.detach().numpy()
        gates = products(x, weight) + bias
        kept = x if self.skip is None else products(x, self.skip.weight.detach().numpy())
        h, c = np.empty_like(kept), np.empty_like(kept)
        highway_step(gates.reshape(len(x), 3, self.hidden_size), kept, state[0], c, h)
        return h, (c,)


def plain(gates: Tensor, kept: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Do what `highway` does, by torch's operations and a scan: on any device."""
    z, f, r = gates.to(kept.dtype).chunk(3, dim=-1)  # (T, B, H) each
    f, r = torch.sigmoid(f + 1), torch.sigmoid(r)  # it remembers at first, as an LSTM does
    c = scan(f, (1 - f) * z, first)
    return r * torch.tanh(c) + (1 - r) * kept, c[-1]
