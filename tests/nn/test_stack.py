import pytest
import torch

from lmkit.errors import UsageError
from lmkit.nn.cells import CELLS
from lmkit.nn.stack import RecurrentStack

T, B, E, H = 6, 3, 4, 5
each_kind = pytest.mark.parametrize("kind", sorted(CELLS))


def make(kind="lstm", **options):
    return RecurrentStack(kind=kind, input_size=E, hidden_size=H, **{"num_layers": 3, **options})


@each_kind
def test_is_its_layers_one_after_another(kind):
    stack = make(kind)
    x = torch.randn(T, B, E)
    y, states = stack(x, stack.initial_state(B))
    for cell, state in zip(stack.cells, states, strict=True):
        x, expected = cell(x, cell.initial_state(B))
        for got, want in zip(state, expected, strict=True):
            torch.testing.assert_close(got, want)
    torch.testing.assert_close(y, x)


@each_kind
@pytest.mark.parametrize("residual", [False, True])
def test_in_bulk_equals_step_by_step(kind, residual):
    stack = make(kind, residual=residual, dropout=0.5).eval()
    x = torch.randn(T, B, E)
    with torch.no_grad():
        whole, last = stack(x, stack.initial_state(B))
        states, steps = stack.initial_state(B), []
        for x_t in x.split(1):
            y, states = stack(x_t, states)
            steps.append(y)
    torch.testing.assert_close(torch.cat(steps), whole)
    torch.testing.assert_close(states, last)


def test_residuals_start_at_the_second_layer_and_skip_a_change_of_size():
    stack = make("mlp", residual=True, output_size=E)
    x = torch.randn(T, B, E)
    y, _ = stack(x, stack.initial_state(B))
    first = stack.cells[0](x, ())[0]
    second = first + stack.cells[1](first, ())[0]
    torch.testing.assert_close(y, stack.cells[2](second, ())[0])
    assert stack.output_size == E


def test_a_layer_of_zeros_passes_its_input_on_through_the_residual():
    stack = make("mlp", num_layers=2, residual=True)
    torch.nn.init.zeros_(stack.cells[1].layer.weight)
    torch.nn.init.zeros_(stack.cells[1].layer.bias)
    x = torch.randn(T, B, E)
    torch.testing.assert_close(stack(x, stack.initial_state(B))[0], stack.cells[0](x, ())[0])


def test_dropout_is_between_layers_only_and_locked_over_time():
    x = torch.ones(T, B, E)
    alone = make("mlp", num_layers=1, dropout=0.9)
    torch.testing.assert_close(alone(x, alone.initial_state(B)), alone.eval()(x, alone.initial_state(B)))
    pair = make("mlp", num_layers=2, dropout=0.5)
    y, _ = pair(x, pair.initial_state(B))
    torch.testing.assert_close(y, y[:1].expand_as(y))  # equal inputs and one mask: equal at each time
    assert not torch.allclose(y, pair.eval()(x, pair.initial_state(B))[0])


def test_gradients_reach_every_parameter():
    stack = make("lstm", residual=True)
    stack(torch.randn(T, B, E), stack.initial_state(B))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in stack.parameters())


def test_a_stack_needs_a_layer():
    with pytest.raises(UsageError, match="num_layers is 0"):
        make(num_layers=0)
