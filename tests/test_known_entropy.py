"""Models against the best possible one: the source that the fables of corpora/ were drawn from."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit
from corpora import stories
from lmkit.uniform import UniformModel

FOLDER = Path(stories.__file__).parent / "stories"
LINES = (FOLDER / "test.txt").read_text(encoding="utf-8").splitlines()

# How far above the source a model may be, as a share of its perplexity. An n-gram cannot see what a fable began with;
# the network is trained for half a minute here (scripts/measure.py stories trains it for longer).
RECIPES = {
    "3-gram": ({"order": 3}, 1.30),
    "5-gram": ({"order": 5}, 0.90),
    "network": (
        {
            "backend": "rnn",
            "epochs": 4,
            "hidden_size": 192,
            "dropout": 0.1,
            "learning_rate": 6e-3,
            "threads": 1,  # another worker tests beside it, and two pools of threads wait for each other
        },
        0.35,
    ),
}


@cache
def source_scores() -> list[float]:
    return [stories.source().log_probability(line) for line in LINES]


@pytest.mark.timeout(900)  # a busy machine trains the network ten times as long
@pytest.mark.parametrize("name", RECIPES)
def test_a_model_comes_near_the_source_and_never_beats_it(name: str) -> None:
    options, share = RECIPES[name]
    model = lmkit.train(FOLDER / "train.txt", valid=FOLDER / "valid.txt", **options)  # type: ignore[arg-type]
    result = lmkit.perplexity(model, FOLDER / "test.txt")
    best = stories.perplexity(LINES)
    assert result.perplexity < best * (1 + share)

    lengths = [len(line.split()) + 1 for line in LINES]
    scores = np.split(model.score(LINES).astype(np.float64), np.cumsum(lengths)[:-1])
    worse = np.array(source_scores()) - np.array([line.sum() for line in scores])  # nats a line
    sampling_error = worse.std(ddof=1) / math.sqrt(len(worse))
    assert worse.mean() > -3 * sampling_error


class SourceModel(UniformModel):
    """The source itself behind the evaluator."""

    def score_ids(self, ids: np.ndarray, state: Any | None = None) -> tuple[np.ndarray, Any]:
        lines = self.tokenizer.decode(ids).split("\n")[:-1]
        surprisals = np.concatenate([stories.source().surprisals(line) for line in lines])
        return -surprisals.astype(np.float32), self.start()


def test_the_evaluator_gives_the_source_its_own_perplexity() -> None:
    uniform = lmkit.train(FOLDER / "train.txt", backend="uniform", holdout=0)
    result = lmkit.perplexity(SourceModel(tokenizer=uniform.tokenizer), FOLDER / "test.txt")
    assert result.perplexity == pytest.approx(stories.perplexity(LINES), rel=1e-5)
    assert result.oov == 0
