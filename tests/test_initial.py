"""Training that begins from a model: its words and its folder are kept, what contradicts it is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.errors import InputError, ModelFormatError, UsageError
from tests.conftest import STORY

OLD = "".join(STORY.replace("fox", f"fox{i % 7}") for i in range(30))
NEW = "".join(f"a wolf saw the old owl number {i % 30} .\nthe wolf ran .\n" for i in range(60))
RNN: dict[str, Any] = {"backend": "rnn", "device": "cpu", "threads": 1}
STILL: dict[str, Any] = {**RNN, "epochs": 0.01, "learning_rate": 0.0}


def make(path: Path, *, tokenizer: str = "word", text: str = OLD, **options: Any) -> Path:
    if tokenizer == "bpe":
        pytest.importorskip("tokenizers", reason="needs the extra: subword")
    size = {"hidden_size": 12, "num_layers": 1, "epochs": 2}
    lmkit.train(text, output=path, tokenizer=tokenizer, **{**RNN, **size, **options})
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "old")


def content(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_it_begins_at_the_perplexity_of_the_model_and_leaves_it_alone(model: Path, tmp_path: Path) -> None:
    before = content(model)
    words: list[str] = []
    options = {**RNN, "epochs": 1, "learning_rate": 1e-7}
    lmkit.train(NEW, output=tmp_path / "tuned", init_from=model, report=words.append, **options)
    old, new = lmkit.load(model), lmkit.load(tmp_path / "tuned")
    assert content(model) == before
    assert (tmp_path / "tuned" / "vocab.txt").read_bytes() == (model / "vocab.txt").read_bytes()
    assert new.config() == old.config()
    found, expected = (lmkit.perplexity(m, NEW).perplexity for m in (new, old))
    assert found == pytest.approx(expected, rel=1e-3)
    assert any(" 0 added" in line and "--extend-vocab" in line for line in words)


def test_new_words_are_added_behind_the_old_ones(model: Path, tmp_path: Path) -> None:
    lmkit.train(NEW, output=tmp_path / "tuned", init_from=model, extend_vocab=True, **STILL)
    old, new = lmkit.load(model), lmkit.load(tmp_path / "tuned")
    known = old.tokenizer.vocab.tokens
    assert new.tokenizer.vocab.tokens[: len(known)] == known
    assert new.tokenizer.vocab.tokens[len(known)] == "wolf"
    assert lmkit.perplexity(old, "the wolf ran .").oov == 1
    assert lmkit.perplexity(new, "the wolf ran .").oov == 0
    assert lmkit.perplexity(new, NEW).perplexity < 100


def test_the_usual_limits_choose_among_new_words(model: Path) -> None:
    known = len(lmkit.load(model).tokenizer.vocab)
    given = {"init_from": model, "extend_vocab": True, "holdout": 0, **STILL}
    assert lmkit.train(NEW, min_count=20, **given).tokenizer.vocab.tokens[known:] == ["wolf", "a", "number"]
    assert lmkit.train(NEW, vocab_size=known - 3 + 1, **given).tokenizer.vocab.tokens[known:] == ["wolf"]


def test_what_is_held_out_and_what_is_recorded(model: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text(NEW)
    lmkit.train([tmp_path / "new.txt"], output=tmp_path / "one", init_from=model, seed=3, **STILL)
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    assert config["options"]["init_from"] == str(model)
    assert config["options"]["extend_vocab"] is False
    assert config["options"]["hidden_size"] == 12
    assert config["options"]["tokenizer"] == "word"
    assert config["summary"]["valid"]["tokens"] > 0
    assert (tmp_path / "one" / "test.txt").stat().st_size > 0
    (tmp_path / "valid.txt").write_text("the wolf ran .\n")
    lmkit.train(
        OLD, output=tmp_path / "two", init_from=tmp_path / "one", valid=tmp_path / "valid.txt", **STILL
    )
    splits = json.loads((tmp_path / "two" / "splits.json").read_text())
    assert splits["valid_files"] == [str(tmp_path / "valid.txt")]
    assert [before["model"] for before in splits["lineage"]] == [str(model), str(tmp_path / "one")]
    assert splits["lineage"][1]["sources"] == [str(tmp_path / "new.txt")]


def test_a_model_can_take_the_place_of_the_one_it_began_from(tmp_path: Path) -> None:
    place = make(tmp_path / "m")
    options: dict[str, Any] = {"output": place, "init_from": place, "extend_vocab": True, **STILL}
    with pytest.raises(UsageError, match="--force"):
        lmkit.train(NEW, **options)
    lmkit.train(NEW, force=True, **options)
    assert lmkit.load(place, verify=True).tokenizer.vocab.id("wolf")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("kind", ["word", "char", "byte", "bpe"])
def test_every_kind_of_tokenizer(kind: str, tmp_path: Path) -> None:
    make(tmp_path / "old", tokenizer=kind, epochs=0.01)
    old = lmkit.load(tmp_path / "old")
    new = lmkit.train(NEW, init_from=tmp_path / "old", tokenizer=kind, **STILL)
    assert new.tokenizer.vocab == old.tokenizer.vocab
    assert lmkit.perplexity(new, NEW).perplexity == pytest.approx(
        lmkit.perplexity(old, NEW).perplexity, rel=1e-5
    )
    given: dict[str, Any] = {"init_from": tmp_path / "old", "extend_vocab": True, **STILL}
    if kind in ("word", "char"):
        assert len(lmkit.train(NEW, **given).tokenizer.vocab) > len(old.tokenizer.vocab)
    else:
        with pytest.raises(UsageError, match="no words can be added"):
            lmkit.train(NEW, **given)


def test_special_words_are_read_as_the_model_does_unless_told_otherwise(model: Path) -> None:
    text = "the <s> owl\n" * 3
    with pytest.raises(InputError, match="--specials"):
        lmkit.train(text, init_from=model, **STILL)
    for extend in (True, False):
        new = lmkit.train(text, init_from=model, specials="skip", extend_vocab=extend, **STILL)
        assert new.tokenizer.specials == "skip"
        assert len(new.tokenizer.encode("the <s> owl")) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokenizer": "char"}, "reads words.*char was asked for"),
        ({"vocab": "words.txt"}, "--vocab names others"),
        ({"min_count": 2}, "only --extend-vocab"),
        ({"vocab_size": 999}, "only --extend-vocab"),
        ({"vocab_size": 2, "extend_vocab": True}, "all of which are kept"),
        ({"hidden_size": 13}, "hidden_size is 12 .* 13 was asked for"),
        ({"cell": "gru"}, "cell is lstm .* gru was asked for"),
        ({"init": "uniform"}, "leave one out"),
        ({"backend": "ngram"}, "train on with --backend rnn"),
        ({"counts": True}, "--counts"),
        ({"init_from": None, "extend_vocab": True}, "--init-from MODEL"),
        ({"init_from": "none"}, "there is no model"),
    ],
    ids=str,
)
def test_what_contradicts_the_model_is_refused_before_the_text_is_read(
    model: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        lmkit.train(Path("not-there.txt"), **{"backend": "rnn", "init_from": model, **options})


def test_an_n_gram_model_is_not_begun_from(tmp_path: Path) -> None:
    lmkit.train(OLD, output=tmp_path / "ngram", order=2)
    for backend in ("ngram", "rnn"):
        with pytest.raises(UsageError, match=r"lmkit count .*lmkit train --counts"):
            lmkit.train(NEW, init_from=tmp_path / "ngram", backend=backend)


def test_a_damaged_model_is_not_begun_from(tmp_path: Path) -> None:
    place = make(tmp_path / "m", epochs=0.01)
    data = bytearray((place / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (place / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelFormatError, match=r"model\.safetensors"):
        lmkit.train(NEW, init_from=place, **STILL)
