"""The evaluator: what is counted, what is undefined, and what it says of itself."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit
from lmkit.errors import InputError
from lmkit.model import Context
from lmkit.normalization import normalization
from tests.conftest import STORY

Run = Callable[..., subprocess.CompletedProcess[bytes]]


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


READERS = {
    "word 3-gram": {"order": 3, "tokenizer": "word"},
    "character 5-gram": {"order": 5, "tokenizer": "char"},
    "byte 4-gram": {"order": 4, "tokenizer": "byte"},
    "word RNN": {"backend": "rnn", "hidden_size": 8, "epochs": 1, "device": "cpu", "tokenizer": "word"},
    "byte RNN": {"backend": "rnn", "hidden_size": 8, "epochs": 1, "device": "cpu", "tokenizer": "byte"},
}
LONG = (STORY + "zebra yak\n\n\nthe füchs\n") * 7
_readers: dict[str, lmkit.LanguageModel] = {}


@pytest.fixture(params=[*READERS, "adapted"])
def reader(request: pytest.FixtureRequest) -> lmkit.LanguageModel:
    if request.param not in _readers:
        options = READERS.get(request.param, READERS["word RNN"])
        found = lmkit.train(STORY, holdout=0, **options)  # type: ignore[arg-type]
        adapts = request.param == "adapted"
        _readers[request.param] = lmkit.adapted(found, STORY, dynamic=True) if adapts else found
    return _readers[request.param]


def test_how_a_text_is_cut_into_files_changes_nothing(reader: lmkit.LanguageModel, tmp_path: Path) -> None:
    whole = lmkit.perplexity(reader, LONG)
    lines = LONG.splitlines(keepends=True)
    names = [tmp_path / f"{part:02}.txt" for part in range(10)]
    for part, name in enumerate(names):
        text = "".join(lines[len(lines) * part // 10 : len(lines) * (part + 1) // 10])
        name.write_text(text.removesuffix("\n") if part == 4 else text)  # a missing line end is supplied
    by_file, total = lmkit.perplexity_by_file(reader, names)
    assert total.perplexity == pytest.approx(whole.perplexity, rel=1e-6)
    assert (total.tokens, total.bytes) == (whole.tokens, whole.bytes)
    assert list(by_file) == [str(name) for name in names]
    assert sum(found.logprob for found in by_file.values()) == pytest.approx(total.logprob)
    assert sum(found.tokens for found in by_file.values()) == total.tokens


def test_how_much_is_read_at_once_changes_nothing(
    reader: lmkit.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lmkit.perplexity(reader, LONG)
    monkeypatch.setattr("lmkit.reading._LINES_BYTES", 7)
    monkeypatch.setattr("lmkit.rnn.model._PIECE", 1)  # so that every token is larger than a window
    monkeypatch.setattr("lmkit.mixture.neural_cache._PIECE", 5)
    monkeypatch.setattr("lmkit.mixture.neural_cache._ROWS", 3)
    assert lmkit.perplexity(reader, LONG).perplexity == pytest.approx(whole.perplexity, rel=1e-6)


def test_how_many_threads_there_are_changes_nothing(
    reader: lmkit.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    whole, threads = lmkit.perplexity(reader, LONG), torch.get_num_threads()
    monkeypatch.setattr("lmkit.threads.cores", lambda: 1)
    torch.set_num_threads(1)
    try:
        assert lmkit.perplexity(reader, LONG).perplexity == pytest.approx(whole.perplexity, rel=1e-6)
    finally:
        torch.set_num_threads(threads)


def test_a_batch_of_64_reads_as_one(reader: lmkit.LanguageModel) -> None:
    ids = np.maximum(reader.tokenizer.encode_lines(["the old zebra", "", "a fox"]), 0)
    logprobs, _ = reader.score_ids(ids)
    state = reader.start(64)
    for t, token in enumerate(ids):
        after = reader.next_logprobs(state)[:, token]
        assert after == pytest.approx(np.full(64, logprobs[t]), abs=2e-5)
        state = reader.step(state, np.full(64, token))


@pytest.mark.parametrize("text", ["\n", "the", "zebra yak gnu\nyak\n", "\n\n\n", "x" * 500])
def test_odd_texts_are_what_their_tokens_are(reader: lmkit.LanguageModel, text: str) -> None:
    found = lmkit.perplexity(reader, lmkit.Corpus.from_text(text))
    lines = text.removesuffix("\n").split("\n")
    scores = reader.score(lines).astype(np.float64)
    assert (found.tokens, found.lines) == (len(scores), len(lines))
    assert found.perplexity == pytest.approx(np.exp(-scores.mean()), rel=1e-6)


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
def test_a_line_of_spaces_is_blank_for_every_tokenizer(tokenizer: str) -> None:
    options = {"hidden_size": 8, "epochs": 1, "device": "cpu"}
    network = lmkit.train(STORY, backend="rnn", tokenizer=tokenizer, holdout=0, **options)
    documents = ["the old fox\n \t\n", "an owl sat\n\n", "the hill\n  \n", "the tree\n"]
    whole = lmkit.perplexity(network, "".join(documents), context="document")
    apart = [lmkit.perplexity(network, lmkit.Corpus.from_text(text)).logprob for text in documents]
    assert whole.logprob == pytest.approx(sum(apart), rel=1e-6)
    tokens = lmkit.token_scores(network, "".join(documents), context="document")
    assert sum(token.logprob for token in tokens) == pytest.approx(whole.logprob, rel=1e-6)


@pytest.mark.parametrize("context", ["line", "document", "stream"])
def test_how_far_back_a_model_looks(reader: lmkit.LanguageModel, context: Context) -> None:
    text = "the old fox\nan owl sat\n\nthe hill\n\n\nthe tree\n"
    found = lmkit.perplexity(reader, text, context=context)
    pieces = {
        "line": [[line] for line in text.split("\n")[:-1]],
        "document": [["the old fox", "an owl sat", ""], ["the hill", ""], [""], ["the tree"]],
        "stream": [text.split("\n")[:-1]],
    }[context]
    assert found.logprob == pytest.approx(
        sum(reader.score(piece).sum(dtype=np.float64) for piece in pieces), rel=1e-6
    )
    said = "line" if reader.context == "line" else context
    assert f"|context:{said}|" in found.signature


def test_models_that_do_not_sum_to_one_are_found_out(reader: lmkit.LanguageModel) -> None:
    sound = normalization(reader, LONG)
    assert sound.places == 100
    assert sound.deviation < 1e-5
    assert sound.disagreement < 1e-4

    class Boastful(lmkit.NgramModel):
        def next_logprobs(self, state: Any) -> np.ndarray:
            return super().next_logprobs(state) + np.float32(0.1)

    honest = lmkit.train(STORY, order=2, tokenizer="word", holdout=0)
    assert isinstance(honest, lmkit.NgramModel)
    found = normalization(Boastful(tokenizer=honest.tokenizer, trie=honest.trie), STORY)
    assert found.deviation == pytest.approx(np.exp(0.1) - 1, rel=1e-3)
    assert found.disagreement == pytest.approx(0.1, rel=1e-3)

    class Lost(lmkit.NgramModel):
        def next_logprobs(self, state: Any) -> np.ndarray:
            return super().next_logprobs(state) * np.float32(np.nan)

    lost = normalization(Lost(tokenizer=honest.tokenizer, trie=honest.trie), STORY)
    assert np.isnan([lost.deviation, lost.disagreement]).all()


def test_files_and_checks_on_the_command_line(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(STORY * 5)
    (tmp_path / "other.txt").write_text("the fox\n\nan owl\n")
    assert lmkit("train", "text.txt", "--holdout", 0, "--order", 3, "-q").returncode == 0
    run = lmkit("ppl", "text.txt", "other.txt", "--by-file", "--check")
    rows = [line.split("\t") for line in run.stdout.decode().splitlines()[:3]]
    assert [row[-1] for row in rows] == ["file", "text.txt", "other.txt"]
    assert rows[2][:2] == ["7", "1"]
    assert b"sums to one            within" in run.stdout
    found = json.loads(lmkit("ppl", "text.txt", "other.txt", "--by-file", "--check", "--json").stdout)
    assert found["files"]["other.txt"]["tokens"] == 7
    assert found["files"]["text.txt"]["tokens"] + 7 == found["tokens"]
    assert found["check"]["places"] == 100
    piped = lmkit("ppl", "-", "--check", stdin=b"the fox\n")
    assert piped.returncode == 0, piped.stderr
    assert b"in 3 places" in piped.stdout
