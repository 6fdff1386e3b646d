"""Words drawn from a softmax without computing it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmkit.nn import screening_kernels as kernels
from lmkit.nn.heads import HEADS, make_head
from lmkit.nn.inversion import place
from lmkit.nn.screening import Screen


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


def plain(bounds: np.ndarray, screen: Screen, row: np.ndarray, point: float, tries: int) -> tuple[int, float]:
    """Do for a row (E,) what the compiled loop does, as `screening` says it."""
    top = bounds.max()
    p = np.array([kernels.exp(x) if x > -87 else 0 for x in bounds - top], np.float64)
    for _ in range(tries):
        word = place(np.cumsum(p), point * p.sum())
        point = kernels.after(point)
        score = screen.weight[word].astype(np.float64) @ row + screen.bias[word]
        kept = point < np.exp(score - top) / p[word]
        point = kernels.after(point)
        if kept:
            return word, point
    return -1, point


@pytest.mark.parametrize("tries", [1, 32])
def test_the_loop_is_its_plain_definition(tries: int) -> None:
    torch.manual_seed(6)
    screen = Screen(torch.randn(300, 40), torch.randn(300))
    screen.bias[7] = screen.highest[7] = -np.inf
    rows = torch.randn(200, 40).double().numpy()
    bounds, points = screen.bounds(rows), np.random.default_rng(7).random(200)
    words, after = np.empty(200, np.int64), points.copy()
    kernels.kept(bounds, rows, screen.weight, screen.bias, np.float32(1), tries, after, words)
    expected = [plain(*each, tries) for each in zip(bounds, [screen] * 200, rows, points, strict=True)]
    assert words.tolist() == [word for word, _ in expected]
    assert after.tolist() == [point for _, point in expected]
    assert 0 < (words >= 0).mean() < 1 if tries == 1 else (words >= 0).all()


def test_what_stands_for_exp_is_never_below_it() -> None:
    x = np.linspace(-87, 0, 100_001).astype(np.float32)
    ratio = np.array([kernels.exp(each) for each in x]) / np.exp(x.astype(np.float64))
    assert ratio.min() >= 1.00005  # so that the rounding of a difference of bounds is made up for
    assert ratio.max() <= 1.0004


def test_codes_are_the_nearest_whole_numbers() -> None:
    rows = np.vstack([np.random.default_rng(8).normal(size=(3, 50)), np.zeros((1, 50))])
    codes = np.empty((4, 50), np.int16)
    unit, length, lost = np.empty((3, 4), np.float32)
    kernels.coded(rows, 1000, codes, unit, length, lost)
    assert np.abs(codes).max(axis=1).tolist() == [1000, 1000, 1000, 0]
    np.testing.assert_array_equal(codes, np.rint(rows / unit[:, None]))
    np.testing.assert_allclose(length, np.linalg.norm(rows, axis=1), rtol=1e-6)
    np.testing.assert_allclose(lost, np.linalg.norm(rows - codes * unit[:, None], axis=1), rtol=1e-3)


def test_a_place_is_found_as_by_inversion() -> None:
    rng = np.random.default_rng(9)
    for _ in range(300):
        weights = rng.random(12) * (rng.random(12) < 0.6)
        if weights.sum() == 0:
            continue
        goal = rng.choice([0.0, rng.random(), 1.0]) * weights.sum()
        found, before = kernels.place(weights, 0, 12, goal)
        assert found == place(np.cumsum(weights), goal)
        assert before == pytest.approx(weights[:found].sum())


def test_uniform_numbers_follow_each_other() -> None:
    points = [0.0]
    for _ in range(20_000):
        points.append(kernels.after(points[-1]))
    counts = np.histogram(points, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 1000).max() < 150
    assert all(0 <= point < 1 for point in points)


def test_a_row_beyond_all_numbers_leaves_the_others_as_they_are() -> None:
    torch.manual_seed(8)
    screen = Screen(torch.randn(200, 8), torch.randn(200))
    features, points = torch.randn(4, 8), np.random.default_rng(1).random(4)
    wanted = screen.draw(features, points)
    features[1], features[2] = torch.nan, torch.inf
    with np.errstate(all="ignore"):
        found = screen.draw(features, points)
    assert found[[0, 3]].tolist() == wanted[[0, 3]].tolist()
    assert (found >= 0).all()
    assert (found < 200).all()


def test_a_model_made_for_inference_alone_draws_too() -> None:
    with torch.inference_mode():
        head = make_head("full", vocab_size=60, input_size=16, never=1)
        assert 0 <= int(head.draw(torch.randn(1, 16), np.array([0.5]))[0]) < 60
