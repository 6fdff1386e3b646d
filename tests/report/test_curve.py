"""Learning curves: what is read of metrics.jsonl, what is drawn of it, and what is refused."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit
from lmkit.bundle import Record
from lmkit.errors import InputError, LmkitError, LmkitWarning, ModelFormatError, UsageError
from lmkit.report.curve import AXES, Curve, difference, draw, read_curve
from lmkit.report.picture import KINDS, render
from tests.conftest import STORY


def entry(step: int, **changes: Any) -> dict[str, Any]:
    """A point like those of the recurrent trainer."""
    point = {
        "step": step,
        "epoch": step / 10,
        "seconds": step / 2,
        "train_loss": 3.0 - step / 10,
        "learning_rate": 0.004,
        "gradient_norm": 0.5,
        "valid_loss": 3.0 + (step - 2) ** 2 / 10,
    }
    return point | changes


def written(*entries: dict[str, Any], end: str = "\n") -> Path:
    path = Path("metrics.jsonl")
    path.write_text("\n".join(json.dumps(each) for each in entries) + end)
    return path


def test_the_points_are_those_of_the_file() -> None:
    curve = read_curve(written({"seconds": 0.1}, *(entry(step) for step in range(5))))
    assert curve.columns["step"].tolist() == [0, 1, 2, 3, 4]  # an entry without a loss is none
    assert curve.columns["seconds"].tolist() == [0, 0.5, 1, 1.5, 2]
    assert curve.best() == 2
    np.testing.assert_allclose(curve.perplexity("valid_loss")[2], math.exp(3.0))


def test_the_curve_of_a_model_folder_is_that_of_its_training(tmp_path: Path) -> None:
    lmkit.train(
        STORY * 20, output=tmp_path / "m", backend="rnn", holdout=0.2, epochs=1, hidden_size=8, threads=1
    )
    curve = read_curve(tmp_path / "m")
    assert curve.name == str(tmp_path / "m") == read_curve(tmp_path / "m" / "metrics.jsonl").name
    points = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    losses = [point["valid_loss"] for point in points if "valid_loss" in point]
    assert losses
    assert curve.columns["valid_loss"].tolist() == losses


def test_what_was_not_measured_is_a_gap() -> None:
    without = entry(2)
    del without["valid_loss"]
    curve = read_curve(written(entry(1, train_loss=None, gradient_norm=None), without))
    assert np.isnan(curve.columns["train_loss"]).tolist() == [True, False]
    assert np.isnan(curve.columns["valid_loss"]).tolist() == [False, True]
    assert curve.best() == 0


@pytest.mark.parametrize("value", [math.inf, math.nan, 10**400], ids=["inf", "nan", "huge"])
def test_what_is_not_finite_is_left_out_and_said(value: float) -> None:
    with pytest.warns(LmkitWarning, match=r"metrics\.jsonl:2: valid_loss is not finite"):
        curve = read_curve(written(entry(1), entry(2, valid_loss=value)))
    assert curve.best() == 0


def test_a_line_that_is_being_written_is_not_read_yet() -> None:
    path = written(entry(1), entry(2), end='\n{"step": 3, "train_')
    assert read_curve(path).columns["step"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("", InputError, "empty"),
        ("\n", InputError, "metrics.jsonl:1"),
        ('{"train_loss": 1', InputError, "metrics.jsonl:1"),
        ('{"train_loss": 1}\n\n{"train_loss": 1}\n', InputError, "metrics.jsonl:2"),
        ('{"train_loss": 1}\n{"train_\n{"train_loss": 1}\n', InputError, "metrics.jsonl:2"),
        ("[1]\n", InputError, "metrics.jsonl:1: is no entry"),
        ("[" * 100_000 + "\n", InputError, "metrics.jsonl:1: is no entry"),
        ('{"train_loss": "\xff"}\n', InputError, "metrics.jsonl:1"),
        ('{"train_loss": "low"}\n', InputError, 'metrics.jsonl:1: train_loss is "low"'),
        ('{"train_loss": true}\n', InputError, "metrics.jsonl:1: train_loss is true"),
        ('{"train_loss": null}\n', InputError, "no loss in it is finite"),
        ('{"seconds": 0.2}\n{"ngrams": [3, 4], "seconds": 0.3}\n', UsageError, "--backend rnn"),
    ],
)
def test_what_is_no_curve_is_refused(content: str, error: type[LmkitError], words: str) -> None:
    Path("metrics.jsonl").write_bytes(content.encode("latin-1"))
    with pytest.raises(error) as raised:
        read_curve("metrics.jsonl")
    assert words in str(raised.value)


def test_folders_that_are_no_model_or_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no model"):
        read_curve(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFormatError, match=r"manifest\.json"):
        read_curve(tmp_path / "empty")
    lmkit.save(lmkit.train(STORY, order=1), tmp_path / "m", record=Record(metrics=[entry(1)]))
    assert read_curve(tmp_path / "m").best() == 0
    (tmp_path / "m" / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(ModelFormatError, match=r"metrics\.jsonl"):
        read_curve(tmp_path / "m")


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_the_same_curves_is_the_same(kind: str) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    curve = read_curve(written(*(entry(step) for step in range(5))))
    first, second = (render(draw([curve, curve]), kind=kind) for _ in range(2))
    assert first == second
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])


@pytest.mark.parametrize("x", AXES)
def test_a_picture_shows_every_point_and_marks_the_best(x: str) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    curve = read_curve(written(*(entry(step) for step in range(5))))
    above, below, right = draw([curve], x=x).axes
    training, validation, best = above.get_lines()
    assert above.get_yscale() == "log"
    np.testing.assert_array_equal(training.get_xdata(), curve.columns[x])
    np.testing.assert_allclose(validation.get_ydata(), np.exp(curve.columns["valid_loss"]))
    assert list(best.get_xdata()) == [curve.columns[x][2]]
    assert "learning rate" in below.get_ylabel()
    assert "gradient norm" in right.get_ylabel()


@pytest.mark.parametrize(
    "points",
    [
        [entry(1)],
        [entry(1, train_loss=0.0, valid_loss=0.0)],
        [entry(1), entry(2, valid_loss=800.0, train_loss=1e300)],
        [{"train_loss": 2.0, "seconds": 1.0}],
        [{"valid_loss": 2.0, "seconds": 1.0, "learning_rate": 0.1}],
        [entry(1, gradient_norm=None, train_loss=None), entry(2)],
    ],
    ids=["one point", "perplexity 1", "diverged", "training only", "validation only", "gaps"],
)
def test_unusual_curves_are_drawn_without_a_word(points: list[dict[str, Any]]) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    curve = read_curve(written(*points))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert render(draw([curve]), kind="png")


def test_trainings_are_compared_at_the_same_time_and_nowhere_beyond() -> None:
    first = Curve("a", {"seconds": np.array([0.0, 10, 20]), "valid_loss": np.array([3.0, np.nan, 1.0])})
    other = Curve(
        "b",
        {"seconds": np.array([-1.0, 5, 20, 21]), "valid_loss": np.array([9.0, 2.5, 1 + np.log(1.1), 0.0])},
    )
    found = difference(other, first, x="seconds")
    np.testing.assert_allclose(found, [np.nan, 0.0, 10.0, np.nan], atol=1e-9)
    found = difference(other, first, x="seconds", between="previous")
    np.testing.assert_allclose(found, [np.nan, 100 * np.expm1(-0.5), 10.0, np.nan], atol=1e-9)
    nothing = Curve("c", {"seconds": np.array([np.nan]), "valid_loss": np.array([1.0])})
    assert np.isnan(difference(other, nothing, x="seconds")).all()


def test_the_difference_of_several_trainings_is_drawn_between_curves_and_drivers() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    curve = read_curve(written(*(entry(step) for step in range(5))))
    axes = draw([curve, curve, curve]).axes
    assert len(axes) == 4
    one, other, _ = axes[1].get_lines()
    assert not np.abs(one.get_ydata()).any()
    assert not np.abs(other.get_ydata()).any()
    assert "%" in axes[1].get_ylabel()


@pytest.mark.parametrize("name", ["_hidden", "a$x^$", "狐狸", "a\udcff", "two\nlines"])
def test_any_name_of_a_folder_can_be_drawn(name: str) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    Path(name).mkdir()
    curve = read_curve(written(entry(1)).rename(Path(name) / "metrics.jsonl"))
    figure = draw([curve, curve])
    assert len(figure.axes[0].get_legend().get_texts()) == 6
    for kind in KINDS:
        assert render(figure, kind=kind)


def test_a_curve_that_says_nothing_of_the_axis_is_refused() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    curve = read_curve(written({"seconds": 1, "train_loss": 1}))
    with pytest.raises(UsageError, match=r"nothing of epoch, only of seconds; choose by --x"):
        draw([curve], x="epoch")
