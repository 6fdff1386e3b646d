"""Products and steps row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmkit.nn.cells import CELLS, make_cell
from lmkit.nn.recurrence import State
from lmkit.nn.rows import apart, linear


@pytest.mark.parametrize("sizes", [(7, 5), (257, 33), (64, 3000)])
def test_a_row_is_multiplied_as_if_it_were_alone(sizes: tuple[int, int]) -> None:
    torch.manual_seed(1)
    x, weight, bias = torch.randn(70, sizes[0]), torch.randn(sizes[1], sizes[0]), torch.randn(sizes[1])
    with torch.no_grad(), apart():
        whole = linear(x, weight, bias)
        for count in (1, 2, 3, 8, 69):
            assert torch.equal(linear(x[:count], weight, bias), whole[:count])
        assert torch.equal(linear(x[None], weight, bias)[0], whole)
    assert torch.allclose(whole, torch.nn.functional.linear(x, weight, bias), atol=1e-4)


@pytest.mark.parametrize("sizes", [(24, 24), (24, 17)])
@pytest.mark.parametrize("name", CELLS)
def test_a_step_does_not_depend_on_the_other_rows(name: str, sizes: tuple[int, int]) -> None:
    torch.manual_seed(1)
    cell = make_cell(name, input_size=sizes[0], hidden_size=sizes[1]).eval()
    x = torch.randn(4, 9, sizes[0])
    state, single = ([part.numpy() for part in cell.initial_state(count)] for count in (9, 1))
    steps = []
    for step in x.numpy():
        before = [part.copy() for part in state]
        y, after = cell.single_step(step, tuple(state))
        assert all(
            np.array_equal(a, b) for a, b in zip(before, state, strict=True)
        )  # others may go on from it
        one, single = cell.single_step(step[2:3], tuple(single))
        assert np.array_equal(y[2:3], one)
        assert all(np.array_equal(a[2:3], b) for a, b in zip(after, single, strict=True))
        state = list(after)
        steps.append(y)
    with torch.no_grad():
        bulk, last = cell(x, cell.initial_state(9))
    np.testing.assert_allclose(bulk.numpy(), np.stack(steps), atol=1e-5)
    for a, b in zip(last, state, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-5)


def test_a_layer_of_ones_own_is_obeyed_in_a_single_step_too() -> None:
    class Loud(CELLS["lstm"]):  # type: ignore[misc]
        def forward(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
            y, state = super().forward(x, state)
            return 2 * y, state

    torch.manual_seed(1)
    cell = Loud(input_size=3, hidden_size=4).eval()
    x = torch.randn(1, 2, 3)
    with torch.no_grad():
        y, _ = cell(x, cell.initial_state(2))
    found, _ = cell.single_step(x[0].numpy(), tuple(part.numpy() for part in cell.initial_state(2)))
    np.testing.assert_allclose(found, y[0].numpy(), atol=1e-6)
