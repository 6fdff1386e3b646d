"""Texts as they are drawn: the frequencies, the seeds, the ends, and that nothing depends on what is beside them."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

import lmkit
from lmkit.errors import UsageError
from lmkit.generation import stream
from lmkit.model import LanguageModel
from lmkit.text.vocabulary import EOS, UNK

KINDS = ["words", "network", "mixture", "characters", "octets", "subwords"]


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    found: LanguageModel = request.getfixturevalue(request.param)
    return found


def after(model: LanguageModel, text: str) -> np.ndarray:
    return np.exp(model.next_logprobs(model.score_ids(model.tokenizer.encode(text))[1])[0].astype(np.float64))


def agree(drawn: np.ndarray, p: np.ndarray) -> bool:
    """A chi-square test that a right sampler fails once in 30,000 times; what is never to come never comes."""
    expected = p / p.sum() * drawn.sum()
    common = expected >= 5
    seen, wanted = [*drawn[common], drawn[~common].sum()], [*expected[common], expected[~common].sum()]
    chi_square = sum((a - b) ** 2 / b for a, b in zip(seen, wanted, strict=True) if b > 0)
    degrees = sum(b > 0 for b in wanted) - 1
    return bool(chi_square < degrees + 4 * math.sqrt(2 * degrees) + 4 and drawn[p == 0].sum() == 0)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("words", {}),
        ("network", {}),
        ("mixture", {}),
        ("words", {"allow_unk": True}),
        ("words", {"temperature": 0.7}),
        ("mixture", {"temperature": 0.7, "top_k": 5}),
    ],
    ids=str,
)
def test_draws_have_the_frequencies_of_the_probabilities(
    kind: str, options: dict[str, object], request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    count = 30_000 if options else 100_000
    texts = stream(model, "the old", samples=count, max_tokens=1, seed=11, **options)
    p = after(model, "the old")
    drawn = np.bincount([token.id for token in texts], minlength=len(p))
    if "allow_unk" not in options:
        p[UNK] = 0.0
    p = np.where(p >= np.sort(p)[-int(options.get("top_k", 0))], p, 0.0) ** (
        1 / options.get("temperature", 1.0)
    )
    assert drawn.sum() == count
    assert agree(drawn, p)


def test_a_whole_text_has_its_probability(words: LanguageModel) -> None:
    texts = lmkit.generate(words, "the old", samples=20_000, seed=1, raw=True, allow_unk=True)
    found = sum(sample.text == "the old fox ran over the hill ." for sample in texts)
    p = float(np.exp(words.score("the old fox ran over the hill .")[2:].sum(dtype=np.float64)))
    assert abs(found - p * 20_000) < 5 * math.sqrt(p * (1 - p) * 20_000)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.2}])
def test_a_text_does_not_depend_on_what_is_written_beside_it(
    model: LanguageModel, options: dict[str, object]
) -> None:
    more = {"max_tokens": 30, "lines": 0, "seed": 3, **options}
    many = lmkit.generate(model, ["the", "the old f", ""], samples=9, **more)
    for number, prefix in enumerate(["the", "the old f", ""]):
        for count in (1, 4, 9):
            alone = lmkit.generate(model, prefix, samples=count, **more)
            assert [s.ids for s in alone] == [s.ids for s in many[9 * number : 9 * number + count]]
            assert [s.text for s in alone] == [s.text for s in many[9 * number : 9 * number + count]]


def test_texts_that_do_not_fit_beside_each_other_are_the_same(
    words: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"samples": 20, "seed": 5, "top_k": 9}
    before = [s.text for s in lmkit.generate(words, ["the", "a"], **options)]
    monkeypatch.setattr("lmkit.generation.streaming._LOGPROBS", 3 * len(words.tokenizer.vocab))
    assert [s.text for s in lmkit.generate(words, ["the", "a"], **options)] == before


def test_the_stream_is_the_text(model: LanguageModel) -> None:
    for options in ({}, {"stop": ["fox"]}, {"capitalize": True}, {"raw": True}, {"top_k": 3}):
        whole = lmkit.generate(model, "the", samples=3, seed=2, max_tokens=40, **options)
        texts = ["the"] * 3
        for token in stream(model, "the", samples=3, seed=2, max_tokens=40, **options):
            texts[token.sample] += token.text
        assert texts == [sample.text for sample in whole]


def test_log_probabilities_are_those_of_the_model(model: LanguageModel) -> None:
    sample = lmkit.generate(model, "the o", seed=2, temperature=0.7, top_k=5, lines=1, raw=True)[0]
    given = len(sample.ids)
    assert sample.reason == "line end"
    if "bpe" not in model.signature():  # subwords of a text can be cut in several ways
        assert model.score(sample.text)[-given:] == pytest.approx(sample.logprobs, abs=1e-4)


def test_a_line_ends_or_the_tokens_run_out(words: LanguageModel) -> None:
    sample = lmkit.generate(words, "the owl saw", seed=1, max_tokens=2)[0]
    assert sample.reason == "max_tokens"
    assert len(sample.ids) == len(sample.logprobs) == 2
    sample = lmkit.generate(words, "the owl saw", seed=1, max_tokens=500)[0]
    assert sample.reason == "line end"
    assert sample.ids[-1] == EOS
    assert "\n" not in sample.text
    three = lmkit.generate(words, "the owl", seed=1, lines=3, max_tokens=500)[0]
    assert three.ids.count(EOS) == 3
    assert three.text.count("\n") == 2
    assert lmkit.generate(words, "the owl", max_tokens=0)[0].text == "the owl"
    assert list(stream(words, "the owl", max_tokens=0)) == []


def test_a_stop_string_across_tokens_ends_the_text_before_it(model: LanguageModel) -> None:
    whole = lmkit.generate(model, "the", seed=4, max_tokens=60, lines=0)[0]
    new = whole.text[len("the") :]
    for begin in range(1, len(new) - 5, 7):
        stop = new[begin : begin + 5]
        sample = lmkit.generate(model, "the", seed=4, max_tokens=60, lines=0, stop=["never there", stop])[0]
        assert sample.text == "the" + new[: new.find(stop)]
        assert sample.reason == "stop"
        assert sample.ids == whole.ids[: len(sample.ids)]
    assert lmkit.generate(model, "the", seed=4, max_tokens=60, lines=0, stop="\0")[0].text == whole.text


def test_the_time_ends(network: LanguageModel) -> None:
    sample = lmkit.generate(network, "the", lines=0, max_tokens=10**7, max_time="0.2s", seed=1)[0]
    assert sample.reason == "max_time"
    assert sample.ids


def test_words_that_must_come_and_words_that_must_not(words: LanguageModel) -> None:
    for sample in lmkit.generate(words, "the", samples=40, seed=1, force=["high", "young"], raw=True):
        assert {"high", "young"} <= set(sample.text.split())
        assert sample.reason == "line end"
    tight = lmkit.generate(words, "the", samples=40, seed=1, force=["high", "young"], max_tokens=3)
    assert all({"high", "young"} <= set(s.text.split()) for s in tight)
    for sample in lmkit.generate(
        words, "the", samples=40, seed=1, ban=["fox", "over the", "nowhere"], raw=True
    ):
        assert "fox" not in sample.text.split()
        assert "over the" not in sample.text
    for sample in lmkit.generate(words, "", samples=40, seed=1, only="[a-z]{3}"):
        assert all(len(word) == 3 for word in sample.text.split())
    for sample in lmkit.generate(words, "the", samples=40, seed=1, min_tokens=12):
        assert len(sample.ids) > 12


def test_characters_that_spell_a_banned_word(characters: LanguageModel) -> None:
    for sample in lmkit.generate(characters, "the old ", samples=20, seed=1, ban=["fox"]):
        assert "fox" not in sample.text[len("the old ") :]
    assert any("fox" in s.text for s in lmkit.generate(characters, "the old ", samples=20, seed=1))


def test_no_n_gram_comes_twice(model: LanguageModel) -> None:
    for sample in lmkit.generate(model, "the", samples=5, seed=1, lines=0, max_tokens=60, no_repeat_ngram=4):
        grams = [tuple(sample.ids[i : i + 4]) for i in range(len(sample.ids) - 3)]
        assert len(set(grams)) == len(grams)


def test_greedy_takes_the_likeliest_token(model: LanguageModel) -> None:
    sample = lmkit.generate(model, "", temperature=0, max_tokens=8, lines=0)[0]
    state = model.start()
    for token in sample.ids:
        logprobs = model.next_logprobs(state)[0]
        logprobs[UNK] = -np.inf
        assert token == logprobs.argmax()
        state = model.step(state, np.array([token]))


def test_the_likeliest_of_several(words: LanguageModel) -> None:
    all_of_them = lmkit.generate(words, ["the", "a"], samples=30, seed=1)
    for power in (0.0, 1.0):
        best = lmkit.generate(words, ["the", "a"], samples=2, best_of=30, seed=1, length_penalty=power)
        for number in range(2):
            of_prefix = sorted(all_of_them[30 * number : 30 * number + 30], key=lambda s: -s.score(power))
            assert [s.text for s in best[2 * number : 2 * number + 2]] == [s.text for s in of_prefix[:2]]


def test_a_long_text_takes_no_more_memory_than_a_short_one(
    words: LanguageModel, characters: LanguageModel
) -> None:
    cached = lmkit.tuned_cache(words, "the old fox ran .\n" * 5, order=2, window=50)
    for model, options in (
        (characters, {}),
        (cached, {}),
        (words, {"frequency_penalty": 0.1, "look_back": 64}),
    ):
        tokens = stream(model, "the", lines=0, max_tokens=1_500, seed=1, stop=["zzz"], **options)
        for _ in range(500):
            next(tokens)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in tokens:
            pass
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 20_000


@pytest.mark.parametrize(
    "options",
    [
        {"samples": 0},
        {"max_tokens": -1},
        {"lines": -1},
        {"seed": -1},
        {"seed": 1 << 63},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"typical_p": 0},
        {"min_p": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": -1},
        {"top_k": -1},
        {"epsilon_cutoff": 2},
        {"eta_cutoff": math.nan},
        {"repetition_penalty": -1},
        {"frequency_penalty": math.inf},
        {"presence_penalty": math.nan},
        {"no_repeat_ngram": -1},
        {"look_back": 0},
        {"max_time": "soon"},
        {"min_tokens": -1},
        {"beams": 0},
        {"best_of": 0},
        {"samples": 3, "best_of": 2},
        {"samples": 3, "beams": 2},
        {"beams": 2, "best_of": 2},
        {"beams": 2, "temperature": 0},
        {"only": "["},
        {"only": "zebra"},
        {"force": ["zebra"]},
        {"force": ["fox", "owl"], "max_tokens": 1},
        {"temprature": 1},
    ],
    ids=str,
)
def test_impossible_options(words: LanguageModel, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        lmkit.generate(words, "the", **options)


def test_possible_options_at_the_ends_of_their_ranges(words: LanguageModel) -> None:
    for options in (
        {"top_k": 10**9},
        {"min_p": 1},
        {"epsilon_cutoff": 1},
        {"eta_cutoff": 1},
        {"top_p": 1e-9},
        {"typical_p": 1e-9},
        {"temperature": 1e-300},
        {"temperature": 1e300},
        {"repetition_penalty": 0},
        {"repetition_penalty": 1e300},
        {"frequency_penalty": 1e300},
        {"presence_penalty": -1e300},
        {"no_repeat_ngram": 10**6},
        {"no_repeat_ngram": 1},
        {"ban": list(words.tokenizer.vocab.tokens[3:])},
        {"min_tokens": 10**6},
    ):
        sample = lmkit.generate(words, "the", max_tokens=20, seed=1, **options)[0]
        assert len(sample.ids) == 20 or sample.reason == "line end"
        assert np.isfinite(sample.logprobs).all()


@pytest.mark.parametrize("head", ["full", "adaptive"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "sru", "mogrifier", "mlp"])
def test_a_network_gives_a_row_the_same_bits_in_any_batch(cell: str, head: str) -> None:
    import torch

    from lmkit.rnn.model import RnnModel
    from lmkit.rnn.network import Network
    from lmkit.text.vocabulary import Vocabulary
    from lmkit.text.word import WordTokenizer

    sizes = {"cell": cell, "num_layers": 2, "hidden_size": 37, "embedding_size": 37, "head": head}
    torch.manual_seed(1)
    network = Network(vocab_size=3_000, **sizes)
    network.initialize("uniform", torch.full((3_000,), 1 / 3_000))
    tokenizer = WordTokenizer(vocab=Vocabulary.from_tokens(f"w{i}" for i in range(2_997)))
    model = RnnModel(tokenizer=tokenizer, network=network, settings=sizes)
    rng = np.random.default_rng(2)
    tokens, points = rng.integers(3, 3_000, (5, 33)), rng.random(33)
    state, alone = model.start(33), model.start(1)
    for step in tokens:
        state, alone = model.step(state, step), model.step(alone, step[7:8])
    assert alone == state.select([7])
    assert (model.next_logprobs(alone)[0] == model.next_logprobs(state)[7]).all()
    assert model.draw(alone, points[7:8])[0][0] == model.draw(state, points)[0][7]
    assert model.draw(alone, points[7:8], logprobs=False)[0][0] == model.draw(state, points)[0][7]
