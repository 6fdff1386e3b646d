"""Working arrays in memory or in files: the same content, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmkit.errors import ResourceError, UsageError
from lmkit.progress import Progress
from lmkit.scratch import Scratch, peak, release, resident


@pytest.fixture(params=["memory", "disk"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Scratch:
    return Scratch(memory=1 << 34, folder=tmp_path) if request.param == "disk" else Scratch()


def test_arrays_keep_their_content_when_they_are_let_go_of(scratch: Scratch, tmp_path: Path) -> None:
    table = scratch.empty((50_000, 3), np.int32)
    table[:] = np.arange(150_000).reshape(-1, 3)
    release(table, table[7:9], table[::5])
    assert np.array_equal(table, np.arange(150_000).reshape(-1, 3))
    assert not scratch.zeros(9, np.uint32).any()
    assert scratch.empty(0, np.float32).shape == (0,)
    joined = scratch.joined((np.arange(n) for n in (3, 0, 2)), np.int16)
    assert joined.dtype == np.int16
    assert joined.tolist() == [0, 1, 2, 0, 1]
    joined[:] = 7
    assert [piece.tolist() for piece in scratch.pieces(joined, 2)] == [[7, 7], [7, 7], [7]]
    assert scratch.joined([], np.int32).shape == (0,)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_let_go_of(tmp_path: Path) -> None:
    array = Scratch(memory=1 << 34, folder=tmp_path).empty(1 << 27, np.uint8)
    array[:] = 1
    held = resident()
    release(array)
    assert held - resident() > 1 << 26
    assert peak() > 0.9 * held  # the system counts in lots


def test_what_the_disk_cannot_hold_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    scratch = Scratch(memory=1 << 34, folder=tmp_path)
    with pytest.raises(ResourceError, match="temporary files need"):
        scratch.check_disk(1 << 60)
    with pytest.raises(ResourceError, match="cannot be written"):
        scratch.empty(1 << 60, np.uint8)
    Scratch().check_disk(1 << 60)  # nothing is written


def test_a_bound_below_what_the_program_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give at least"):
        _ = Scratch(memory=1 << 20, folder=tmp_path).room


def test_progress_notes_the_time_of_every_stage() -> None:
    with Progress(["one", "two"], show=False) as progress:
        progress.stage("one")
        assert list(progress.over("abc", 3)) == ["a", "b", "c"]
        progress.stage("two")
    assert list(progress.seconds) == ["one", "two"]
    assert all(seconds >= 0 for seconds in progress.seconds.values())
