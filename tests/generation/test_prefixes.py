"""Prefixes of any kind, and the word that is being typed."""

from __future__ import annotations

import numpy as np
import pytest

import lmkit
from lmkit.errors import InputError, UsageError
from lmkit.generation.prefixes import Reader, Spelling, read_prefix
from lmkit.model import LanguageModel
from lmkit.text.vocabulary import UNK


def test_unknown_words_stay_in_the_prefix_and_are_not_written(words: LanguageModel) -> None:
    samples = lmkit.generate(words, "the zebra", samples=50, seed=1)
    assert all(sample.text.startswith("the zebra") and UNK not in sample.ids for sample in samples)
    assert len({sample.text for sample in samples}) > 10


def test_a_part_of_a_word_is_completed_unless_a_space_says_that_it_is_whole(words: LanguageModel) -> None:
    for sample in lmkit.generate(words, "the yo", samples=20, seed=1):
        assert sample.text.startswith("the young")
        assert len(sample.ids) == len(sample.logprobs)
    for sample in lmkit.generate(words, "the yo ", samples=20, seed=1):
        assert sample.text.startswith("the yo ")
        assert not sample.text.startswith("the young")
    for sample in lmkit.generate(words, "the", samples=20, seed=1):  # known, if part of "there", too
        assert sample.text == "the" or sample.text[3] in " ,.\n"


def test_spaces_and_lines_in_a_prefix(words: LanguageModel) -> None:
    assert lmkit.generate(words, "the owl .\nthe", seed=1)[0].text.startswith("the owl .\nthe ")
    text = lmkit.generate(words, "the ", seed=1)[0].text
    assert text.startswith("the ")
    assert "  " not in text
    assert lmkit.generate(words, "", seed=1)[0].text[:1].strip()
    assert lmkit.generate(words, "the owl .\n", seed=1)[0].text.startswith("the owl .\n")


@pytest.mark.parametrize(
    "prefix", ["the old f", "the old ", "the old", "th", " ", "señ", "the owl .\nthe o", "走"]
)
@pytest.mark.parametrize("kind", ["characters", "octets", "subwords", "words"])
def test_any_prefix_is_gone_on_from(kind: str, prefix: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    for sample in lmkit.generate(model, prefix, samples=5, seed=1, max_tokens=20):
        assert sample.text.startswith(prefix)


def test_subwords_are_completed_across_the_end_of_the_prefix(subwords: LanguageModel) -> None:
    for prefix, wanted in (("the old ", "the old fox"), ("the ow", "the owl"), ("the you", "the young")):
        texts = [s.text for s in lmkit.generate(subwords, prefix, samples=40, seed=1)]
        assert sum(text.startswith(wanted) for text in texts) > 5
    prefix = read_prefix(subwords.tokenizer, "the old ")
    assert prefix.typed == b" "
    assert Spelling(subwords.tokenizer).allowed(b" ")[subwords.tokenizer.encode(" fox")[0]]


def test_several_prefixes_at_once_are_as_each_alone(words: LanguageModel, network: LanguageModel) -> None:
    prefixes = ["the old fox", "", "a zebra", "the o", "the owl .\nthe"]
    for model in (words, network):
        together = lmkit.generate(model, prefixes, samples=2, seed=4, lines=1)
        alone = [
            sample
            for prefix in prefixes
            for sample in lmkit.generate(model, prefix, samples=2, seed=4, lines=1)
        ]
        assert [sample.text for sample in together] == [sample.text for sample in alone]


def test_prefixes_that_are_no_text(words: LanguageModel) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        lmkit.generate(words, "the \udcff")
    assert lmkit.generate(words, []) == []


def test_a_reader_goes_on_from_what_it_read(network: LanguageModel) -> None:
    reader = Reader(network)
    ids = network.tokenizer.encode("the old fox sat under the tree")
    for part in (ids[:3], ids, ids[:2], ids):
        plain = network.next_logprobs(network.score_ids(part)[1])
        assert network.next_logprobs(reader.state(part)) == pytest.approx(plain, abs=1e-5)


def test_the_likeliest_completions_of_a_word(words: LanguageModel) -> None:
    found = lmkit.complete(words, "the o")
    assert {entry.word for entry in found} == {"old", "owl", "over"}
    state = words.score_ids(words.tokenizer.encode("the"))[1]
    p = np.exp(words.next_logprobs(state)[0].astype(np.float64))
    among = {
        word: p[words.tokenizer.vocab.id(word)] for word in words.tokenizer.vocab.tokens if word[0] == "o"
    }
    assert {e.word: e.probability for e in found} == pytest.approx(
        {w: x / sum(among.values()) for w, x in among.items()}
    )
    assert lmkit.complete(words, "the\to") == found
    assert lmkit.complete(words, "the zeb") == []
    assert len(lmkit.complete(words, "the ", samples=3)) == 3
    assert lmkit.complete(words, "")[0].word in ("the", "a")
    with pytest.raises(UsageError, match="samples"):
        lmkit.complete(words, "the", samples=0)


@pytest.mark.parametrize("kind", ["characters", "octets", "subwords"])
def test_completions_spelt_in_tokens(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    found = lmkit.complete(model, "the old fo")
    assert found[0].word == "fox"
    assert sum(entry.probability for entry in found) < 1 + 1e-6
    assert {entry.word for entry in lmkit.complete(model, "the old ", samples=2)} == {"fox", "owl"}
    if kind == "characters":  # the probability of the word and of anything that ends it, by the chain rule
        lines = [f"the old fox{end}" for end in " .,"]
        before = float(model.score_ids(model.tokenizer.encode("the old fo"))[0].sum())
        whole = [float(model.score_ids(model.tokenizer.encode(line))[0].sum()) for line in lines]
        whole.append(float(model.score("the old fox").sum()))
        assert found[0].probability == pytest.approx(sum(np.exp(x - before) for x in whole), rel=0.02)
