"""How the speed of a machine is measured."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.config import RnnConfig
from lmkit.rnn.learner import Learner
from lmkit.rnn.plan import settle
from lmkit.rnn.trial import trial

CPU = torch.device("cpu")
WORDS = 20_000
IDS = np.random.default_rng(0).integers(3, WORDS, 200_000).astype(np.int32)


def test_the_first_step_of_a_trial_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    step = Learner.step

    def slow_at_first(self: Any, window: Any, **how: Any) -> Any:
        taken.append(0)
        if len(taken) == 1:  # as where loops are compiled
            time.sleep(3)
        return step(self, window, **how)

    monkeypatch.setattr(Learner, "step", slow_at_first)
    config = settle(RnnConfig(epochs=1, size="tiny"), IDS, WORDS, device=CPU, report=None)
    tokens = (config.batch_size or 0) * (config.bptt or 0)
    assert trial(config, IDS, WORDS, device=CPU, limit=0.001) > tokens / 2
    assert len(taken) == 2


def test_a_trial_leaves_no_trace_in_what_is_drawn() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    config = settle(RnnConfig(epochs=1, size="tiny"), IDS, WORDS, device=CPU, report=None)
    assert trial(config, IDS, WORDS, device=CPU, limit=0.01) > 0
    assert torch.equal(torch.rand(3), expected)
