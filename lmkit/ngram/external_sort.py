"""The external sort: sorted runs of windows, kept on disk where memory is bounded, merged by key range.

A text that does not fit is sorted a stretch at a time; what each gives is a run, its distinct windows in order and how
often each was met. Counts of other texts are runs too. Windows drawn from all runs at even distances divide the
order into ranges of known size; each range is gathered from the runs, sorted again and summed up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lmkit.ngram.kernels import sorting
from lmkit.ngram.suffix_sort import Part, SortedSuffixes, sort_suffixes, sort_windows
from lmkit.scratch import Scratch, release
from lmkit.threads import chunks, in_order, in_threads

_LEAST_STRETCH = 1 << 16  # positions
_MOST_RANGE = 1 << 20  # windows
_RANGES = 64  # of first tokens, for threads to share


Watch = Callable[[Iterable[Any], int], Iterator[Any]]


def unwatched(items: Iterable[Any], total: int) -> Iterator[Any]:
    """Give the items, and tell nobody."""
    return iter(items)


class Run(NamedTuple):
    """Distinct windows (R, order) int32 in order, filled up with `</s>`, and how often each was met (R,) int32."""

    windows: np.ndarray
    weight: np.ndarray

    def part(self, begin: int, end: int | None = None) -> Run:
        """Give a view of the windows `begin` to `end` (exclusive), or of all from `begin` on."""
        return Run(self.windows[begin:end], self.weight[begin:end])


@dataclass(frozen=True)
class SortedRun:
    """One run with the comparisons of neighbours: `SortedWindows` on disk or in memory.

    Attributes:
        run: the windows.
        shared, length: (R,) uint8, see `Part`.
        counts, rows: see `SortedWindows`.
        bounds: (ranges + 1,) int64, where each range of first tokens begins and ends.
        part: how many windows to give at a time.
    """

    run: Run
    shared: np.ndarray
    length: np.ndarray
    counts: np.ndarray
    bounds: np.ndarray
    rows: np.ndarray
    part: int

    def parts(self, r: int) -> Iterator[Part]:
        """Give the windows of a range, some at a time."""
        order = self.run.windows.shape[1]
        begin, end = int(self.bounds[r]), int(self.bounds[r + 1])
        for places in (slice(*ends) for ends in chunks(begin, end, self.part)):
            stream = self.run.windows[places].ravel()
            positions = np.arange(0, len(stream), order, dtype=np.int32)
            yield Part(stream, positions, self.shared[places], self.length[places], self.run.weight[places])
            release(*self.run, self.shared, self.length)


def window_bytes(order: int, vocab_size: int) -> int:
    """Give the bytes that a window takes while it is sorted: itself twice, its digits, keys, ranks and the like."""
    digits = -(-order * vocab_size.bit_length() // 40)
    return 8 * order + 8 * digits + 40


def runs_of_text(
    stream: np.ndarray, *, order: int, vocab_size: int, scratch: Scratch, watch: Watch = unwatched
) -> list[Run]:
    """Sort a stream (S,) a stretch at a time, each as large as memory allows."""
    stretch = max(scratch.room // window_bytes(order, vocab_size), _LEAST_STRETCH)
    runs = empty_run(len(stream), order, scratch)
    found = []
    begins = range(0, len(stream), stretch)
    for begin in watch(begins, len(begins)):
        size = min(stretch, len(stream) - begin)
        some = stream[begin : begin + size + order - 1].copy()
        release(stream)
        run = _run_of(sort_suffixes(some, order=order, vocab_size=vocab_size, size=size), runs)
        found.append(run)
        runs = runs.part(len(run.weight))
    return found


def run_of_windows(windows: np.ndarray, weight: np.ndarray, *, vocab_size: int, space: Run) -> Run:
    """Sort windows (n, order) int32 in any order that fit into memory, and sum up equal ones.

    The sums of weights must stay below 2^31. The result is the beginning of `space`.
    """
    run, _, _ = _sorted(windows, weight, vocab_size)
    stored = space.part(0, len(run.weight))
    stored.windows[:], stored.weight[:] = run
    release(*stored)
    return stored


def empty_run(size: int, order: int, scratch: Scratch) -> Run:
    """Give space for so many windows: one pair of arrays for many runs, since each has a file."""
    return Run(scratch.empty((size, order), np.int32), scratch.empty(size, np.int32))


def _run_of(suffixes: SortedSuffixes, space: Run) -> Run:
    """Give the distinct windows of some sorted positions, at the beginning of `space`."""
    places = [slice(*ends) for ends in pairwise(suffixes.bounds.tolist())]
    distinct = np.zeros(len(places), np.int64)

    def count(r: int) -> None:
        distinct[r] = np.count_nonzero(suffixes.shared[places[r]] < suffixes.length[places[r]])

    in_threads(count, range(len(places)))
    ends = np.cumsum(distinct)

    def write(r: int) -> None:
        target = space.part(ends[r] - distinct[r], ends[r])
        for part in suffixes.parts(r):
            sorting.write_distinct(*part, *target)
        release(*target)

    in_threads(write, range(len(places)))
    return space.part(0, ends[-1])


def merge(runs: Sequence[Run], *, vocab_size: int, scratch: Scratch, watch: Watch = unwatched) -> SortedRun:
    """Merge runs into one.

    Args:
        runs: At least one.
        vocab_size: How many different tokens there are.
        scratch: Where large arrays are.
        watch: Is told of every range: takes the ranges and their number, and gives them on.
    """
    total, order = sum(len(run.weight) for run in runs), runs[0].windows.shape[1]
    merged = empty_run(total, order, scratch)
    shared, length = scratch.empty(total, np.uint8), scratch.empty(total, np.uint8)
    counts, begun = np.zeros(vocab_size, np.int64), np.zeros(vocab_size, np.int64)

    def gather(ends: np.ndarray) -> tuple[Run, np.ndarray, np.ndarray]:
        parts = [run.part(*here) for run, here in zip(runs, ends, strict=True)]
        windows, weight = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        for run in runs:
            release(*run)
        return _sorted(windows, weight, vocab_size)

    n = 0
    size = scratch.at_a_time(window_bytes(order, vocab_size), most=_MOST_RANGE, waiting=2)
    ranges = _ranges(runs, size)
    for run, shared_here, length_here in watch(in_order(gather, ranges), len(ranges)):
        places = slice(n, n + len(run.weight))
        merged.windows[places], merged.weight[places] = run
        shared[places], length[places] = shared_here, length_here
        if n:
            same = (merged.windows[n] == merged.windows[n - 1]).tolist()
            shared[n] = same.index(False)  # equal windows are never in two ranges
        sorting.count_first_tokens(run.windows, run.weight, counts, begun)
        n = places.stop
        release(*merged, shared, length)
    bounds = _between_first_tokens(begun)
    rows = np.zeros((len(bounds) - 1, order + 1), np.int64)

    def count(r: int) -> None:
        for places in (slice(*ends) for ends in chunks(int(bounds[r]), int(bounds[r + 1]))):
            sorting.count_distinct(shared[places], length[places], rows[r])
            release(shared, length)

    in_threads(count, range(len(rows)))
    run = merged.part(0, n)
    part = scratch.at_a_time(8 * order + 60)  # with what is made of it
    return SortedRun(run, shared[:n], length[:n], counts, bounds, rows, part)


def _sorted(windows: np.ndarray, weight: np.ndarray, vocab_size: int) -> tuple[Run, np.ndarray, np.ndarray]:
    """Sort windows (n, order) and sum up equal ones; give `shared` and `length` of the distinct ones as well."""
    stream, order = windows.ravel(), windows.shape[1]
    positions = np.arange(0, len(stream), order, dtype=np.int32)
    shared, length = np.empty(len(windows), np.uint8), np.empty(len(windows), np.uint8)
    first = windows[:, 0]
    ranks = sort_windows(
        stream, positions, shared, length, order=order, tokens=(int(first.min()), int(first.max())),
        word_bits=vocab_size.bit_length(),
    )  # fmt: skip
    distinct = shared < length
    n = int(np.count_nonzero(distinct))
    run = Run(np.empty((n, order), np.int32), np.empty(n, np.int32))
    sorting.write_distinct(stream, positions[ranks], shared, length, weight[ranks], *run)
    return run, shared[distinct], length[distinct]


def _ranges(runs: Sequence[Run], size: int) -> list[np.ndarray]:
    """Cut the common order of some runs into ranges of at most `size` windows: where each lies in each (runs, 2)."""
    step = max(size // (4 * len(runs)), 1)
    parts = []
    for run in runs:
        parts.append(run.windows[step - 1 :: step].copy())
        release(*run)
    samples = np.concatenate(parts)
    samples = samples[np.lexsort(samples.T[::-1])]
    splitters = [tuple(sample) for sample in samples[3 * len(runs) - 1 :: 3 * len(runs)].tolist()]
    cuts = np.zeros((len(runs), len(splitters) + 2), np.int64)
    for run, row in zip(runs, cuts, strict=True):

        def window(i: int, run: Run = run) -> tuple[int, ...]:
            found = tuple(run.windows[i].tolist())
            release(run.windows[i])
            return found

        row[-1] = len(run.weight)
        row[1:-1] = [bisect_left(range(len(run.weight)), splitter, key=window) for splitter in splitters]
        release(*run)
    ranges = np.stack([cuts[:, :-1], cuts[:, 1:]], axis=-1).swapaxes(0, 1)
    return [ends for ends in ranges if (ends[:, 0] < ends[:, 1]).any()]


def _between_first_tokens(begun: np.ndarray) -> np.ndarray:
    """Cut sorted windows into ranges of like size, none with the first token of another.

    Args:
        begun: (V,) how many windows begin with each token.
    """
    ends = np.cumsum(begun)
    wanted = np.linspace(0, ends[-1], _RANGES + 1)[1:]
    return np.unique(np.append(0, ends[np.searchsorted(ends, wanted)]))
