"""How much noise there is, and when."""

from __future__ import annotations

import pytest

from lmkit.config import RnnConfig
from lmkit.rnn.noise import dial, noise_share, regularization


def test_the_dial_rises_with_the_passes() -> None:
    passes = [0.1, 1, 3, 10, 30, 1000]
    dials = [dial(number, 384) for number in passes]
    assert dials == sorted(dials)
    assert dials[0] == 0
    assert dials[-2] == dials[-1]


def test_narrow_layers_have_less_noise() -> None:
    assert dial(8, 96) == pytest.approx(dial(8, 384) / 4)
    assert dial(8, 384) == dial(8, 2048)


def test_noise_grows_with_the_training_and_is_there_after_eight_passes() -> None:
    assert [noise_share(progress, 2 * progress) for progress in (0.0, 0.3, 1.0)] == [0.0, 0.3, 1.0]
    assert [noise_share(0.01 * passes, passes) for passes in (0, 4, 8, 50)] == [0.0, 0.5, 1.0, 1.0]


def test_single_rates_go_before_the_dial() -> None:
    none = regularization(RnnConfig(regularize=0.0))
    assert not any(vars(none).values())
    some = regularization(RnnConfig(regularize=0.0, dropout=0.2, weight_drop=0.5, temporal_penalty=1.0))
    assert (some.input, some.hidden, some.output) == (0.2, 0.2, 0.2)
    assert (some.weight, some.temporal, some.embedding) == (0.5, 1.0, 0.0)


def test_the_noise_of_the_dial_grows_and_single_rates_stay() -> None:
    config = RnnConfig(regularize=1.0, weight_drop=0.5)
    begin, middle, end = (regularization(config, share) for share in (0.0, 0.5, 1.0))
    assert (begin.input, begin.weight) == (0.0, 0.5)
    assert middle.input == pytest.approx(end.input / 2)
    assert (middle.weight, end) == (0.5, regularization(config))
