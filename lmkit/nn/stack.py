"""A stack of recurrent layers: the sequence that one layer gives out is what the next reads."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from torch import Tensor, nn
from torch.func import functional_call

from lmkit.errors import UsageError
from lmkit.nn.cells import make_cell
from lmkit.nn.dropout import LockedDropout
from lmkit.nn.recurrence import Arrays, State
from lmkit.nn.regularization import drop_weights, recurrent_weights


class RecurrentStack(nn.Module):
    """Layers of one kind, with locked dropout between them and, if asked for, residual connections.

        H^0 = x,   H^l = cell_l(drop(H^{l-1})) [+ H^{l-1} from the second layer on, where the sizes agree]

    `output_size` is the size of the last layer where it is not `hidden_size`: a tied output layer needs it to
    be the embedding size. Dropout inside a stack: Gal and Ghahramani 2016; residuals: He et al. 2016.

    >>> import torch
    >>> stack = RecurrentStack(kind="lstm", input_size=2, hidden_size=3, num_layers=2, residual=True)
    >>> y, states = stack(torch.zeros(5, 1, 2), stack.initial_state(1))
    >>> y.shape, len(states)
    (torch.Size([5, 1, 3]), 2)
    """

    def __init__(
        self,
        *,
        kind: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        output_size: int | None = None,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        residual: bool = False,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise UsageError(f"num_layers is {num_layers}; a stack needs at least 1 layer")
        sizes = [input_size, *[hidden_size] * (num_layers - 1), output_size or hidden_size]
        self.cells = nn.ModuleList(
            make_cell(kind, input_size=before, hidden_size=after, activation=activation)
            for before, after in pairwise(sizes)
        )
        self.kind = kind
        self.residual = residual
        self.hidden_size = hidden_size
        self.output_size = sizes[-1]
        self.dropout = LockedDropout(rate=0.0)
        self.regularize(dropout=dropout, weight_drop=weight_drop)

    def regularize(self, *, dropout: float, weight_drop: float) -> None:
        """Set the noise of the sequences that come.

        Raises:
            UsageError: the cells have no recurrent weights to drop.
        """
        if weight_drop and not recurrent_weights(self.cells[0]):
            raise UsageError(
                f"an {self.kind} layer has no recurrent weights to drop; leave the weight drop out"
            )
        self.dropout.rate, self.weight_drop = dropout, weight_drop

    def initial_state(self, batch: int) -> tuple[State, ...]:
        """Zeros for each layer: a state of (B, H) tensors."""
        return tuple(cell.initial_state(batch) for cell in self.cells)  # type: ignore[operator]

    def forward(self, x: Tensor, states: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        """Read x (T, B, I) from the states on; give the last layer's y (T, B, H) and the states after it."""
        after = []
        for depth, (cell, state) in enumerate(zip(self.cells, states, strict=True)):
            inputs = (self.dropout(x) if depth else x, state)
            if self.training and self.weight_drop:
                y, state = functional_call(cell, drop_weights(cell, self.weight_drop), inputs)
            else:
                y, state = cell(*inputs)
            # under autocast, a layer gives out what it computed in
            y = y.to(x.dtype)
            after.append(tuple(part.to(x.dtype) for part in state))
            x = x + y if self._goes_on(depth, x.shape == y.shape) else y
        return x, tuple(after)

    def single_step(self, x: np.ndarray, states: tuple[Arrays, ...]) -> tuple[np.ndarray, tuple[Arrays, ...]]:
        """Read one input x (B, I) by the steps of the cells, in evaluation on a CPU; give y (B, H) and the states."""
        after = []
        for depth, (cell, state) in enumerate(zip(self.cells, states, strict=True)):
            y, state = cell.single_step(x, state)  # type: ignore[operator]
            after.append(state)
            x = x + y if self._goes_on(depth, x.shape == y.shape) else y
        return x, tuple(after)

    def _goes_on(self, depth: int, alike: bool) -> bool:
        """Say whether what went into a layer is added to what comes out."""
        return self.residual and depth > 0 and alike
