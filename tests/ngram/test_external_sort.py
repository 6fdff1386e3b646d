"""Training within bounded memory: sorted runs on disk, merged by key range, give the very same model."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lmkit
from lmkit.ngram import external_sort
from lmkit.ngram.external_sort import Run, merge, runs_of_text
from lmkit.ngram.suffix_sort import with_line_starts
from lmkit.scratch import Scratch
from lmkit.text.vocabulary import EOS

lines_of_ids = st.lists(st.lists(st.integers(3, 9), max_size=7), min_size=1, max_size=25)


class Small(Scratch):
    """Disk, and hardly any memory beside it."""

    room = 1  # type: ignore[assignment]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scratch:
    monkeypatch.setattr(external_sort, "_LEAST_STRETCH", 16)
    monkeypatch.setattr("lmkit.scratch._LEAST_ITEMS", 8)
    return Small(memory=1, folder=tmp_path)


def windows_of(lines: list[list[int]], order: int) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for line in lines:
        tokens = [1, *line, EOS]
        for i in range(len(tokens)):
            window = tokens[i : i + order]
            found[tuple(window + [EOS] * (order - len(window)))] += 1
    return found


@given(lines=lines_of_ids, order=st.integers(1, 5))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merged_runs_hold_every_window_once_in_order(
    small: Scratch, lines: list[list[int]], order: int
) -> None:
    ids = np.array([token for line in lines for token in (*line, EOS)], np.int32)
    stream = with_line_starts(ids, scratch=small)
    runs = list(runs_of_text(stream, order=order, vocab_size=10, scratch=small))
    merged = merge(runs, vocab_size=10, scratch=small)
    expected = windows_of(lines, order)
    found = [tuple(window) for window in merged.run.windows.tolist()]
    assert found == sorted(expected)
    assert dict(zip(found, merged.run.weight.tolist(), strict=True)) == expected
    assert merged.counts.tolist() == np.bincount(stream, minlength=10).tolist()
    grams = {w[:n] for w in expected for n in range(1, order + 1) if EOS not in w[: n - 1]}
    by_order = Counter(map(len, grams))
    assert merged.rows.sum(axis=0).tolist()[1:] == [by_order[n] for n in range(1, order + 1)]


@given(lines=lines_of_ids, order=st.integers(1, 5))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_part_compares_with_the_window_before(
    small: Scratch, lines: list[list[int]], order: int
) -> None:
    ids = np.array([token for line in lines for token in (*line, EOS)], np.int32)
    stream = with_line_starts(ids, scratch=small)
    merged = merge(
        list(runs_of_text(stream, order=order, vocab_size=10, scratch=small)), vocab_size=10, scratch=small
    )
    before: list[int] = []
    for window, shared, length in zip(
        merged.run.windows.tolist(), merged.shared.tolist(), merged.length.tolist(), strict=True
    ):
        tokens = window[: window.index(EOS) + 1] if EOS in window else window
        assert length == len(tokens)
        assert shared == len(
            list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tokens, before, strict=False)))
        )
        before = tokens


@pytest.mark.parametrize(
    "options",
    [
        {"order": 5},
        {"order": 2},
        {"order": 1},
        {"order": 8, "tokenizer": "char"},
        {"order": 3, "prune": (0, 1)},
    ],
)
def test_the_model_of_bounded_memory_is_the_same_to_the_bit(
    small: Scratch, options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in (300 * rng.random(6000) ** 3).astype(int)]
    text = (
        "\n".join(
            " ".join(words[i : i + n])
            for i, n in zip(range(0, 6000, 6), itertools.cycle([6, 1, 4, 0]), strict=False)
        )
        + "\n"
    )
    free = lmkit.train(text, holdout=0, **{"tokenizer": "word", **options})  # type: ignore[arg-type]
    monkeypatch.setattr(external_sort, "_LEAST_STRETCH", 1000)
    monkeypatch.setattr("lmkit.scratch._LEAST_ITEMS", 300)
    monkeypatch.setattr("lmkit.ngram.train.Scratch", type("Tiny", (Scratch,), {"room": 4000}))
    bounded = lmkit.train(
        text, holdout=0, memory="4G", temp=str(tmp_path), **{"tokenizer": "word", **options}
    )  # type: ignore[arg-type]
    assert isinstance(free, lmkit.NgramModel)
    assert isinstance(bounded, lmkit.NgramModel)
    for name, array in free.arrays().items():
        assert np.array_equal(array, bounded.arrays()[name]), name
    assert free.tokenizer.vocab == bounded.tokenizer.vocab
    assert list(tmp_path.iterdir()) == []  # the files have no names


def test_runs_that_hold_the_same_windows_add_up(small: Scratch) -> None:
    run = Run(np.array([[1, 3], [3, 4], [4, 2]], np.int32), np.array([1, 2, 3], np.int32))
    merged = merge([run, run, run], vocab_size=5, scratch=small)
    assert merged.run.windows.tolist() == run.windows.tolist()
    assert merged.run.weight.tolist() == [3, 6, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "lots"}, "no amount of memory"),
        ({"memory": "20M"}, "is too little"),
        ({"memory": "1G", "temp": "/nowhere"}, "no folder that can be written"),
    ],
)
def test_bounds_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(lmkit.UsageError, match=message):
        lmkit.train("the fox\n" * 9, holdout=0, **options)  # type: ignore[arg-type]


def test_counts_are_joined_in_small_pieces(
    small: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["".join(f"w{i % n} w{i * i % 7} x\n" for i in range(200)) for n in (5, 9)]
    for i, text in enumerate(texts):
        lmkit.count(text, output=tmp_path / str(i), order=4)
    expected = lmkit.train([tmp_path / "0", tmp_path / "1"], counts=True)
    monkeypatch.setattr("lmkit.ngram.counts._LEAST_PIECE", 16)
    monkeypatch.setattr("lmkit.ngram.train.Scratch", type("Tiny", (Scratch,), {"room": 4000}))
    joined = lmkit.train([tmp_path / "0", tmp_path / "1"], counts=True, memory="4G", temp=str(tmp_path))
    for name, array in expected.arrays().items():
        assert np.array_equal(array, joined.arrays()[name]), name


PEAK = """
import os, sys, warnings
import lmkit
from lmkit.scratch import peak
warnings.simplefilter("ignore")
os.sched_getaffinity = lambda _: range(int(sys.argv[1]))
lmkit.train(sys.argv[2], order=int(sys.argv[3]), memory="330M", holdout=float(sys.argv[4]))
print(peak())
"""


@pytest.mark.parametrize(("cores", "order", "holdout"), [(2, 5, 0), (16, 5, 0.1), (2, 20, 0), (16, 20, 0)])
def test_the_bound_of_memory_holds(tmp_path: Path, cores: int, order: int, holdout: float) -> None:
    rng = np.random.default_rng(0)
    words = (30_000 * rng.random(1_200_000) ** 4).astype(int).reshape(-1, 12)
    (tmp_path / "text.txt").write_text("\n".join(" ".join(f"w{w}" for w in line) for line in words) + "\n")
    (tmp_path / "small.txt").write_text("the fox\nran\n" * 300)
    found = []
    for name in ("small.txt", "text.txt"):  # the first compiles what must be, which takes memory of its own
        command = [sys.executable, "-c", PEAK, str(cores), str(tmp_path / name), str(order), str(holdout)]
        found.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert int(found[1]) < 1.2 * 330 * 2**20
