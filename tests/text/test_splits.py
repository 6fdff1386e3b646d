"""Held-out lines: by what they say, the same everywhere, never shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmkit.errors import UsageError
from lmkit.text.corpus import Corpus
from lmkit.text.splits import HeldOutLines, TrainingLines


def fnv_share(line: bytes) -> float:
    """The plain twin of the compiled hash, as a number in [0, 1)."""
    mask = (1 << 64) - 1
    value = 0xCBF29CE484222325
    for byte in line:
        value = (value ^ byte) * 0x100000001B3 & mask
    value ^= value >> 33
    value = value * 0xFF51AFD7ED558CCD & mask
    value ^= value >> 33
    value = value * 0xC4CEB9FE1A85EC53 & mask
    return (value ^ value >> 33) / 2**64


def split(
    text: str, holdout: float = 0.1, size: int = 1 << 20
) -> tuple[list[bytes], list[bytes], list[bytes]]:
    lines = TrainingLines(Corpus.from_text(text), holdout=holdout)
    train = b"".join(lines.blocks(size))
    return train.split(b"\n")[:-1], held_out(lines.valid), held_out(lines.test)


def held_out(lines: HeldOutLines) -> list[bytes]:
    kept = b"".join(lines.corpus("kept").blocks()).split(b"\n")[:-1] if lines.count else []
    assert len(kept) == lines.count
    return kept


TEXT = "".join(f"line {i} says {i % 700}\n" + "\n" * (i % 5 == 0) for i in range(2000))


def test_every_line_goes_where_its_hash_says() -> None:
    train, valid, test = split(TEXT, 0.2)
    assert sorted([*train, *valid, *test]) == sorted(TEXT.encode().split(b"\n")[:-1])
    assert all(fnv_share(line) < 0.1 for line in valid)
    assert all(0.1 <= fnv_share(line) < 0.2 for line in test)
    assert all(fnv_share(line) >= 0.2 for line in train if line)
    assert 150 < len(valid) < 250
    assert 150 < len(test) < 250


def test_blocks_change_nothing_and_a_second_reading_is_the_same() -> None:
    assert split(TEXT, size=50) == split(TEXT)
    lines = TrainingLines(Corpus.from_text(TEXT))
    assert list(lines.blocks()) == list(lines.blocks())
    assert lines.record()["lines"] == TEXT.count("\n")


def test_copies_of_a_line_are_never_in_two_splits() -> None:
    train, valid, test = split(TEXT + TEXT)
    assert not set(valid) & set(test)
    assert not {*valid, *test} & set(train)
    assert b"" in train


@pytest.mark.parametrize("text", ["one line\n", "few\n" * 20, "the same line\n" * 5000])
def test_a_text_too_small_or_too_uniform_is_all_for_training(text: str) -> None:
    train, valid, test = split(text)
    assert len(train) == text.count("\n")
    assert not valid
    assert not test


@pytest.mark.parametrize("holdout", [-0.1, 1.0, float("nan")])
def test_impossible_shares_are_refused(holdout: float) -> None:
    with pytest.raises(UsageError, match="no share of the lines"):
        split(TEXT, holdout)


def test_a_folder_of_small_files_is_held_out_like_one_large_file(tmp_path: Path) -> None:
    for i in range(300):
        (tmp_path / f"{i}.txt").write_text(f"file {i} has\nthree lines\nof number {i}\n")
    lines = TrainingLines(Corpus.from_paths(tmp_path))
    list(lines.blocks())
    assert held_out(lines.valid)
    assert held_out(lines.test)


def test_only_the_half_that_is_asked_for_is_held_out() -> None:
    both = TrainingLines(Corpus.from_text(TEXT), holdout=0.2)
    only_test = TrainingLines(Corpus.from_text(TEXT), holdout=0.2, valid=False)
    train = b"".join(only_test.blocks())
    list(both.blocks())
    assert held_out(only_test.valid) == []
    assert held_out(only_test.test) == held_out(both.test)
    assert set(held_out(both.valid)) <= set(train.split(b"\n"))
