"""Work for several cores: every item once, results in order, errors raised."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lmkit.threads import chunks, cores, in_order, in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    second_is_done = threading.Event()

    def work(i: int) -> int:
        if i == 0 and cores() > 1:
            assert second_is_done.wait(10)  # the second is done before the first
        if i == 1:
            second_is_done.set()
        return i * i

    assert list(in_order(work, range(20))) == [i * i for i in range(20)]


def test_items_are_taken_only_a_few_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield i

    results = in_order(lambda i: i, items())
    assert next(results) == 0
    assert taken <= cores() + 2
    results.close()


@pytest.mark.parametrize("run", [in_threads, lambda work, items: list(in_order(work, items))])
def test_the_first_error_is_raised(run: object) -> None:
    def work(i: int) -> None:
        if i == 3:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        run(work, range(9))  # type: ignore[operator]


def test_chunks_cover_a_range_once() -> None:
    assert [i for low, high in chunks(5, 23, 4) for i in range(low, high)] == list(range(5, 23))
    assert chunks(5, 5) == []
