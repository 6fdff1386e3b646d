"""Counts kept for later: the model of several counts is that of the joined text, to the bit."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lmkit
from lmkit.cli.output import write_bytes
from lmkit.counting import open_counts, text_of
from lmkit.folders import write_manifest
from lmkit.tensors import read_tensors, write_tensors

words = st.sampled_from(["a", "b", "c", "ü", "<unk>", "dd"])
texts = st.lists(st.lists(words, max_size=6).map(" ".join), min_size=1, max_size=20).map(
    lambda lines: "\n".join([*lines, "a b c dd a b"]) + "\n"
)


def write_text(counts: lmkit.TextCounts, path: str) -> None:
    write_bytes(path, text_of(counts))


def assert_same(model: lmkit.LanguageModel, expected: lmkit.LanguageModel) -> None:
    assert model.tokenizer.vocab == expected.tokenizer.vocab
    assert model.tokenizer.settings() == expected.tokenizer.settings()
    for name, array in expected.arrays().items():
        assert np.array_equal(model.arrays()[name], array), name


@pytest.mark.parametrize("kind", ["word", "char", "byte"])
@given(parts=st.lists(texts, min_size=1, max_size=3), order=st.integers(1, 4), data=st.data())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_of_parts_give_the_model_of_the_whole(
    tmp_path: Path, kind: str, parts: list[str], order: int, data: st.DataObject
) -> None:
    expected = lmkit.train("".join(parts), tokenizer=kind, order=order, holdout=0)
    places: list[Path] = []
    for i, part in enumerate(parts):
        counts = lmkit.count(
            part, output=tmp_path / str(i), force=True, order=data.draw(st.integers(order, 5)), tokenizer=kind
        )
        places.append(tmp_path / str(i))
        if data.draw(st.booleans()):
            write_text(counts, str(tmp_path / f"{i}.txt.gz"))
            places[-1] = tmp_path / f"{i}.txt.gz"
    assert_same(lmkit.train(places[::-1], counts=True, tokenizer=kind, order=order), expected)


def test_words_may_be_chosen_after_counting(tmp_path: Path) -> None:
    text = "a b c d\na b c\na b\n<unk> a\n" * 3 + "e f\n"
    lmkit.count(text, output=tmp_path / "counts", order=3)
    (tmp_path / "words.txt").write_text("b c zebra", encoding="utf-8")
    for options in ({"min_count": 3}, {"vocab_size": 2}, {"vocab": str(tmp_path / "words.txt")}):
        model = lmkit.train(tmp_path / "counts", counts=True, **options)  # type: ignore[arg-type]
        assert_same(model, lmkit.train(text, holdout=0, order=3, **options))  # type: ignore[arg-type]


def test_the_text_holds_every_order_in_the_words_of_arpa_files(tmp_path: Path) -> None:
    write_text(lmkit.count("a b a\nb\n", order=2), str(tmp_path / "counts.txt"))
    lines = (tmp_path / "counts.txt").read_text(encoding="utf-8").splitlines()
    assert dict(line.split("\t") for line in lines) == {
        "<s>": "2", "</s>": "2", "a": "2", "b": "2",
        "<s> a": "1", "<s> b": "1", "a b": "1", "b a": "1", "a </s>": "1", "b </s>": "1",
    }  # fmt: skip
    write_text(lmkit.count("a b\n", order=1, tokenizer="char"), str(tmp_path / "characters.txt"))
    assert "\u2581\t1\n" in (tmp_path / "characters.txt").read_text(encoding="utf-8")


def test_counts_know_their_text(tmp_path: Path) -> None:
    counts = lmkit.count("a b a\nb\n", order=2, output=tmp_path / "counts")
    again = open_counts(tmp_path / "counts")
    assert (again.order, again.lines, again.facts["tokens"]) == (2, 2, 6)
    assert np.array_equal(again.run.windows, counts.run.windows)
    model = lmkit.train(tmp_path / "counts", counts=True)
    assert model.order == 2  # that of the counts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the fox\n", ":1: a line must hold"),
        ("<s>\t1\nthe\tone\n", ":2: a line must hold"),
        ("the\t0\n", ":1: a line must hold"),
        ("the\t99999999999\n", ":1: a line must hold"),
        ("\t3\n", ":1: a line must hold"),
        (" ".join("a" * 33) + "\t1\n", ":1: a line must hold"),
        ("the fox\t3\n", "0 lines begin, 0 end"),
        ("<s>\t3\nthe\t3\n", "3 lines begin, 0 end"),
        ("the <s>\t3\n", ":1: <s> can only begin"),
        ("</s> the\t3\n", ":1: <s> can only begin"),
        ("<s> a\t1\na </s>\t1\n</s>\t1\na b\t1\n", "not all n-grams"),
        ("<s> a\t1\n</s>\t1\n<s>\t1\n", "only blank lines"),
        (
            "<s>\t2\n</s>\t2\na\t2\nb\t2\n<s> a\t2\na </s>\t2\nb </s>\t2\n",
            "not complete",
        ),
    ],
)
def test_texts_that_are_no_counts_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "counts.txt").write_text(text, encoding="utf-8")
    with pytest.raises(lmkit.InputError, match=message):
        lmkit.train(tmp_path / "counts.txt", counts=True)


def test_windows_and_crlf_and_order_of_lines_do_not_matter(tmp_path: Path) -> None:
    write_text(lmkit.count("a b c\nb a\n" * 9 + "c c\n", order=3), str(tmp_path / "counts.txt"))
    lines = (tmp_path / "counts.txt").read_bytes().splitlines()
    with gzip.open(tmp_path / "other.gz", "wb") as file:
        file.write(b"\r\n".join(sorted(lines, key=lambda line: line[::-1])))
    assert_same(
        lmkit.train(tmp_path / "other.gz", counts=True), lmkit.train(tmp_path / "counts.txt", counts=True)
    )


def test_counts_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    lmkit.count("a b\n", output=tmp_path / "words", order=2)
    lmkit.count("a b\n", output=tmp_path / "characters", order=2, tokenizer="char")
    lmkit.count("aa ab aa\n" * 9, output=tmp_path / "one", order=2, tokenizer="bpe")
    lmkit.count("zz zy zz\n" * 9, output=tmp_path / "two", order=2, tokenizer="bpe")
    for places, options, message in (
        (["words", "characters"], {}, "different tokenizers"),
        (["one", "two"], {}, "cut the same text differently"),
        (["words"], {"order": 3}, "up to order 2"),
        (["words"], {"holdout": 0.1}, "held out"),
        (["words"], {"tokenizer": "char"}, "counts of words"),
        (["words"], {"backend": "rnn"}, "cannot learn from counts"),
        ([], {}, "no counts"),
        (["none"], {}, "no such file"),
    ):
        with pytest.raises(lmkit.UsageError, match=message):
            lmkit.train([tmp_path / place for place in places], counts=True, **options)  # type: ignore[arg-type]
    with pytest.raises(lmkit.UsageError, match="chosen in training"):
        lmkit.count("a b\n", vocab_size=1)
    with pytest.raises(lmkit.UsageError, match="no option 'prune'"):
        lmkit.count("a b\n", prune=(1,))


@given(drop=st.integers(0, 1000), change=st.booleans())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_with_any_line_missing_or_changed_is_refused(tmp_path: Path, drop: int, change: bool) -> None:
    lines = b"".join(text_of(lmkit.count("a b c a\nb a c\na b\n" * 2, order=3))).splitlines(keepends=True)
    line = lines.pop(drop % len(lines))
    if change:
        lines.append(line.replace(b"\n", b"1\n"))
    (tmp_path / "counts.txt").write_bytes(b"".join(lines))
    with pytest.raises(lmkit.InputError, match="not all n-grams"):
        lmkit.train(tmp_path / "counts.txt", counts=True)


def test_counts_of_lines_shorter_than_the_order_serve_any_order(tmp_path: Path) -> None:
    text = "a b\nb\na\n" * 5
    write_text(lmkit.count(text, order=9), str(tmp_path / "counts.txt"))
    lmkit.count("a b c d e f g\n" * 3, order=6, output=tmp_path / "long")
    model = lmkit.train([tmp_path / "counts.txt", tmp_path / "long"], counts=True)
    assert_same(model, lmkit.train(text + "a b c d e f g\n" * 3, order=6, holdout=0))


def test_more_tokens_than_can_be_counted_are_refused(tmp_path: Path) -> None:
    (tmp_path / "counts.txt").write_text(
        "a\t2147483647\n<s>\t2147483647\n</s>\t2147483647\n", encoding="utf-8"
    )
    with pytest.raises(lmkit.ResourceError, match="6,442,450,941 tokens"):
        lmkit.train(tmp_path / "counts.txt", counts=True)


def test_text_counts_that_are_no_bytes_are_no_bytes(tmp_path: Path) -> None:
    write_text(lmkit.count("a b\n", order=2), str(tmp_path / "counts.txt"))
    for kind, message in (("byte", "not counts of bytes"), ("bpe", "not of the tokenizer bpe")):
        with pytest.raises(lmkit.UsageError, match=message):
            lmkit.train(tmp_path / "counts.txt", counts=True, tokenizer=kind)


def test_characters_like_the_mark_of_a_space_come_back(tmp_path: Path) -> None:
    for text in ("a\u2581b\n", "a \u2581b\n"):
        write_text(lmkit.count(text, order=2, tokenizer="char"), str(tmp_path / "counts.txt"))
        model = lmkit.train(tmp_path / "counts.txt", counts=True, tokenizer="char")
        assert sorted(model.tokenizer.vocab.tokens[3:]) == sorted(set(text.strip()))


def test_text_counts_can_be_saved(tmp_path: Path) -> None:
    write_text(lmkit.count("a b c\nb a\n", order=2), str(tmp_path / "counts.txt"))
    open_counts(tmp_path / "counts.txt").save(tmp_path / "folder")
    assert_same(
        lmkit.train(tmp_path / "folder", counts=True), lmkit.train(tmp_path / "counts.txt", counts=True)
    )
    lmkit.train("a b\n", output=tmp_path / "model", order=1)
    with pytest.raises(lmkit.UsageError, match="something else"):
        lmkit.count("a b\n", output=tmp_path / "model", force=True)


@pytest.mark.parametrize(
    "what", ["id", "first", "start", "weight", "suffix", "order", "scalar", "ends", "unknown"]
)
def test_forged_counts_are_refused(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "counts"
    lmkit.count("a b c\nb a\n" * 3, output=folder, order=3)
    arrays = {name: array.copy() for name, array in read_tensors(folder / "counts.safetensors").items()}
    if what == "id":
        arrays["windows"][1, 1] = 200
    elif what == "first":
        arrays["windows"][:, 0] = 255
    elif what == "start":
        arrays["windows"][1, 1] = 1
    elif what == "ends":
        arrays["windows"][:] = 2
    elif what == "unknown":
        arrays["windows"][:] = 0
    elif what == "scalar":
        arrays["weight"] = np.int32(1).reshape(())
    elif what == "weight":
        arrays["weight"][0] = 0
    elif what == "suffix":
        arrays["windows"][2] = [5, 5, 5]
    else:
        arrays["windows"] = arrays["windows"][:, :2]
    write_tensors(folder / "counts.safetensors", arrays)
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    with pytest.raises((lmkit.ModelFormatError, lmkit.InputError)):
        lmkit.train(folder, counts=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", '{"kind": "char"}'),
        ("tokenizer.json", '{"kind": "word", "unk": "foo", "specials": "error"}'),
        ("tokenizer.json", '{"kind": "word", "unk": "oov", "specials": "foo"}'),
        ("vocab.txt", "<unk>\n<s>\n</s>\na b\nbb\n"),
        ("vocab.txt", "<unk>\n<s>\n</s>\n\nbb\n"),
    ],
)
def test_forged_vocabularies_are_refused(tmp_path: Path, name: str, content: str) -> None:
    lmkit.count("aa bb\nbb aa\n", output=tmp_path / "counts", order=2)
    lmkit.train("aa bb\nbb aa\n", output=tmp_path / "model", order=2, holdout=0)
    for folder in (tmp_path / "counts", tmp_path / "model"):
        (folder / name).write_text(content, encoding="utf-8")
        (folder / "manifest.json").unlink()
        write_manifest(folder)
    with pytest.raises(lmkit.ModelFormatError, match=r"vocab\.txt|tokenizer\.json"):
        lmkit.train(tmp_path / "counts", counts=True)
    with pytest.raises(lmkit.ModelFormatError, match=r"vocab\.txt|tokenizer\.json"):
        lmkit.load(tmp_path / "model")


def test_blank_lines_alone_are_nothing_to_count(tmp_path: Path) -> None:
    with pytest.raises(lmkit.InputError, match="only blank lines"):
        lmkit.count("\n\n", order=2)
    (tmp_path / "counts.txt").write_text("<s>\t3\n</s>\t3\n<s> </s>\t3\n", encoding="utf-8")
    with pytest.raises(lmkit.InputError, match="only blank lines"):
        lmkit.train(tmp_path / "counts.txt", counts=True)
