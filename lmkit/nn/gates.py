"""Gates: what the products of one step of an LSTM or a GRU become. Equations: see `cells`."""

from __future__ import annotations

from torch import Tensor

from lmkit.nn.recurrence import State
from lmkit.nn.rows import sigmoid, tanh


def lstm_step(by_input: Tensor, by_state: Tensor, state: State) -> State:
    """Give the next state (B, H), (B, H) of an LSTM, from the products (B, 4H) for I, F, G and O."""
    i, f, g, o = (by_input + by_state).chunk(4, dim=-1)
    c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def gru_step(by_input: Tensor, by_state: Tensor, state: State) -> State:
    """Give the next state (B, H) of a GRU, from the products (B, 3H) for R, Z and N."""
    (xr, xz, xn), (hr, hz, hn) = by_input.chunk(3, dim=-1), by_state.chunk(3, dim=-1)
    n = tanh(xn + sigmoid(xr + hr) * hn)
    return (n + sigmoid(xz + hz) * (state[0] - n),)
