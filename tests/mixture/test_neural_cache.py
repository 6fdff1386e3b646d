"""The continuous cache: that it is what its formula says, and that it helps; and models adapted as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lmkit
from lmkit.errors import ModelFormatError, UsageError
from lmkit.mixture.neural_cache import NeuralCache, directions, recalled_shares
from tests.conftest import STORY

REPEATS = "an owl met a yak .\nthe yak saw an owl .\n" * 12


def network(**options: Any) -> lmkit.RnnModel:
    settings = {"hidden_size": 8, "epochs": 3, "device": "cpu", "tokenizer": "word", "holdout": 0}
    model = lmkit.train(STORY + "an emu met a yak .\n", backend="rnn", **{**settings, **options})
    assert isinstance(model, lmkit.RnnModel)
    return model


@pytest.mark.parametrize("window", [1, 2, 5, 300, 1000])
@pytest.mark.parametrize("begin", [0, 3, 290])
def test_what_is_recalled_is_what_the_formula_says(window: int, begin: int) -> None:
    rng = np.random.default_rng(window)
    tokens = rng.integers(3, 9, 600).astype(np.int32)
    keys = directions(rng.normal(size=(600, 4)).astype(np.float32))
    found = recalled_shares(tokens, keys, begin, theta=3.0, window=window)
    for t in range(begin, 600):
        low = max(0, t - window)
        near = np.exp(3.0 * (keys[low:t] @ keys[t]).astype(np.float64))
        wanted = near[tokens[low:t] == tokens[t]].sum() / near.sum() if t else 0.0
        assert found[t - begin] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_the_mixture_is_of_model_and_cache() -> None:
    model = network()
    cached = NeuralCache(model=model, theta=8.0, weight=0.4, window=20)
    ids = model.tokenizer.encode_lines(REPEATS.split("\n")[:5])
    logprobs, features, _ = model.score_features(ids)
    shares = recalled_shares(ids, directions(features), 0, theta=8.0, window=20)
    wanted = np.log(0.6 * np.exp(logprobs.astype(np.float64)) + 0.4 * shares)
    wanted[0] = logprobs[0]  # there is nothing to remember yet
    assert cached.score_ids(ids)[0] == pytest.approx(wanted, abs=1e-5)
    assert logprobs == pytest.approx(model.score_ids(ids)[0], abs=1e-6)


def test_a_fitted_cache_helps_where_a_text_repeats_itself() -> None:
    model = network()
    cached = lmkit.tuned_neural_cache(model, REPEATS.replace("owl", "emu"))
    assert 0 < cached.weight < 1
    assert lmkit.perplexity(cached, REPEATS).perplexity < 0.8 * lmkit.perplexity(model, REPEATS).perplexity
    assert "adaptive:yes" in cached.signature()


def test_theta_and_weight_are_the_best_there_are() -> None:
    model = network()
    cached = lmkit.tuned_neural_cache(model, REPEATS)
    best = cached.score(REPEATS.split("\n")[:-1]).sum()
    others = [(cached.theta * factor, cached.weight) for factor in (1.5, 1 / 1.5)]
    others += [(cached.theta, min(cached.weight * factor, 0.999)) for factor in (0.9, 1.1)]
    for theta, weight in others:
        if theta <= 40:  # the sharpest there is
            other = NeuralCache(model=model, theta=theta, weight=weight)
            assert other.score(REPEATS.split("\n")[:-1]).sum() <= best + 1e-2


def test_a_whole_mixture_is_adapted() -> None:
    both = lmkit.mix(
        [network(), lmkit.train(STORY, order=3, tokenizer="word", holdout=0)],  # of other words
        tune=REPEATS,
    )
    said: list[str] = []
    found = lmkit.adapted(both, REPEATS, dynamic=True, report=said.append)
    assert isinstance(found, lmkit.Cached)
    assert isinstance(found.model, lmkit.Mixture)
    assert isinstance(found.model.models[0], NeuralCache)
    assert isinstance(found.model.models[0].model, lmkit.DynamicModel)
    assert found.model.weights.sum() == pytest.approx(1)
    assert lmkit.perplexity(found, REPEATS).perplexity < 0.5 * lmkit.perplexity(both, REPEATS).perplexity
    falling = [float(line.split()[-1]) for line in said[1:]]
    assert falling == sorted(falling, reverse=True)
    assert len(falling) == 4  # as it is, learning, and both caches
    assert found.adaptive
    assert not both.adaptive
    signature = found.signature()
    assert all(part in signature for part in ("4-gram", "continuous", "dynamic=", "weights", "adaptive:yes"))
    with pytest.raises(UsageError, match="already"):
        lmkit.adapted(found, REPEATS)
    wider = lmkit.mix(
        [lmkit.train(REPEATS, order=2, tokenizer="word", holdout=0), network()], weights=[0.1, 0.9]
    )
    inside = lmkit.adapted(wider, REPEATS).model  # type: ignore[attr-defined]
    assert isinstance(inside.models[1].model, NeuralCache)  # within the larger vocabulary


def test_what_cannot_be_adapted_says_so() -> None:
    ngram = lmkit.train(STORY, order=2, tokenizer="word", holdout=0)
    assert isinstance(lmkit.adapted(ngram, REPEATS), lmkit.Cached)
    with pytest.raises(UsageError, match="recurrent"):
        lmkit.adapted(ngram, REPEATS, dynamic=True)
    with pytest.raises(UsageError, match="nothing"):
        lmkit.adapted(ngram, REPEATS, cache=False)
    with pytest.raises(UsageError, match="recurrent"):
        lmkit.tuned_neural_cache(ngram, REPEATS)
    with pytest.raises(UsageError, match="window"):
        lmkit.tuned_neural_cache(network(), REPEATS, window=0)


@pytest.mark.parametrize(
    "wrong",
    [{"theta": 0}, {"theta": 99}, {"weight": 1.0}, {"window": 0}, {"theta": "x"}, {"models": []}],
    ids=str,
)
def test_a_damaged_folder_is_refused(wrong: dict[str, Any]) -> None:
    cached = NeuralCache(model=network(epochs=1), theta=4.0, weight=0.5)
    with pytest.raises(ModelFormatError):
        NeuralCache.from_arrays({**cached.config(), **wrong}, cached.arrays(), cached.tokenizer)
