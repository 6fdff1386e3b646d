"""Sampling: each step against its definition, and the draws against the probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit import sampling
from lmkit.errors import UsageError
from lmkit.text.vocabulary import EOS, UNK
from tests.conftest import STORY

distributions = st.lists(st.floats(-20, -1e-3), min_size=2, max_size=9).map(
    lambda x: sampling.normalize(np.array([x]))
)


def total(logprobs: np.ndarray) -> float:
    return float(np.exp(logprobs).sum())


@given(logprobs=distributions, t=st.floats(0.05, 20))
def test_temperature_is_a_power_of_the_probabilities(logprobs: np.ndarray, t: float) -> None:
    p = np.exp(logprobs) ** (1 / t)
    shaped = sampling.temperature(logprobs, t)
    assert total(shaped) == pytest.approx(1)
    if p.sum() > 1e-200:
        assert np.exp(shaped) == pytest.approx(p / p.sum(), abs=1e-9)


@given(logprobs=distributions, k=st.integers(1, 12))
def test_top_k_keeps_the_k_likeliest(logprobs: np.ndarray, k: int) -> None:
    shaped = sampling.top_k(logprobs, k)
    kept = np.isfinite(shaped[0])
    assert total(shaped) == pytest.approx(1)
    assert kept.sum() >= min(k, logprobs.shape[1])
    threshold = sorted(logprobs[0], reverse=True)[: k + 1][min(k, logprobs.shape[1]) - 1]
    assert kept.tolist() == (logprobs[0] >= threshold).tolist()


@given(logprobs=distributions, p=st.floats(0.01, 1.0))
def test_top_p_keeps_the_smallest_likeliest_set_of_that_mass(logprobs: np.ndarray, p: float) -> None:
    shaped = sampling.top_p(logprobs, p)
    kept = np.isfinite(shaped[0])
    probabilities = np.exp(logprobs[0])
    assert total(shaped) == pytest.approx(1)
    assert probabilities[kept].sum() >= p - 1e-9
    assert probabilities[kept].sum() - probabilities[kept].min() < p + 1e-9
    assert kept.all() or probabilities[kept].min() >= probabilities[~kept].max()


def test_temperature_zero_takes_the_first_of_the_likeliest() -> None:
    logprobs = np.log(np.array([[0.2, 0.4, 0.4], [0.5, 0.3, 0.2]]))
    assert np.exp(sampling.temperature(logprobs, 0)).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert np.exp(sampling.temperature(logprobs, 1e-300))[1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("t", [-1, math.nan, math.inf])
def test_impossible_temperatures(t: float) -> None:
    with pytest.raises(UsageError, match="temperature"):
        sampling.temperature(np.zeros((1, 2)), t)


@pytest.mark.parametrize("p", [0, -0.5, 1.5, math.nan])
def test_impossible_masses(p: float) -> None:
    with pytest.raises(UsageError, match="top_p"):
        sampling.top_p(np.zeros((1, 2)), p)


def test_negative_k() -> None:
    with pytest.raises(UsageError, match="top_k"):
        sampling.top_k(np.zeros((1, 2)), -1)


def test_banned_tokens_have_no_mass_unless_nothing_else_has() -> None:
    logprobs = np.log(np.array([[0.5, 0.5], [1.0, 1e-300]]))
    logprobs[1, 1] = -np.inf
    assert np.exp(sampling.ban(logprobs, [0])).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "options", [{"order": 3}, {"backend": "rnn", "hidden_size": 8, "epochs": 1, "device": "cpu"}]
)
def test_draws_have_the_frequencies_of_the_probabilities(options: dict[str, object]) -> None:
    model = lmkit.train(STORY, tokenizer="word", holdout=0, **options)
    count = 20_000
    expected = np.exp(model.next_logprobs(model.start())[0].astype(np.float64))
    logprobs = np.tile(model.next_logprobs(model.start()), (count, 1))
    rng = np.random.default_rng(3)
    drawn = np.bincount(sampling.draw(logprobs, [rng] * count), minlength=len(expected))
    seen = expected * count >= 5
    chi_square = ((drawn - expected * count)[seen] ** 2 / (expected * count)[seen]).sum()
    degrees = seen.sum() - 1
    assert chi_square < degrees + 4 * math.sqrt(2 * degrees)
    assert drawn[expected == 0].sum() == 0


@pytest.fixture(scope="module")
def model() -> lmkit.LanguageModel:
    return lmkit.train(STORY * 3, order=4, tokenizer="word", holdout=0)


def test_a_line_ends_or_the_tokens_run_out(model: lmkit.LanguageModel) -> None:
    sample = lmkit.generate(model, "the owl saw", seed=1, max_tokens=2)[0]
    assert sample.reason == "max_tokens"
    assert len(sample.ids) == len(sample.logprobs) == 2
    sample = lmkit.generate(model, "the owl saw", seed=1, max_tokens=500)[0]
    assert sample.reason == "line end"
    assert sample.ids[-1] == EOS
    assert "\n" not in sample.text
    three = lmkit.generate(model, "the owl", seed=1, lines=3, max_tokens=500)[0]
    assert three.ids.count(EOS) == 3
    assert three.text.count("\n") == 2
    assert lmkit.generate(model, "the owl", max_tokens=0)[0].text == "the owl"


def test_log_probabilities_are_those_of_the_model(model: lmkit.LanguageModel) -> None:
    sample = lmkit.generate(model, "the owl", seed=2, temperature=0.7, top_k=5)[0]
    assert sample.reason == "line end"
    assert model.score(sample.text)[2:] == pytest.approx(sample.logprobs, abs=1e-5)


def test_unknown_words_stay_in_the_prefix_and_are_not_written(model: lmkit.LanguageModel) -> None:
    samples = lmkit.generate(model, "the zebra", samples=50, seed=1)
    assert all(sample.text.startswith("the zebra") and UNK not in sample.ids for sample in samples)
    assert len({sample.text for sample in samples}) > 10


def test_a_prefix_of_several_lines_and_one_with_a_space_at_its_end(model: lmkit.LanguageModel) -> None:
    assert lmkit.generate(model, "the owl .\nthe", seed=1)[0].text.startswith("the owl .\nthe ")
    text = lmkit.generate(model, "the ", seed=1)[0].text
    assert text.startswith("the ")
    assert "  " not in text
    assert lmkit.generate(model, "", seed=1)[0].text[:1].strip()


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"max_tokens": -1}, {"lines": -1}, {"seed": -1}, {"top_p": 0}]
)
def test_impossible_options(model: lmkit.LanguageModel, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        lmkit.generate(model, "the", **options)  # type: ignore[arg-type]
