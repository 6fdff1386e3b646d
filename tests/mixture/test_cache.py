"""The cache: its definition, computed slowly; what it is good for; and folders that do not fit together."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit.errors import ModelFormatError, UsageError
from lmkit.mixture.cache import Cached, decay, mix_shares, recalled_shares
from tests.conftest import STORY
from tests.mixture.test_mixture import broken, ngram

REPEATS = "a zebra met a yak .\nthe yak was old .\n" * 20


def plain(
    text: list[int], t: int, half_lives: list[float], window: int
) -> tuple[int, list[dict[int, float]]]:
    """Give the longest match before place t, and the distribution that each length of match gives."""
    seen = text[max(0, t - window) : t]
    found: list[dict[int, float]] = []
    for m, half_life in enumerate(half_lives):
        counts: dict[int, float] = defaultdict(float)
        for i in range(m, len(seen)):
            if seen[i - m : i] == seen[len(seen) - m :]:
                counts[seen[i]] += 0.5 ** ((len(seen) - i) / half_life)
        if not counts:
            break
        found.append({token: count / sum(counts.values()) for token, count in counts.items()})
    return len(found) - 1, found


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.lists(st.floats(0.5, 50), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(0, 1000),
)
def test_the_compiled_loops_do_what_the_definition_says(
    text: list[int], half_lives: list[float], window: int, seed: int
) -> None:
    size = len(half_lives) + 1
    rng = np.random.default_rng(seed)
    weights = np.zeros((size, size))
    for row in range(size):
        weights[row, : row + 1] = rng.dirichlet(np.ones(row + 1))
    powers = decay(half_lives, window)
    tokens = np.array(text, np.int32)
    shares, longest = recalled_shares(tokens, 0, powers=powers, vocab_size=4)
    logprobs = np.log(rng.dirichlet(np.ones(4), len(text)))
    own = np.take_along_axis(logprobs, tokens[:, None].astype(np.int64), 1)[:, 0].astype(np.float32)
    mixed = mix_shares(own, shares, longest, weights)
    for t, token in enumerate(text):
        most, distributions = plain(text, t, half_lives, window)
        assert longest[t] == most
        row = weights[most + 1]
        expected = row[0] * np.exp(logprobs[t, token])
        for m, distribution in enumerate(distributions):
            assert shares[m, t] == pytest.approx(distribution.get(token, 0.0))
            expected += row[m + 1] * distribution.get(token, 0.0)
        assert np.exp(mixed[t]) == pytest.approx(expected, rel=1e-5)


def test_a_text_that_repeats_itself_becomes_likelier() -> None:
    model = ngram(STORY + REPEATS, min_count=1)
    cached = lmkit.tuned_cache(model, REPEATS.replace("yak", "owl"))
    text = REPEATS.replace("zebra", "fox")
    assert lmkit.perplexity(cached, text).perplexity < 0.7 * lmkit.perplexity(model, text).perplexity
    assert "adaptive:yes" in cached.signature()
    assert cached.context == "stream"


def test_a_text_that_does_not_repeat_itself_costs_little() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(200)]
    text = "\n".join(" ".join(rng.choice(words, 8)) for _ in range(300))
    model = lmkit.train(text, order=1, holdout=0, tokenizer="word")
    cached = lmkit.tuned_cache(model, text)
    other = "\n".join(" ".join(rng.choice(words, 8)) for _ in range(300))
    assert lmkit.perplexity(cached, other).perplexity < 1.02 * lmkit.perplexity(model, other).perplexity


@pytest.mark.parametrize("options", [{"order": 0}, {"order": 17}, {"window": 0}])
def test_impossible_caches_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="cache"):
        lmkit.tuned_cache(ngram(), STORY, **options)


@pytest.mark.parametrize(
    "change",
    [
        {"half_lives": []},
        {"half_lives": [0.0, 1.0]},
        {"half_lives": ["long", 1.0]},
        {"weights": [[1.0]]},
        {"weights": [[1, 0, 0], [0.5, 0.6, 0], [0.2, 0.3, 0.5]]},
        {"weights": [[0.5, 0.5, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]},
        {"window": 0},
        {"window": 1 << 40},
        {"window": None},
        {"models": []},
    ],
    ids=str,
)
def test_a_damaged_cache_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    weights = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]])
    model = Cached(model=ngram(), half_lives=[10.0, 20.0], weights=weights, window=9)
    lmkit.save(model, tmp_path / "model")
    assert np.array_equal(lmkit.load(tmp_path / "model").score("the fox"), model.score("the fox"))
    broken(tmp_path / "model", change)
    with pytest.raises(ModelFormatError):
        lmkit.load(tmp_path / "model")


def test_a_cache_that_does_not_help_is_left_out() -> None:
    """Every line is new: what has come says nothing of what comes."""
    letters = [f"{a}{b}{c}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz"]
    model = lmkit.train("\n".join(letters), tokenizer="word", order=1, holdout=0)
    said: list[str] = []
    found = lmkit.adapted(model, "\n".join(letters[::-1]), report=said.append)
    assert found is model
    assert "left out" in said[-1]


def test_what_was_said_long_ago_is_faint_but_not_nothing() -> None:
    model, weights = ngram(), np.array([[1, 0, 0], [0.5, 0.5, 0], [0.4, 0.3, 0.3]])
    cached = Cached(model=model, half_lives=[64.0, 1.0], weights=weights, window=4096)
    text = "fox " + "the " * 3000 + "fox ran ."  # a match three thousand half-lives away
    scores = cached.score(text)
    assert np.isfinite(scores).all()
    ids = model.tokenizer.encode_lines([text])
    _, state = cached.score_ids(ids[:3002])
    logprobs = cached.next_logprobs(state)[0]
    assert np.exp(logprobs.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
    assert logprobs[ids[3002]] == pytest.approx(scores[3002], abs=1e-5)


def test_caches_fitted_to_different_texts_have_different_signatures() -> None:
    one, other = (lmkit.tuned_cache(ngram(), text) for text in (REPEATS, REPEATS + STORY * 3))
    assert one.signature() != other.signature()
    again = lmkit.tuned_cache(ngram(), REPEATS)
    assert one.signature() == again.signature()
