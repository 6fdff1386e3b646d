"""The compiled loop of an SRU against the same by torch's operations, whose gradients are those of autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.compiled import compiled, narrowed, widened
from lmkit.nn.sru import Sru, plain
from lmkit.nn.sru_loop import _sigmoid, _tanh, highway, runs_on


def inputs(steps: int, streams: int, size: int, scale: float = 1.0) -> list[torch.Tensor]:
    shapes = [(steps, streams, 3 * size), (steps, streams, size), (streams, size)]
    return [(scale * torch.randn(shape)).requires_grad_() for shape in shapes]


def answers(function, tensors):
    """What comes out, and the gradients of a weighted sum of all of it."""
    given = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    h, last = function(*given)
    torch.manual_seed(1)
    ((h * torch.randn_like(h)).sum() + (last * torch.randn_like(last)).sum()).backward()
    return [h, last, *(tensor.grad for tensor in given)]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 5), (7, 2, 33), (70, 4, 16)], ids=str)
@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_equals_its_twin_and_its_gradients(shape, scale):
    tensors = inputs(*shape, scale=scale)
    for ours, theirs in zip(answers(highway, tensors), answers(plain, tensors), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-6 * max(1.0, scale))


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 2, 33), (70, 4, 16)], ids=str)
def test_gates_are_read_as_the_product_under_autocast_gives_them(shape):
    gates, *rest = inputs(*shape)
    tensors = [gates.detach().bfloat16(), *rest]
    ours, theirs = answers(highway, tensors), answers(plain, tensors)
    assert ours[2].dtype == torch.bfloat16
    torch.testing.assert_close(ours[2], theirs[2], rtol=2**-7, atol=2e-6)  # a step of a bfloat16
    for one, other in zip(ours[:2] + ours[3:], theirs[:2] + theirs[3:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)


@given(st.lists(st.floats(width=32), min_size=1))
def test_numbers_are_rounded_to_bfloat16_as_torch_rounds_them(numbers):
    given = np.array(numbers, np.float32)
    expected = torch.from_numpy(given).bfloat16()
    bits, back = np.empty(len(given), np.uint16), np.empty(len(given), np.float32)
    there_and_back(given, bits, back)
    ours = torch.from_numpy(back)
    torch.testing.assert_close(ours, expected.float(), rtol=0, atol=0, equal_nan=True)


@compiled
def there_and_back(given, bits, back):
    for i in range(len(given)):
        bits[i] = narrowed(given[i], bits)
        back[i] = widened(bits[i])


def test_a_gradient_of_the_output_alone_is_enough():
    tensors = inputs(5, 2, 3)
    highway(*tensors)[0].sum().backward()
    ours = [tensor.grad.clone() for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    plain(*tensors)[0].sum().backward()
    for one, tensor in zip(ours, tensors, strict=True):
        torch.testing.assert_close(one, tensor.grad, rtol=1e-4, atol=1e-6)


def test_views_are_taken_as_they_are_read():
    wide = torch.randn(5, 2, 12)
    gates, kept = wide[..., :9], torch.randn(2, 5, 3).transpose(0, 1)
    for ours, theirs in zip(
        highway(gates, kept, wide[0, :, 9:]), plain(gates, kept, wide[0, :, 9:]), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_number_that_is_none_is_not_hidden(place, bad):
    tensors = [tensor.detach() for tensor in inputs(3, 2, 4)]
    if place == 0 and bad == torch.inf:
        tensors[0][1, 0, 0] = bad  # z; an infinite gate is open, or shut
    else:
        tensors[place].view(-1)[0] = bad
    ours, theirs = highway(*tensors), plain(*tensors)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.isnan(), other.isnan())


def test_the_approximation_is_that_of_tanh_everywhere():
    x = np.concatenate([np.linspace(-12, 12, 100_001), [0.0, 1e-20, -1e-7, 1e30, -np.inf]]).astype(np.float32)
    exact = np.tanh(x.astype(np.float64))
    ours = np.array([_tanh(value) for value in x])
    np.testing.assert_allclose(ours, exact, rtol=5e-7, atol=1e-12)
    squashed = np.array([_sigmoid(value) for value in x])
    np.testing.assert_allclose(squashed, (1 + np.tanh(x.astype(np.float64) / 2)) / 2, atol=2e-7)
    assert np.isnan(_tanh(np.float32(np.nan)))


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 20))
def test_a_sequence_in_bulk_equals_its_steps(steps, streams, size):
    cell, x = Sru(input_size=size, hidden_size=size), torch.randn(steps, streams, size)
    whole, (last,) = cell(x, cell.initial_state(streams))
    state, singly = cell.initial_state(streams), []
    for step in x:
        y, state = cell(step[None], state)
        singly.append(y)
    torch.testing.assert_close(torch.cat(singly), whole)
    torch.testing.assert_close(state[0], last)


@pytest.mark.parametrize(
    ("gates", "kept", "device", "expected"),
    [
        (torch.float32, torch.float32, "cpu", True),
        (torch.bfloat16, torch.float32, "cpu", True),
        (torch.float16, torch.float32, "cpu", False),
        (torch.bfloat16, torch.bfloat16, "cpu", False),
        (torch.float64, torch.float64, "cpu", False),
        (torch.float32, torch.float32, "meta", False),
    ],
    ids=str,
)
def test_what_the_loop_is_made_for(gates, kept, device, expected):
    asked = [torch.zeros(1, dtype=dtype, device=device) for dtype in (gates, kept)]
    assert runs_on(*asked) == expected
