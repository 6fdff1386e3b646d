"""The evaluator: what is counted, what is undefined, and what it says of itself."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import lmkit
from lmkit.errors import InputError
from tests.conftest import STORY


@pytest.fixture(scope="module")
def model() -> lmkit.LanguageModel:
    return lmkit.train(STORY, order=3, tokenizer="word", holdout=0)


def test_what_is_counted(model: lmkit.LanguageModel) -> None:
    result = lmkit.perplexity(model, "the  old\tfüchs\n\nfox")
    assert (result.tokens, result.lines, result.words, result.oov) == (4 + 3, 3, 4, 1)
    assert (result.characters, result.bytes) == (
        len("the  old\tfüchs\n\nfox\n"),
        len("the  old\tfüchs\n\nfox\n".encode()),
    )
    assert result.oov_rate == 1 / 7


def test_perplexity_with_and_without_unknown_words(model: lmkit.LanguageModel) -> None:
    result = lmkit.perplexity(model, "the zebra sat")
    scores = model.score(["the zebra sat"]).astype(float)
    assert result.perplexity == pytest.approx(math.exp(-scores.mean()))
    assert result.perplexity_without_oov == pytest.approx(math.exp(-(scores.sum() - scores[1]) / 3))
    assert result.cross_entropy == pytest.approx(math.log(result.perplexity))
    assert result.bits_per_token == pytest.approx(math.log2(result.perplexity))


def test_bits_per_byte_only_where_nothing_is_hidden(model: lmkit.LanguageModel) -> None:
    assert lmkit.perplexity(model, "the zebra").bits_per_byte is None
    result = lmkit.perplexity(model, "the fox")
    assert result.bits_per_byte == pytest.approx(-result.logprob / math.log(2) / 8)
    assert result.bits_per_character == result.bits_per_byte
    assert result.bits_per_word == pytest.approx(-result.logprob / math.log(2) / 2)
    assert (
        lmkit.perplexity(lmkit.train(STORY, tokenizer="byte", order=2, holdout=0), "zebra").bits_per_byte
        is not None
    )


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    model = lmkit.train(STORY, backend="uniform", tokenizer="word", holdout=0)
    result = lmkit.perplexity(model, STORY)
    assert result.perplexity == pytest.approx(len(model.tokenizer.vocab) - 1, rel=1e-6)


def test_unknown_words_written_as_unk_are_words_if_training_had_them() -> None:
    text = "the <unk> sat\nthe fox ran\n" * 5
    with_unk = lmkit.train(text, order=2, tokenizer="word", holdout=0)
    assert lmkit.perplexity(with_unk, "the <unk> zebra").oov == 1
    assert "unk:word" in with_unk.signature()
    without = lmkit.train(text.replace("<unk>", "owl"), order=2, tokenizer="word", holdout=0)
    assert lmkit.perplexity(without, "the <unk> zebra").oov == 2
    assert "unk:oov" in without.signature()


def test_edges(model: lmkit.LanguageModel) -> None:
    with pytest.raises(InputError, match="empty"):
        lmkit.perplexity(model, "")
    blank = lmkit.perplexity(model, "\n\n")
    assert (blank.tokens, blank.words) == (2, 0)
    assert math.isnan(blank.bits_per_word)
    unknown = lmkit.perplexity(model, "zebra yak\n")
    assert unknown.oov == 2
    assert math.isfinite(unknown.perplexity)
    assert lmkit.perplexity(model, "the fox").logprob == lmkit.perplexity(model, "the fox\n").logprob


def test_the_dictionary_is_json_with_the_promised_keys(model: lmkit.LanguageModel) -> None:
    values = json.loads(json.dumps(lmkit.perplexity(model, "\n").as_dict(), allow_nan=False))
    promised = {
        "perplexity",
        "perplexity_without_oov",
        "tokens",
        "oov",
        "lines",
        "cross_entropy",
        "bits_per_token",
    }
    assert values.keys() >= promised | {"bits_per_byte", "signature", "schema"}
    assert values["bits_per_word"] is None
    assert values["signature"] == (
        f"lmkit:{lmkit.__version__}|backend:ngram|order:3|smoothing:mkn|tok:word|vocab:22|unk:oov|context:line|eos:yes"
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_count": 2},
        {"vocab_size": 5},
        {"vocab": "words.txt"},
        {"tokenizer": "char"},
        {"tokenizer": "byte"},
    ],
    ids=str,
)
@pytest.mark.parametrize("text", [STORY, STORY + "a <unk> ran .\n"], ids=["", "unk"])
def test_a_loaded_model_measures_like_the_one_in_memory(options: dict[str, object], text: str) -> None:
    Path("words.txt").write_text("the fox owl ran .")
    model = lmkit.train(text, **{"tokenizer": "word", "holdout": 0, **options})  # type: ignore[arg-type]
    lmkit.save(model, "m")
    other = "the <unk> fox saw a zebra\n\n"
    assert lmkit.perplexity(lmkit.load("m"), other) == lmkit.perplexity(model, other)
