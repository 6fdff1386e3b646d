"""One scale for all numbers; filling gaps: the three rules written out, and the ends of every case."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import UsageError
from lmkit.nn.preprocessing import KINDS, resample, standardized

nan = np.nan


def fill_missing(values, *, x=None, kind="linear"):
    x = range(len(values)) if x is None else x
    return resample(x, values, x, kind=kind)


GAPS = [nan, 2.0, nan, nan, 8.0, nan]


@pytest.mark.parametrize(
    ("kind", "filled"),
    [
        ("linear", [2, 2, 4, 6, 8, 8]),
        ("nearest", [2, 2, 2, 8, 8, 8]),
        ("previous", [nan, 2, 2, 2, 8, 8]),
    ],
)
def test_leading_trailing_and_inner_gaps(kind, filled):
    np.testing.assert_array_equal(fill_missing(GAPS, kind=kind), filled)


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_known_nothing_is_filled(kind):
    assert np.isnan(fill_missing([nan, nan], kind=kind)).all()
    assert fill_missing([], kind=kind).shape == (0,)


def test_steps_need_not_be_even():
    x = [0.0, 1.0, 9.0, 10.0]
    np.testing.assert_allclose(fill_missing([0.0, nan, nan, 10.0], x=x), [0, 1, 9, 10])
    np.testing.assert_array_equal(fill_missing([0.0, nan, nan, 10.0], x=x, kind="nearest"), [0, 0, 10, 10])


@given(
    st.lists(st.one_of(st.just(nan), st.floats(-1e6, 1e6, allow_subnormal=False)), min_size=1, max_size=20),
    st.sampled_from(KINDS),
    st.data(),
)
def test_what_is_known_is_never_changed_and_what_is_filled_lies_between(values, kind, data):
    steps = data.draw(
        st.lists(st.floats(0.01, 10, allow_subnormal=False), min_size=len(values), max_size=len(values))
    )
    y, x = np.array(values), np.cumsum(steps)
    filled = fill_missing(y, x=x, kind=kind)
    known = ~np.isnan(y)
    np.testing.assert_array_equal(filled[known], y[known])
    there = filled[~np.isnan(filled)]
    if known.any():
        margin = 1e-9 * (1 + np.abs(y[known]).max())
        assert y[known].min() - margin <= there.min()
        assert there.max() <= y[known].max() + margin
    assert kind == "previous" or known.any() == (not np.isnan(filled).any())


def test_a_measurement_can_be_asked_for_anywhere():
    x, y = [0.0, 10.0, 20.0], [1.0, nan, 3.0]
    assert resample(x, y, [-5, 5, 15, 30]).tolist() == [1.0, 1.5, 2.5, 3.0]
    assert resample(x, y, [-5, 10, 15, 30], kind="nearest").tolist() == [1.0, 1.0, 3.0, 3.0]
    np.testing.assert_array_equal(resample(x, y, [-5, 0, 19, 30], kind="previous"), [nan, 1, 1, 3])


@pytest.mark.parametrize(
    ("x", "y", "kind", "what"),
    [
        ([0.0], [1.0], "cubic", "unknown interpolation 'cubic'"),
        ([0.0, 1.0], [1.0], "linear", r"shapes \(2,\) and \(1,\)"),
        ([1.0, 0.0], [1.0, 2.0], "linear", "x falls"),
        ([1.0, nan], [1.0, 2.0], "linear", "missing somewhere"),
    ],
)
def test_what_cannot_be_filled_is_refused(x, y, kind, what):
    with pytest.raises(UsageError, match=what):
        resample(x, y, [0.5], kind=kind)


@given(st.integers(0, 1000), st.floats(-50, 50), st.floats(0.01, 100))
def test_what_is_known_has_mean_zero_and_deviation_one_whatever_its_scale(seed, shift, scale):
    rng = np.random.default_rng(seed)
    x = torch.as_tensor(rng.normal(size=(4, 9)))
    known = torch.as_tensor(rng.random((4, 9)) < 0.7)
    known[:, :2] = True
    z = standardized(x, x, known)
    assert z[known].mean().item() == pytest.approx(0, abs=1e-9)
    assert z[known].std(correction=0).item() == pytest.approx(1)
    moved = shift + scale * x
    torch.testing.assert_close(standardized(moved, moved, known), z, rtol=1e-6, atol=1e-6)


def test_what_has_no_deviation_is_only_centred():
    x, none = torch.tensor([[2.0, 2.0, 7.0]]), torch.zeros(1, 3, dtype=torch.bool)
    assert standardized(x, x, torch.tensor([[True, True, False]])).tolist() == [[0, 0, 5]]
    assert standardized(x, x, torch.tensor([[False, False, True]])).tolist() == [[-5, -5, 0]]
    assert standardized(x, x, none).tolist() == x.tolist()
    flat = torch.full((3, 26), -float(np.log(26)))  # whose mean in float32 is not quite the same number
    assert standardized(flat, flat, flat < 0).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wanted_nowhere_is_not_known(kind):
    found = resample([0.0, 1.0], [5.0, 6.0], [0.0, nan, 1.0], kind=kind)
    assert np.isnan(found).tolist() == [False, True, False]
