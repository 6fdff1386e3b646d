"""Temperature and truncation: each rule against its definition, token by token, and at the ends of its range."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import UsageError
from lmkit.generation import truncation
from lmkit.generation.distributions import entropy, keep, normalize, without
from lmkit.nn.inversion import inverted

distributions = st.lists(st.floats(-20, -1e-3, allow_subnormal=False), min_size=2, max_size=9).map(
    lambda x: normalize(np.array([x]))
)
shares = st.floats(0.01, 1.0, allow_subnormal=False)


def total(logprobs: np.ndarray) -> float:
    return float(np.exp(logprobs).sum())


def kept(shaped: np.ndarray) -> list[int]:
    return np.flatnonzero(np.isfinite(shaped[0])).tolist()


def smallest(p: list[float], order: list[int], mass: float) -> list[int]:
    """The definition: tokens one by one, until they have the mass."""
    found: list[int] = []
    while order and math.fsum(p[i] for i in found) < mass:
        found.append(order.pop(0))
    return sorted(found)


def same_or_at_an_edge(found: list[int], wanted: list[int], p: list[float], mass: float) -> bool:
    """Whether two sets are the same, unless one more token is a matter of rounding."""
    fewer = min(found, wanted, key=len)
    edge = abs(math.fsum(p[i] for i in fewer) - mass) < 1e-9
    return found == wanted or (edge and set(fewer) < set(max(found, wanted, key=len)))


@given(logprobs=distributions, t=st.floats(0.05, 20, allow_subnormal=False))
def test_temperature_is_a_power_of_the_probabilities(logprobs: np.ndarray, t: float) -> None:
    p = np.exp(logprobs) ** (1 / t)
    shaped = truncation.temperature(logprobs, t)
    assert total(shaped) == pytest.approx(1)
    if p.sum() > 1e-200:
        assert np.exp(shaped) == pytest.approx(p / p.sum(), abs=1e-9)


@given(logprobs=distributions, k=st.integers(1, 12))
def test_top_k_keeps_the_k_likeliest(logprobs: np.ndarray, k: int) -> None:
    shaped = truncation.top_k(logprobs, k)
    threshold = sorted(logprobs[0], reverse=True)[: k + 1][min(k, logprobs.shape[1]) - 1]
    assert total(shaped) == pytest.approx(1)
    assert np.isfinite(shaped[0]).tolist() == (logprobs[0] >= threshold).tolist()


@given(logprobs=distributions, mass=shares)
def test_top_p_keeps_the_smallest_likeliest_set_of_that_mass(logprobs: np.ndarray, mass: float) -> None:
    shaped = truncation.top_p(logprobs, mass)
    p = np.exp(logprobs[0]).tolist()
    wanted = smallest(p, sorted(range(len(p)), key=lambda i: (-logprobs[0, i], i)), mass)
    assert total(shaped) == pytest.approx(1)
    assert same_or_at_an_edge(kept(shaped), wanted, p, mass) or mass == 1


@given(logprobs=distributions, mass=shares)
def test_typical_keeps_the_surprisals_nearest_to_the_entropy(logprobs: np.ndarray, mass: float) -> None:
    shaped = truncation.typical(logprobs, mass)
    p = np.exp(logprobs[0]).tolist()
    h = -math.fsum(x * math.log(x) for x in p if x > 0)
    away = [abs(-math.log(x) - h) for x in p]
    apart = all(abs(a - b) > 1e-9 for i, a in enumerate(away) for b in away[:i])
    wanted = smallest(p, sorted(range(len(p)), key=lambda i: (away[i], i)), mass)
    assert total(shaped) == pytest.approx(1)
    assert same_or_at_an_edge(kept(shaped), wanted, p, mass) or mass == 1 or not apart


@given(logprobs=distributions, least=st.floats(0, 1, allow_subnormal=False))
def test_min_p_keeps_what_is_near_the_likeliest(logprobs: np.ndarray, least: float) -> None:
    shaped = truncation.min_p(logprobs, least)
    p = np.exp(logprobs[0])
    assert total(shaped) == pytest.approx(1)
    sure = np.abs(p - least * p.max()) > 1e-12
    assert (np.isfinite(shaped[0]) == (p >= least * p.max()))[sure].all()
    assert np.isfinite(shaped[0, p.argmax()])


@given(logprobs=distributions, cutoff=st.floats(0, 1, allow_subnormal=False))
def test_epsilon_and_eta_keep_what_is_likely_enough(logprobs: np.ndarray, cutoff: float) -> None:
    p = np.exp(logprobs[0])
    h = -math.fsum(x * math.log(x) for x in p.tolist() if x > 0)
    for shaped, least in (
        (truncation.epsilon_cutoff(logprobs, cutoff), cutoff),
        (truncation.eta_cutoff(logprobs, cutoff), min(cutoff, math.sqrt(cutoff) * math.exp(-h))),
    ):
        assert total(shaped) == pytest.approx(1)
        sure = np.abs(p - least) > 1e-12
        assert (np.isfinite(shaped[0]) == ((p >= least) | (p == p.max())))[sure].all()


def test_a_large_vocabulary_is_cut_as_a_small_one_is() -> None:
    rng = np.random.default_rng(1)
    logprobs = normalize(rng.normal(size=(3, 5000)) * np.array([[0.1], [2.0], [6.0]]))  # flat to steep
    for mass in (0.05, 0.5, 0.95, 0.9999):
        shaped = truncation.top_p(logprobs, mass)
        for row in range(3):
            order = np.argsort(-logprobs[row], kind="stable")
            count = int(np.searchsorted(np.cumsum(np.exp(logprobs[row, order])), mass)) + 1
            assert np.flatnonzero(np.isfinite(shaped[row])).tolist() == sorted(order[:count].tolist())


def test_equal_tokens_are_cut_in_the_order_of_their_numbers() -> None:
    even = np.log(np.full((1, 4), 0.25))
    assert kept(truncation.top_p(even, 0.5)) == [0, 1]
    assert kept(truncation.typical(even, 0.5)) == [0, 1]
    assert kept(truncation.top_k(even, 1)) == [0, 1, 2, 3]
    many = np.log(np.full((1, 4096), 1 / 4096))
    assert kept(truncation.top_p(many, 0.5)) == list(range(2048))


def test_temperature_zero_takes_the_first_of_the_likeliest() -> None:
    logprobs = np.log(np.array([[0.2, 0.4, 0.4], [0.5, 0.3, 0.2]]))
    assert np.exp(truncation.temperature(logprobs, 0)).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert np.exp(truncation.temperature(logprobs, 1e-300))[1].tolist() == [1, 0, 0]
    assert np.exp(truncation.temperature(logprobs, 1e300)) == pytest.approx(np.full((2, 3), 1 / 3))


def test_ends_of_the_ranges() -> None:
    logprobs = np.log(np.array([[0.5, 0.3, 0.2]]))
    all_of_it = np.exp(logprobs)
    for same in (
        truncation.top_k(logprobs, 0),
        truncation.top_k(logprobs, 3),
        truncation.top_k(logprobs, 10**9),
        truncation.top_p(logprobs, 1),
        truncation.typical(logprobs, 1),
        truncation.min_p(logprobs, 0),
        truncation.epsilon_cutoff(logprobs, 0),
        truncation.eta_cutoff(logprobs, 0),
        truncation.temperature(logprobs, 1),
    ):
        assert np.exp(same) == pytest.approx(all_of_it)
    for one in (
        truncation.top_k(logprobs, 1),
        truncation.top_p(logprobs, 1e-300),
        truncation.min_p(logprobs, 1),
        truncation.epsilon_cutoff(logprobs, 1),
        truncation.temperature(logprobs, 0),
    ):
        assert kept(one) == [0]


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (truncation.temperature, [-1, math.nan, math.inf, -math.inf]),
        (truncation.top_p, [0, -0.5, 1.5, math.nan, math.inf]),
        (truncation.typical, [0, -0.5, 1.5, math.nan, math.inf]),
        (truncation.min_p, [-0.5, 1.5, math.nan, math.inf]),
        (truncation.epsilon_cutoff, [-0.5, 1.5, math.nan, math.inf]),
        (truncation.eta_cutoff, [-0.5, 1.5, math.nan, math.inf]),
        (truncation.top_k, [-1]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_impossible_numbers(rule: Callable[[np.ndarray, float], np.ndarray], values: list[float]) -> None:
    for value in values:
        with pytest.raises(UsageError, match="out of range"):
            rule(np.log(np.full((1, 2), 0.5)), value)


def test_impossible_tokens_stay_impossible() -> None:
    with np.errstate(divide="ignore"):
        logprobs = np.log(np.array([[0.7, 0.0, 0.3]]))
    for shaped in (
        truncation.temperature(logprobs, 5.0),
        truncation.top_k(logprobs, 3),
        truncation.top_p(logprobs, 1),
        truncation.typical(logprobs, 0.99),
        truncation.min_p(logprobs, 0),
        truncation.epsilon_cutoff(logprobs, 0),
        truncation.eta_cutoff(logprobs, 0.001),
    ):
        assert shaped[0, 1] == -np.inf
        assert total(shaped) == pytest.approx(1)
    assert entropy(logprobs)[0] == pytest.approx(-0.7 * math.log(0.7) - 0.3 * math.log(0.3))


def test_nothing_is_taken_where_nothing_would_be_left() -> None:
    with np.errstate(divide="ignore"):
        logprobs = np.log(np.array([[0.5, 0.5], [1.0, 0.0]]))
    assert np.exp(without(logprobs, [0])).tolist() == [[0, 1], [1, 0]]
    assert np.exp(keep(logprobs, np.array([False, False]))).tolist() == [[0.5, 0.5], [1, 0]]


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    with np.errstate(divide="ignore"):
        logprobs = np.log(np.array([[0.0, 1 / 3, 0.0, 1 / 3, 1 / 3, 0.0]] * 3))
    assert inverted(np.exp(logprobs), np.array([0.0, 0.5, np.nextafter(1, 0)])).tolist() == [1, 3, 4]


def test_hugging_face_cuts_the_same() -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from transformers.generation import logits_process as theirs

    assert transformers
    rng = np.random.default_rng(2)
    logprobs = normalize(rng.normal(size=(20, 50)) * 3)
    for warper, ours in (
        (theirs.TemperatureLogitsWarper(0.7), truncation.temperature(logprobs, 0.7)),
        (theirs.TopKLogitsWarper(5), truncation.top_k(logprobs, 5)),
        (theirs.TopPLogitsWarper(0.8), truncation.top_p(logprobs, 0.8)),
        (theirs.MinPLogitsWarper(0.1), truncation.min_p(logprobs, 0.1)),
        (theirs.TypicalLogitsWarper(0.8), truncation.typical(logprobs, 0.8)),
        (theirs.EpsilonLogitsWarper(0.01), truncation.epsilon_cutoff(logprobs, 0.01)),
        (theirs.EtaLogitsWarper(0.01), truncation.eta_cutoff(logprobs, 0.01)),
    ):
        scores = warper(torch.zeros(20, 1, dtype=torch.long), torch.as_tensor(logprobs))
        assert np.exp(ours) == pytest.approx(torch.softmax(scores, -1).numpy(), abs=1e-9)
