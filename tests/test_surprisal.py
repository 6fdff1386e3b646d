"""Surprisal: parts sum to the whole, words are words whatever the tokens, and what else is said of a token."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit.model import Context
from tests.conftest import STORY

Run = Callable[..., subprocess.CompletedProcess[bytes]]
TEXT = "the  old fox sat .\n\n an\towl 狐 ran \n   \nfüchs fox\n\nthe tree"
TOKENIZERS = ["word", "char", "byte", "bpe"]
CONTEXTS: list[Context] = ["line", "document", "stream"]
_trained: dict[str, lmkit.LanguageModel] = {}


def model_of(name: str) -> lmkit.LanguageModel:
    backend, tokenizer = name.split(" ")
    if tokenizer == "bpe":
        pytest.importorskip("tokenizers", reason="needs the extra: subword")
    options = {"hidden_size": 8, "epochs": 1, "device": "cpu"} if backend == "rnn" else {"order": 3}
    if name not in _trained:
        _trained[name] = lmkit.train(STORY, backend=backend, tokenizer=tokenizer, holdout=0, **options)
    return _trained[name]


@pytest.fixture(params=[f"{backend} {tokenizer}" for backend in ("ngram", "rnn") for tokenizer in TOKENIZERS])
def model(request: pytest.FixtureRequest) -> lmkit.LanguageModel:
    return model_of(request.param)


@pytest.mark.parametrize("context", CONTEXTS)
def test_tokens_words_and_lines_sum_to_the_text(model: lmkit.LanguageModel, context: Context) -> None:
    whole = lmkit.perplexity(model, TEXT, context=context)
    tokens = list(lmkit.token_scores(model, TEXT, context=context))
    words = list(lmkit.word_scores(model, TEXT, context=context))
    lines = list(lmkit.line_scores(model, TEXT, context=context))
    assert (len(tokens), sum(token.oov for token in tokens)) == (whole.tokens, whole.oov)
    for parts in (tokens, words, lines):
        assert math.fsum(part.logprob for part in parts) == pytest.approx(whole.logprob, rel=1e-12)
    for number, of_line in groupby(words, key=lambda word: word.line):
        assert math.fsum(word.logprob for word in of_line) == pytest.approx(
            lines[number - 1].logprob, rel=1e-12
        )


def test_every_tokenizer_has_the_same_words() -> None:
    lines = TEXT.split("\n")
    for name in ("ngram word", "rnn char", "ngram byte", "ngram bpe"):
        words = list(lmkit.word_scores(model_of(name), TEXT))
        said = [[word.text for word in of_line] for _, of_line in groupby(words, key=lambda word: word.line)]
        assert said == [[*line.split(), "</s>"] for line in lines]
        assert all(
            lines[word.line - 1][word.start : word.end] == word.text for word in words if word.text != "</s>"
        )


def test_a_space_is_of_the_word_before_it() -> None:
    model = model_of("ngram char")
    tokens = {(token.line, token.start): token.logprob for token in lmkit.token_scores(model, "an owl")}
    an, owl, end = lmkit.word_scores(model, "an owl")
    assert an.logprob == pytest.approx(sum(tokens[1, place] for place in range(3)))
    assert owl.logprob == pytest.approx(sum(tokens[1, place] for place in range(3, 6)))
    assert end.logprob == tokens[1, 6]


def test_tokens_are_where_they_stand(model: lmkit.LanguageModel) -> None:
    lines = TEXT.split("\n")
    tokens = list(lmkit.token_scores(model, TEXT))
    for number, of_line in groupby(tokens, key=lambda token: token.line):
        *inside, end = of_line
        line = lines[number - 1]
        assert (end.text, end.start, end.end) == ("</s>", len(line), len(line))
        assert all(line[token.start : token.end] == token.text for token in inside)
        if model.tokenizer.kind in ("char", "bpe", "byte"):
            covered = {place for token in inside for place in range(token.start, token.end)}
            assert covered == set(range(len(line)))


def test_subwords_that_cut_characters_in_two_make_whole_words() -> None:
    pytest.importorskip("tokenizers", reason="needs the extra: subword")
    text = "лиса бежала\nсова ждала лису\n" * 9
    model = lmkit.train(text, tokenizer="bpe", vocab_size=262, order=2, holdout=0)
    found = list(lmkit.word_scores(model, "сова бежала басом\n"))
    assert [word.text for word in found] == ["сова", "бежала", "басом", "</s>"]
    assert [(word.start, word.end) for word in found] == [(0, 4), (5, 11), (12, 17), (17, 17)]


@pytest.mark.parametrize("name", ["ngram byte", "rnn byte"])
@given(text=st.text(alphabet="a é狐\t\n", max_size=12))
def test_any_text(name: str, text: str) -> None:
    words = list(lmkit.word_scores(model_of(name), text or "\n"))
    assert [word.text for word in words if word.text != "</s>"] == text.split()
    whole = lmkit.perplexity(model_of(name), lmkit.Corpus.from_text(text or "\n"))
    assert math.fsum(word.logprob for word in words) == pytest.approx(whole.logprob, rel=1e-9)


@pytest.mark.parametrize("context", CONTEXTS)
def test_ranks_and_entropies_are_those_of_the_distributions(
    model: lmkit.LanguageModel, context: Context
) -> None:
    text = "the old fox\n\nan owl\n"
    ids = model.tokenizer.encode_lines(text.split("\n")[:-1])
    found = list(lmkit.token_scores(model, text, context=context, distributions=True))
    state = model.start()
    for t, token in enumerate(ids):
        logprobs = model.next_logprobs(state)[0].astype(np.float64)
        p = np.exp(logprobs)
        assert found[t].entropy == pytest.approx(-sum(x * math.log(x) for x in p if x), rel=1e-4)
        assert found[t].entropy_bits == pytest.approx(found[t].entropy / math.log(2))  # type: ignore[operator]
        rank = found[t].rank
        assert rank is not None
        assert abs(np.sort(logprobs)[::-1][rank - 1] - logprobs[token]) < 1e-5
        state = model.step(state, np.array([token]))
        blank_line_over = token == 2 and (t == 0 or ids[t - 1] == 2)
        if (context == "line" and token == 2) or (context == "document" and blank_line_over):
            state = model.start()


def test_the_order_used_is_the_longest_that_training_had() -> None:
    known = set()
    for line in STORY.split("\n")[:-1]:
        words = ["<s>", *line.split(), "</s>"]
        known |= {tuple(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}
    text = "the old fox sat .\nthe zebra was old\n\nthe owl"
    scores = list(lmkit.token_scores(model_of("ngram word"), text))
    for number, of_line in groupby(scores, key=lambda score: score.line):
        before = ["<s>"]
        for score in of_line:
            before.append("<unk>" if score.oov else score.text)
            orders = [n for n in (1, 2, 3) if n <= len(before) and tuple(before[-n:]) in known]
            assert score.evidence == {"order": max(orders, default=1)}, (number, before)


def test_a_network_says_how_long_its_features_are() -> None:
    model = model_of("rnn word")
    assert isinstance(model, lmkit.RnnModel)
    (first, *_) = lmkit.token_scores(model, "the fox")
    assert first.evidence["norm"] == pytest.approx(float(model.start().features.norm()), rel=1e-5)


def test_on_the_command_line(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(STORY * 5)
    assert lmkit("train", "text.txt", "--order", 3, "--holdout", 0, "-q").returncode == 0
    head, *rows = (
        lmkit("score", "-", "--by", "token", stdin=b"the fox\nan owl\n").stdout.decode().splitlines()
    )
    assert head.split("\t") == ["line", "start", "end", "bits", "nats", "total_bits", "oov", "order", "text"]
    table = [dict(zip(head.split("\t"), row.split("\t"), strict=True)) for row in rows]
    assert [row["text"] for row in table] == ["the", "fox", "</s>", "an", "owl", "</s>"]
    assert [row["oov"] for row in table] == ["0", "0", "0", "1", "0", "0"]
    whole = json.loads(lmkit("ppl", "-", "--json", stdin=b"the fox\nan owl\n").stdout)
    assert float(table[-1]["total_bits"]) == pytest.approx(6 * whole["bits_per_token"], rel=1e-12)
    words = lmkit("score", "-", "--by", "word", "--json", stdin=b"the fox\n").stdout.splitlines()
    assert [json.loads(word)["text"] for word in words] == ["the", "fox", "</s>"]
    ranked = lmkit("score", "-", "--by", "token", "--distributions", stdin=b"the\n").stdout.decode()
    assert ranked.startswith(
        "line\tstart\tend\tbits\tnats\ttotal_bits\toov\torder\trank\tentropy_bits\ttext\n"
    )
    assert lmkit("score", "-", "--distributions", stdin=b"the\n").returncode == 2
