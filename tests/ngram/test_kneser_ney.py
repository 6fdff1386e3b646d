"""The engine against the dictionary version, on random texts of every awkward kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmkit
from lmkit.config import NgramConfig, TextConfig
from lmkit.errors import LmkitWarning, Stopped, UsageError
from lmkit.ngram.arpa import arpa_pieces
from lmkit.ngram.model import NgramModel
from lmkit.ngram.train import train
from lmkit.text.corpus import Corpus
from lmkit.text.word import WordTokenizer
from tests.ngram.oracle import Entry, Gram, log10_probability, modified_kneser_ney

words = st.sampled_from(["a", "b", "c", "d", "e", "ü", "<unk>"])
texts = st.lists(st.lists(words, max_size=8), min_size=1, max_size=30).filter(lambda lines: any(lines))


def fit(lines: list[list[str]], **options: object) -> NgramModel:
    text = "".join(" ".join(line) + "\n" for line in lines)
    tokenizer, ids = WordTokenizer.learn(Corpus.from_text(text), options=TextConfig())
    return train(ids, tokenizer=tokenizer, config=NgramConfig(**options))  # type: ignore[arg-type]


def entries(model: NgramModel) -> dict[Gram, Entry]:
    found = {}
    for line in b"".join(arpa_pieces(model)).decode().split("\n"):
        fields = line.split("\t")
        if len(fields) > 1:
            found[tuple(fields[1].split(" "))] = (
                float(fields[0]),
                float(fields[2]) if len(fields) > 2 else 0.0,
            )
    return found


def assert_same(model: NgramModel, expected: dict[Gram, Entry]) -> None:
    found = entries(model)
    assert found.keys() == expected.keys()
    for gram, (probability, backoff) in expected.items():
        assert found[gram] == pytest.approx((probability, backoff), abs=1e-5), gram


@given(lines=texts, order=st.integers(1, 6))
@settings(max_examples=60)
def test_every_entry_is_that_of_the_definition(lines: list[list[str]], order: int) -> None:
    assert_same(fit(lines, order=order), modified_kneser_ney(lines, order))


@given(
    lines=texts,
    order=st.integers(1, 4),
    prune=st.lists(st.integers(0, 3), min_size=1, max_size=2).map(sorted),
)
@settings(max_examples=40)
def test_pruned_models_keep_what_the_definition_keeps(
    lines: list[list[str]], order: int, prune: list[int]
) -> None:
    prune = prune[:order]
    assert_same(fit(lines, order=order, prune=tuple(prune)), modified_kneser_ney(lines, order, prune=prune))


@given(lines=texts, limit=st.sets(st.sampled_from(["a", "b", "c", "ü"]), min_size=1))
@settings(max_examples=40)
def test_limited_vocabulary(lines: list[list[str]], limit: set[str]) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_text("\n".join(limit), encoding="utf-8")
        model = fit(lines, order=3, limit_vocab=str(path))
    assert_same(model, modified_kneser_ney(lines, 3, limit=limit))


@given(lines=texts)
@settings(max_examples=20)
def test_unigrams_without_interpolation(lines: list[list[str]]) -> None:
    model = fit(lines, order=2, interpolate_unigrams=False)
    assert_same(model, modified_kneser_ney(lines, 2, interpolate_unigrams=False))


@given(lines=texts, order=st.integers(1, 5), other=texts)
@settings(max_examples=40)
def test_scores_are_those_of_back_off_through_the_entries(
    lines: list[list[str]], order: int, other: list[list[str]]
) -> None:
    model = fit(lines, order=order)
    expected = [x for line in other for x in log10_probability(entries(model), line)]
    scores = model.score(" ".join(line) for line in other)
    assert scores / np.log(10) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("prune", [(1, 0), (0, 0, 0, 0, 0, 1), (2, 1, 1)])
def test_impossible_thresholds_are_refused(prune: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="thresholds"):
        fit([["a", "b"]], order=3, prune=prune)


def test_impossible_fallback_discounts_are_refused() -> None:
    with pytest.raises(UsageError, match="discount_fallback"):
        fit([["a", "b"]], order=2, discount_fallback=(0.5, 2.5))


def test_a_text_too_small_for_discounts_is_trained_with_a_warning() -> None:
    tokenizer, ids = WordTokenizer.learn(Corpus.from_text("a b\n"), options=TextConfig())
    with pytest.warns(LmkitWarning, match="discounts of order 1, 2"):
        model = train(ids, tokenizer=tokenizer, config=NgramConfig(order=2))
    assert np.exp(model.next_logprobs(model.start()).astype(float)).sum() == pytest.approx(1)


def test_an_order_longer_than_any_line_is_cut_with_a_warning() -> None:
    tokenizer, ids = WordTokenizer.learn(Corpus.from_text("a b\n" * 9), options=TextConfig())
    with (
        pytest.warns(LmkitWarning, match="discounts"),
        pytest.warns(LmkitWarning, match="the model has order 4"),
    ):
        model = train(ids, tokenizer=tokenizer, config=NgramConfig(order=7))
    assert model.order == 4


def test_arpa_numbers_read_back_as_the_numbers_of_the_model() -> None:
    tokenizer, ids = WordTokenizer.learn(
        Corpus.from_text("the old fox ran .\n" * 150_000), options=TextConfig()
    )
    model = train(ids, tokenizer=tokenizer, config=NgramConfig(order=3))
    written = [(p, b) for p, b in entries(model).values()]
    assert np.array_equal(np.array([p for p, _ in written], np.float32), model.trie.log10_prob)
    backoffs = np.array([b for _, b in written[: len(model.trie.log10_backoff)]], np.float32)
    assert np.array_equal(backoffs, model.trie.log10_backoff)
    assert np.abs(model.trie.log10_prob[model.trie.log10_prob < 0]).min() < 1e-5


def test_words_of_subword_tools_keep_their_marks_in_arpa_files() -> None:
    assert ("\u2581the",) in entries(fit([["\u2581the", "fox"]], order=1))


@pytest.mark.parametrize("line", [3, 1000, 10**6])
def test_a_long_text_is_scored_in_pieces_like_in_one(line: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(2, 20, 5000).astype(np.int32)
    ids[np.arange(len(ids)) % line == line - 1] = 2
    if line > len(ids):
        ids[ids == 2] = 3  # no line end at all
    model = fit([["a", "b", "c", "d", "e"] * 3] * 5 + [[f"w{i}" for i in range(20)]], order=4)
    one, end = model.score_ids(ids)
    monkeypatch.setattr("lmkit.ngram.model._PIECE", 64)
    pieces, same_end = model.score_ids(ids)
    assert np.array_equal(pieces, one)
    assert same_end == end


def test_files_are_the_same_however_they_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit([["a", "b", "c"], ["b", "c", "a", "a"], [], ["c"], ["a", "b", "b", "c", "d"]] * 3, order=4)
    whole = b"".join(arpa_pieces(model))
    monkeypatch.setattr("lmkit.ngram.arpa._BUFFER_BYTES", 1)
    assert b"".join(arpa_pieces(model)) == whole


def test_a_damaged_number_is_written_all_the_same() -> None:
    model = fit([["a", "b"]], order=2)
    for value in (np.nan, np.inf, -np.inf, -1e30):
        model.trie.log10_prob[4] = value
        assert b"99" in b"".join(arpa_pieces(model))


def test_a_training_that_is_stopped_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped(143)

    monkeypatch.setattr("lmkit.ngram.train.count_ngrams", stop)
    with pytest.raises(Stopped) as stopped:
        lmkit.train("a b\n" * 200, output=tmp_path / "model")
    assert stopped.value.exit_code == 143
    assert list(tmp_path.iterdir()) == []
