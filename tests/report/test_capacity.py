"""The picture of capacity: what is drawn where."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("matplotlib", reason="needs the extra: plot")

from lmkit.report.capacity import Point, draw


def test_models_are_drawn_by_capacity_and_the_best_is_named() -> None:
    points = [
        Point("order=3", 300, 9.0, 0.5, 2.0),
        Point("order=1", 100, 12.0, 0.5, 11.0),
        Point("order=2", 200, 8.0, 0.5, 6.0),
        Point("order=4", 400, math.inf, math.inf, math.inf),
    ]
    (axes,) = draw(points).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["training"].get_xdata()) == [100, 200, 300]
    assert list(lines["training"].get_ydata()) == [11.0, 6.0, 2.0]
    assert list(lines["best: 8"].get_xdata()) == [200]
    assert {text.get_text() for text in axes.texts} == {"order=1", "order=2", "order=3"}
    assert "capacity" in axes.get_xlabel()
    assert axes.get_ylabel() == "perplexity"


def test_models_of_one_capacity_are_not_joined() -> None:
    (axes,) = draw([Point("rate=1", 100, 9.0, 0.5, 2.0), Point("rate=2", 100, 8.0, 0.5, 2.0)]).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines["training"].get_linestyle() == "None"


def test_nothing_is_drawn_where_everything_diverged() -> None:
    (axes,) = draw([Point("a", 1, math.inf, math.inf, math.inf)]).axes
    assert not axes.texts
