"""The pictures of losses and activations show the functions that they name."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the extra: plot")

from lmkit.nn.activations import ACTIVATIONS
from lmkit.report.functions import draw_activations, draw_losses
from lmkit.report.picture import KINDS, render


def lines(panel: object) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {line.get_label(): line.get_data() for line in panel.get_lines()}  # type: ignore[attr-defined]


def test_losses_likelihoods_and_gradients_are_those_of_the_textbook() -> None:
    loss, likelihood, gradient, surprisal, probability, pull = draw_losses().axes
    x, y = lines(loss)["L2"]
    np.testing.assert_allclose(y, x * x / 2)
    np.testing.assert_allclose(
        lines(likelihood)["L2"][1], np.exp(-x * x / 2) / math.sqrt(2 * math.pi), rtol=1e-4
    )
    np.testing.assert_allclose(lines(likelihood)["L1"][1], np.exp(-abs(x)) / 2, rtol=1e-3)
    np.testing.assert_allclose(lines(gradient)["L2"][1], x, atol=1e-12)
    np.testing.assert_allclose(lines(gradient)["L1"][1], np.sign(x))
    np.testing.assert_allclose(lines(gradient)["Huber, δ = 1"][1], np.clip(x, -1, 1), atol=1e-12)
    (name,) = lines(surprisal)
    chance = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(lines(surprisal)[name][1], -np.log(chance))
    np.testing.assert_allclose(lines(probability)[name][1], chance)
    np.testing.assert_allclose(lines(pull)[name][1], chance - 1, atol=1e-12)  # predicted minus true


def test_every_activation_is_drawn_with_its_derivative() -> None:
    values, slopes = draw_activations().axes
    assert set(lines(values)) == set(lines(slopes)) == set(ACTIVATIONS)
    x, y = lines(values)["tanh"]
    np.testing.assert_allclose(y, np.tanh(x))
    np.testing.assert_allclose(lines(slopes)["tanh"][1], 1 - np.tanh(x) ** 2, atol=1e-12)
    np.testing.assert_allclose(lines(slopes)["sigmoid"][1].max(), 0.25)


@pytest.mark.parametrize("draw", [draw_losses, draw_activations])
def test_panels_say_what_they_show(draw) -> None:
    figure = draw()
    for panel in figure.axes:
        assert panel.get_xlabel()
        assert panel.get_title()
        assert panel.get_legend()
    assert all(render(figure, kind=kind) for kind in KINDS)
