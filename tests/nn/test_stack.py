import copy
import warnings

import pytest
import torch

from lmkit.errors import UsageError
from lmkit.nn.cells import CELLS
from lmkit.nn.stack import RecurrentStack

T, B, E, H = 6, 3, 4, 5
each_kind = pytest.mark.parametrize("kind", sorted(CELLS))
each_memory = pytest.mark.parametrize(
    "kind", sorted(set(CELLS) - {"mlp", "sru"})
)  # those with recurrent weights


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


def read(stack, x):
    return stack(x, stack.initial_state(x.shape[1]))[0]


def recurrent(stack):
    return [value for name, value in stack.named_parameters() if "weight_hh" in name]


@each_memory
def test_weight_drop_is_a_fresh_draw_at_each_reading_in_training(kind):
    stack, x = make(kind, weight_drop=0.5), torch.randn(T, B, E)
    first, second = read(stack, x), read(stack, x)
    assert not torch.allclose(first, second)
    torch.manual_seed(3)
    again = read(stack, x)
    torch.manual_seed(3)
    assert torch.equal(again, read(stack, x))


@each_memory
def test_weight_drop_drops_recurrent_weights_and_nothing_else(kind):
    stack, x = make(kind, num_layers=1, weight_drop=0.5), torch.randn(1, B, E)
    from_nothing = read(stack, x)
    plain = read(stack.eval(), x)
    if kind != "gru":  # the weights multiply a state of zeros
        torch.testing.assert_close(from_nothing, plain)
    for weight in recurrent(stack):
        torch.nn.init.zeros_(weight)
    x = torch.randn(T, B, E)
    torch.testing.assert_close(read(stack.train(), x), read(stack.eval(), x))


@each_memory
def test_reading_under_weight_drop_is_reading_with_masked_weights(kind):
    stack, x = make(kind, num_layers=1, weight_drop=0.5), torch.randn(T, B, E)
    torch.manual_seed(3)
    y = read(stack, x)
    (weight,) = recurrent(stack)
    torch.manual_seed(3)
    mask = 2.0 * torch.empty(weight.shape).bernoulli_(0.5)
    plain = make(kind, num_layers=1)
    plain.load_state_dict(stack.state_dict())
    with torch.no_grad():
        recurrent(plain)[0].mul_(mask)
    torch.testing.assert_close(y, read(plain, x))
    y.square().sum().backward()
    read(plain, x).square().sum().backward()
    torch.testing.assert_close(weight.grad, recurrent(plain)[0].grad * mask)  # through the mask
    others = {name: value.grad for name, value in stack.named_parameters() if "weight_hh" not in name}
    expected = {name: value.grad for name, value in plain.named_parameters() if "weight_hh" not in name}
    torch.testing.assert_close(others, expected)


@each_memory
def test_each_layer_has_a_draw_of_its_own_and_its_gradient_reaches_the_weights_themselves(kind):
    stack = RecurrentStack(kind=kind, input_size=E, hidden_size=20, num_layers=3, weight_drop=0.5)
    places = [weight.data_ptr() for weight in recurrent(stack)]
    read(stack, torch.randn(T, B, E)).square().sum().backward()
    dropped = [weight.grad == 0 for weight in recurrent(stack)]
    assert len(dropped) == 3
    assert not torch.equal(dropped[1], dropped[2])
    for mask in dropped:
        assert mask.float().mean().item() == pytest.approx(0.5, abs=0.15)
    assert [weight.data_ptr() for weight in recurrent(stack)] == places
    assert all(isinstance(weight, torch.nn.Parameter) for weight in recurrent(stack))


@each_memory
def test_evaluation_knows_nothing_of_weight_drop(kind):
    stack, x = make(kind, weight_drop=0.5), torch.randn(T, B, E)
    plain = make(kind)
    plain.load_state_dict(stack.state_dict())
    for _ in range(2):  # after training as before it
        torch.testing.assert_close(read(stack.eval(), x), read(plain, x), rtol=0, atol=0)
        with torch.no_grad():
            torch.testing.assert_close(read(stack, x[:1]), read(plain, x[:1]))
        read(stack.train(), x).sum().backward()


@each_memory
def test_evaluation_follows_the_weights_that_training_moved(kind):
    stack, x = make(kind, weight_drop=0.5), torch.randn(T, B, E)
    read(stack, x).square().sum().backward()
    torch.optim.SGD(stack.parameters(), lr=0.5).step()
    plain = make(kind)
    plain.load_state_dict(stack.state_dict())
    torch.testing.assert_close(read(stack.eval(), x), read(plain, x), rtol=0, atol=0)


@each_memory
def test_a_stack_under_weight_drop_can_be_copied(kind):
    stack, x = make(kind, weight_drop=0.5), torch.randn(T, B, E)
    read(stack, x)
    copied = copy.deepcopy(stack).eval()
    torch.testing.assert_close(read(copied, x), read(stack.eval(), x), rtol=0, atol=0)


@each_memory
def test_weight_drop_says_nothing(kind):
    stack, x = make(kind, weight_drop=0.5), torch.randn(T, B, E)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            read(stack.train(), x).sum().backward()
            read(stack.eval(), x)
    assert not said


def test_a_rate_of_zero_draws_nothing():
    stack, x = make(weight_drop=0.0), torch.randn(T, B, E)
    before = torch.get_rng_state()
    read(stack, x)
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_expected_of_a_relu_layer_is_kept():
    stack = make("rnn", num_layers=1, weight_drop=0.5, activation="relu")
    for parameter in stack.parameters():
        torch.nn.init.uniform_(parameter, 0.0, 0.5)  # nothing below zero: two steps are linear in the weights
    x = torch.rand(2, 1, E)
    with torch.no_grad():
        mean = torch.stack([read(stack, x)[-1] for _ in range(3000)]).mean(0)
        torch.testing.assert_close(mean, read(stack.eval(), x)[-1], rtol=0.03, atol=0)


@each_memory
def test_weight_drop_says_nothing_on_a_gpu(kind, cuda):
    stack, x = make(kind, weight_drop=0.5).to(cuda), torch.randn(T, B, E, device=cuda)
    for _ in range(3):
        read(stack.train(), x).sum().backward()
        read(stack.eval(), x)
    assert all(weight.grad.any() for weight in recurrent(stack))


@pytest.mark.parametrize("kind", ["mlp", "sru"])
def test_where_there_are_no_recurrent_weights_none_can_be_dropped(kind):
    with pytest.raises(UsageError, match=f"{kind} layer has no recurrent weights"):
        make(kind, weight_drop=0.5)
