"""Corpora: what a line is, where text comes from, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import InputError, UsageError
from lmkit.text.corpus import Corpus


def read(source: object, **options: object) -> bytes:
    return b"".join(Corpus.of(source).blocks(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"a b\nc\n", b"a b\nc\n"),
        (b"a b\nc", b"a b\nc\n"),  # a missing last line end is supplied
        (b"a\r\nb\r\n", b"a\nb\n"),
        (b"\n\na\n\n", b"\n\na\n\n"),  # blank lines count
        (b"\xef\xbb\xbfa\n", b"a\n"),  # a byte-order mark goes
        ("a\u2028b\x85c\x0bd\re\n".encode(), "a\u2028b\x85c\x0bd\re\n".encode()),  # only \n ends a line
    ],
)
def test_what_a_line_is(tmp_path: Path, written: bytes, text: bytes) -> None:
    (tmp_path / "f.txt").write_bytes(written)
    assert read(tmp_path / "f.txt") == text


@given(
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    size=st.integers(1, 9),
)
def test_the_size_of_the_blocks_changes_nothing(text: str, size: int) -> None:
    if text.startswith("\ufeff") or not text:
        return
    corpus = Corpus.from_text(text)
    blocks = list(corpus.blocks(size))
    assert b"".join(blocks) == read(corpus)
    assert all(block.endswith(b"\n") for block in blocks)


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma), (".txt", gzip)])
def test_compressed_files_are_known_by_their_content(tmp_path: Path, suffix: str, module: object) -> None:
    path = tmp_path / f"f{suffix}"
    path.write_bytes(module.compress(b"a b\nc\n"))  # type: ignore[attr-defined]
    assert read(path) == b"a b\nc\n"


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    data = gzip.compress(np.random.default_rng(0).integers(97, 120, 9000, np.uint8).tobytes())
    (tmp_path / "f.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"f.gz: ended early"):
        read(tmp_path / "f.gz")


def test_folders_lists_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "b.txt").write_bytes(b"b\n")
    (tmp_path / "d" / "a.txt").write_bytes(b"a")
    (tmp_path / "d" / "sub" / "c.txt").write_bytes(b"c\n")
    (tmp_path / "d" / ".hidden").write_bytes(b"x\n")
    assert read(tmp_path / "d") == b"a\nb\nc\n"
    assert read([tmp_path / "d" / "b.txt", tmp_path / "d" / "a.txt"]) == b"b\na\n"
    assert read(str(tmp_path / "d" / "*.txt")) == b"a\nb\n"


def test_a_string_is_a_path_or_the_text_itself(tmp_path: Path) -> None:
    (tmp_path / "some text").write_bytes(b"from the file\n")
    assert read("some text") == b"from the file\n"
    assert read("some other text") == b"some other text\n"
    assert read("one\ntwo.txt") == b"one\ntwo.txt\n"
    with pytest.raises(UsageError, match=r"missing\.txt: no such file"):
        read("missing.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"good\nb\xffd\n", r"f.txt:2, byte 2 of the line: 0xff is not UTF-8"),
        (b"caf\xe9", r"f.txt:1, byte 4 of the line: 0xe9"),
        (b"good\nba\0d\n", r"f.txt:2: a NUL byte"),
        ("text".encode("utf-16"), "UTF-16"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04\n", "zip"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "f.txt", size=4)


def test_places_are_right_across_blocks(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(b"line\n" * 1000 + b"x\xff\n")
    with pytest.raises(InputError, match=r"f\.txt:1001, byte 2"):
        read(tmp_path / "f.txt", size=64)


def test_a_raw_corpus_takes_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xff\0\n\xfe")
    corpus = Corpus(Corpus.from_paths(tmp_path / "f").sources, raw=True)
    assert b"".join(corpus.blocks()) == b"\xff\0\n\xfe\n"


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InputError, match="surrogate"):
        read("a\ud800b")


def test_a_file_that_changes_between_two_readings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes(b"a\n")
    corpus = Corpus.from_paths(path)
    list(corpus.blocks())
    path.write_bytes(b"a\nb\n")
    with pytest.raises(InputError, match="changed while it was being read"):
        list(corpus.blocks())


def test_hidden_folders_and_folders_among_matches_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "d" / ".git").mkdir(parents=True)
    (tmp_path / "d" / ".git" / "object").write_bytes(b"\xff\n")
    (tmp_path / "d" / "a.txt").write_bytes(b"a\n")
    assert read(tmp_path / "d") == b"a\n"
    assert read(str(tmp_path / "d" / "**")) == b"a\n"


def test_a_pipe_can_be_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"a b\nc\n"))
    writer.start()
    corpus = Corpus.from_paths(tmp_path / "pipe")
    assert read(corpus) == read(corpus) == b"a b\nc\n"
    writer.join()


def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/c\xff.txt"
    with open(path, "wb") as file:
        file.write(b"a\n")
    corpus = Corpus.from_paths(os.fsdecode(path))
    assert read(corpus) == b"a\n"
    assert corpus.sources[0].name.endswith("c\\xff.txt")


def test_a_text_that_begins_like_an_archive_is_text(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(b"BZhang wrote this.\n")
    assert read(tmp_path / "f.txt") == b"BZhang wrote this.\n"


def test_special_words_are_refused_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine </s>fine\n" * 500)
    (tmp_path / "b.txt").write_bytes(b"fine\n" * 200 + b"not <s> fine\n")
    corpus = Corpus(Corpus.from_paths(tmp_path).sources, refuse_specials=True)
    with pytest.raises(InputError, match=r"b\.txt:201: the word <s>.*--specials"):
        read(corpus, size=64)


@pytest.mark.parametrize("name", ["wiki.test.tokens", "a.jsonl", "x/y", "-x.raw", "my corpus.txt"])
def test_one_word_that_looks_like_a_file_is_one(name: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        Corpus.of(name)


@pytest.mark.parametrize("text", ["fox.", "3.14", "a b.txt c", "狐狸。", "", "see a.txt\\n"])
def test_other_strings_are_text(text: str) -> None:
    assert Corpus.of(text).sources[0].name == "<text>"


@pytest.mark.parametrize("name", ["no.txt", "none/*.txt", "empty-folder"])
def test_what_is_not_there_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty-folder").mkdir()
    with pytest.raises(UsageError, match=r"no such file|holds no files"):
        read([name])
