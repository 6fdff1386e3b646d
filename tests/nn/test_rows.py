"""Products row by row, and words drawn without a softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmkit.nn.cells import CELLS, make_cell
from lmkit.nn.heads import HEADS, make_head
from lmkit.nn.rows import apart, linear
from lmkit.nn.screening import Screen, _next


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


@pytest.mark.parametrize("name", CELLS)
def test_a_step_does_not_depend_on_the_other_rows(name: str) -> None:
    torch.manual_seed(1)
    cell = make_cell(name, input_size=24, hidden_size=24).eval()
    x = torch.randn(4, 9, 24)
    with torch.no_grad(), apart():
        state, single = cell.initial_state(9), cell.initial_state(1)
        for step in x:
            y, state = cell(step[None], state)
            one, single = cell(step[None, 2:3], single)
            assert torch.equal(y[:, 2:3], one)
            assert all(torch.equal(a[2:3], b) for a, b in zip(state, single, strict=True))
    with torch.no_grad():
        bulk, _ = cell(x, cell.initial_state(9))
    assert torch.allclose(bulk[-1], y[0], atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.4, 3.0, 0.01])
@pytest.mark.parametrize("kind", HEADS)
def test_words_are_drawn_by_the_softmax(kind: str, temperature: float) -> None:
    torch.manual_seed(2)
    head = make_head(kind, vocab_size=60, input_size=16, never=1)
    with torch.no_grad():
        head.weight.normal_(0, 0.7)
        head.bias.normal_()
        features = torch.randn(2, 16)
        p = (head.logprobs(features).double() / temperature).exp().numpy()
    count = 30_000 if temperature == 1 else 6_000
    points = np.random.default_rng(3).random(2 * count)
    drawn = head.draw(features.repeat(count, 1), points, temperature=temperature).reshape(count, 2)
    assert p[:, 1].tolist() == [0, 0]
    for row in range(2):
        seen, expected = np.bincount(drawn[:, row], minlength=60), p[row] / p[row].sum() * count
        assert seen[1] == 0
        common = expected >= 5
        chi_square = ((seen - expected)[common] ** 2 / expected[common]).sum()
        degrees = common.sum() - 1
        assert chi_square < degrees + 4 * math.sqrt(2 * degrees) + 4
    alone = [
        int(head.draw(features[i % 2 : i % 2 + 1], points[i : i + 1], temperature=temperature)[0])
        for i in range(50)
    ]
    assert alone == drawn.reshape(-1)[:50].tolist()


@pytest.mark.parametrize("size", [1, 32, 600])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 50.0])
def test_the_bound_holds_for_weights_of_any_size(scale: float, size: int) -> None:
    torch.manual_seed(4)
    weight, bias, features = scale * torch.randn(40, size), torch.randn(40), torch.randn(3, size)
    features[1] = 0
    features[2] = 1.0  # with the largest sum of codes
    weight[3] = 50 * scale
    screen = Screen(weight, bias)
    exact = features.double().numpy()
    scores = exact @ weight.double().numpy().T + bias.double().numpy()
    bounds = screen.bounds(exact)
    assert (bounds[:, :40] >= scores - 1e-5).all()
    assert (bounds[:, 40:] == -np.inf).all()
    loose = np.sqrt(size) * np.linalg.norm(exact, axis=1)[:, None] * np.abs(weight.numpy()).max(axis=1) / 200
    assert (bounds[:, :40] <= scores + loose + 1e-5).all()
    assert len(screen.draw(features, np.array([0.0, 0.5, 0.999]))) == 3


def test_threads_give_the_same_bounds() -> None:
    torch.manual_seed(5)
    screen = Screen(torch.randn(20_000, 128), torch.randn(20_000))
    rows = torch.randn(3, 128).double().numpy()
    together = screen.bounds(rows)  # of a size that is shared out
    for b in range(3):
        assert np.array_equal(screen.bounds(rows[b : b + 1])[0], together[b])


def test_a_head_whose_weights_have_changed_draws_by_the_new_ones() -> None:
    head = make_head("full", vocab_size=3, input_size=1)
    features, points = torch.ones(1, 1), np.array([0.5])
    for word in (2, 0, 1):
        with torch.no_grad():
            head.weight.copy_(torch.eye(3)[:, word : word + 1] * 40)
        assert head.draw(features, points).tolist() == [word]
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.0, 0.0, 1e4]))
    assert head.draw(features, points).tolist() == [2]


def test_uniform_numbers_follow_each_other() -> None:
    points = [0.0]
    for _ in range(20_000):
        points.append(_next(points[-1]))
    counts = np.histogram(points, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 1000).max() < 150
    assert all(0 <= point < 1 for point in points)
