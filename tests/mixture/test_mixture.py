"""Mixtures: weights that are best, vocabularies that differ, and folders that do not fit together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit.errors import ModelFormatError, UsageError
from lmkit.mixture.em import best_weights
from lmkit.tensors import read_tensors, write_tensors
from tests.conftest import STORY

OTHER = "the old cat sat in the house .\nthe dog saw the cat .\na dog ran to the house .\n"


def ngram(text: str = STORY, **options: object) -> lmkit.LanguageModel:
    return lmkit.train(text, **{"tokenizer": "word", "holdout": 0, "order": 3, **options})


@given(st.integers(2, 4), st.integers(1, 30), st.integers(0, 1000))
def test_no_other_weights_make_a_text_likelier(models: int, tokens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logprobs = np.log(rng.uniform(0.001, 1, (models, tokens)))
    weights = best_weights(logprobs)

    def likelihood(chosen: np.ndarray) -> float:
        return float(np.log(chosen @ np.exp(logprobs)).mean())

    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    for other in rng.dirichlet(np.ones(models), 50):
        assert likelihood(other) <= likelihood(weights) + 1e-4


def test_what_is_owed_before_the_text_is_read_draws_the_weights() -> None:
    logprobs = np.log([[0.9] * 10, [0.1] * 10])
    assert best_weights(logprobs).round(3).tolist() == [1, 0]
    assert best_weights(logprobs, prior=np.array([0.0, 1e6])).round(2).tolist() == [0, 1]
    assert best_weights(np.empty((2, 0)), prior=np.array([1.0, 3.0])).tolist() == [0.25, 0.75]


def test_a_mixture_is_better_than_its_parts_on_the_text_it_was_tuned_on(tmp_path: Path) -> None:
    known = str(tmp_path / "words.txt")
    Path(known).write_text(STORY + OTHER)
    parts = [ngram(vocab=known), ngram(OTHER, vocab=known)]
    text = STORY.replace("fox", "cat") + OTHER.replace("cat", "fox")
    mixture = lmkit.mix(parts, tune=text)
    best = min(lmkit.perplexity(part, text).perplexity for part in parts)
    assert lmkit.perplexity(mixture, text).perplexity < best


def test_the_vocabulary_of_a_mixture_holds_the_words_of_all() -> None:
    story, other = ngram(), ngram(OTHER)
    mixture = lmkit.mix([story, other], weights=[0.5, 0.5])
    assert set(mixture.tokenizer.vocab.tokens) == set(story.tokenizer.vocab.tokens) | set(
        other.tokenizer.vocab.tokens
    )
    assert lmkit.perplexity(mixture, "the fox saw the dog").oov == 0
    alone = story.score("the fox").astype(np.float64)  # words that both know: the plain average
    both = np.log(0.5 * np.exp(alone) + 0.5 * np.exp(other.score("the fox").astype(np.float64)))
    both[1] = np.log(0.5 * np.exp(alone[1]))  # fox, which the other has never seen
    assert mixture.score("the fox") == pytest.approx(both, abs=1e-5)


def test_the_order_of_the_vocabulary_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(" ".join(reversed(ngram().tokenizer.vocab.tokens[3:])))
    same, turned = ngram(order=2), ngram(order=2, vocab=str(tmp_path / "words.txt"))
    assert same.tokenizer.vocab != turned.tokenizer.vocab
    mixture = lmkit.mix([same, turned], weights=[0.4, 0.6])
    assert mixture.score(["the old fox", ""]) == pytest.approx(same.score(["the old fox", ""]), abs=1e-5)


@pytest.mark.parametrize("other", [{"tokenizer": "char"}, {"tokenizer": "word", "specials": "skip"}])
def test_models_that_cut_texts_differently_cannot_be_mixed(other: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="tokens in different ways"):
        lmkit.mix([ngram(), ngram(**other)], weights=[0.5, 0.5])


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.6], [-0.5, 1.5], [np.nan, 1], [0.2, 0.2, 0.6], []])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="weights"):
        lmkit.mix([ngram(), ngram(order=2)], weights=weights)


def test_the_order_of_the_parts_does_not_say_what_an_unknown_word_is() -> None:
    never, wrote = ngram("the fox ran .\nthe fox sat .\n"), ngram("the <unk> ran .\n")
    text = "the <unk> ran .\nthe zebra sat .\n"
    found = [
        lmkit.perplexity(lmkit.mix(parts, weights=[0.5, 0.5]), text)
        for parts in ([never, wrote], [wrote, never])
    ]
    assert [(result.oov, result.bits_per_byte is None) for result in found] == [(1, True)] * 2
    assert found[0].perplexity == pytest.approx(found[1].perplexity)


def test_a_mixture_needs_models_and_one_way_to_weigh_them() -> None:
    with pytest.raises(UsageError, match="two models"):
        lmkit.mix([ngram()], weights=[1.0])
    with pytest.raises(UsageError, match="weights themselves"):
        lmkit.mix([ngram(), ngram()])
    with pytest.raises(lmkit.InputError):
        lmkit.mix([ngram(), ngram()], tune=lmkit.Corpus.from_text(""))


def test_no_text_is_trained_on_by_a_mixture() -> None:
    for backend in ("mixture", "cache", "widened"):
        with pytest.raises(UsageError, match="lmkit mix"):
            lmkit.train(STORY, backend=backend)


def test_a_mixture_of_mixtures_comes_back(tmp_path: Path) -> None:
    inner = lmkit.mix([ngram(), ngram(OTHER)], weights=[0.5, 0.5])
    outer = lmkit.mix([inner, ngram(OTHER, order=1)], weights=[0.9, 0.1])
    lmkit.save(outer, tmp_path / "outer")
    loaded = lmkit.load(tmp_path / "outer")
    lines = ["the dog saw the fox", "a zebra"]
    assert np.array_equal(loaded.score(lines), outer.score(lines))
    assert loaded.signature() == outer.signature()
    assert loaded.capacity() == outer.capacity() == inner.capacity() + ngram(OTHER, order=1).capacity()


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [0.9]},
        {"weights": "half"},
        {"weights": None},
        {"models": []},
        {"models": [{"backend": "nothing", "model": {}}] * 2},
        {"models": [{"model": {}}] * 2},
        {"models": [{"backend": "uniform", "model": {}}] * 3},
    ],
    ids=str,
)
def test_a_damaged_mixture_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    lmkit.save(lmkit.mix([ngram(), ngram(OTHER)], weights=[0.5, 0.5]), tmp_path / "model")
    broken(tmp_path / "model", change)
    with pytest.raises(ModelFormatError):
        lmkit.load(tmp_path / "model")


@pytest.mark.parametrize("models", [[], None, 3, [{"backend": "uniform", "model": {}}] * 2], ids=str)
def test_a_damaged_part_is_refused(models: object, tmp_path: Path) -> None:
    lmkit.save(lmkit.mix([ngram(), ngram(OTHER)], weights=[0.5, 0.5]), tmp_path / "model")
    inside = json.loads((tmp_path / "model/config.json").read_text())["model"]["models"]
    assert inside[0]["backend"] == "widened"
    inside[0]["model"]["models"] = models
    broken(tmp_path / "model", {"models": inside})
    with pytest.raises(ModelFormatError):
        lmkit.load(tmp_path / "model")


@pytest.mark.parametrize("tokens", [[0, 1, 2, 3, 3], [0, 1, 2, 3, 999], [0, 2, 1, 3, 4], [0, 1, 2, -1, 4]])
def test_ids_of_a_part_that_are_none_are_refused(tokens: list[int], tmp_path: Path) -> None:
    small = lmkit.train("fox owl\n", backend="uniform", tokenizer="word", holdout=0)
    lmkit.save(lmkit.mix([ngram(), small], weights=[0.5, 0.5]), tmp_path / "model")
    arrays = {name: np.array(a) for name, a in read_tensors(tmp_path / "model/model.safetensors").items()}
    arrays["1.tokens"] = np.array(tokens, np.int32)
    write_tensors(tmp_path / "model/model.safetensors", arrays)
    broken(tmp_path / "model", {})
    with pytest.raises(ModelFormatError, match="tokens"):
        lmkit.load(tmp_path / "model")


def broken(folder: Path, change: dict[str, object]) -> None:
    """Change what `config.json` says of the model, and let the manifest agree."""
    from lmkit.folders import write_manifest

    config = json.loads((folder / "config.json").read_text())
    config["model"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "manifest.json").unlink()
    write_manifest(folder)
