"""Texts that are all different, as if drawn one after another without putting any back.

Stochastic beam search (Kool, van Hoof and Welling 2019): a text has the key log p + noise, the noise of a Gumbel
distribution, and the texts of the k highest keys are k draws without replacement, in the order of their keys. The key
of a beginning is the highest of those of all texts that begin so. So keys are drawn from the root down, those of the
next tokens under the condition that the highest is that of their beginning, and a beam search finds the highest.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from lmkit.config import GenerationConfig
from lmkit.generation.beam import Hypothesis, Step
from lmkit.generation.deadline import Deadline
from lmkit.generation.streaming import line_ends
from lmkit.seeds import check_seed, fresh_seed, generator


def distinct_texts(step: Step, config: GenerationConfig, deadline: Deadline) -> list[Hypothesis]:
    """Draw `samples` different texts, in the order in which they would be drawn one by one.

    There are fewer if the rules allow no more.

    Args:
        step: The first; texts are drawn from what comes out of its rules.
        config: `samples`, `max_tokens`, `lines` and `seed`.
        deadline: When texts are given as far as they have come.
    """
    rng = generator(check_seed(fresh_seed() if config.seed is None else config.seed), 0)
    lines = line_ends(step.model, config)
    alive, keys = [Hypothesis(None, -1, 0.0, 0.0)], np.zeros(1)
    over: list[tuple[float, int, Hypothesis]] = []  # key, the beginning that it was, -1 for none, and text
    for length in range(1, config.max_tokens + 1):
        longer = step.grown(alive, config.samples, partial(_keys, highest_keys=keys, rng=rng))
        grown = sorted(over + longer, key=lambda entry: -entry[0])[: config.samples]
        late = length == config.max_tokens or deadline.passed is not None
        ended = [row < 0 or late or bool(lines and text.ended == lines) for _, row, text in grown]
        over = [(key, -1, text) for (key, _, text), end in zip(grown, ended, strict=True) if end]
        going = [entry for entry, end in zip(grown, ended, strict=True) if not end]
        if not going:
            break
        alive, keys = [text for _, _, text in going], np.array([key for key, _, _ in going])
        step = step.after([row for _, row, _ in going], np.array([text.token for text in alive]))
    return [text for _, _, text in over]


def _keys(
    totals: np.ndarray, rows: slice, *, highest_keys: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw keys (b, V) around log-probabilities (b, V), under the condition that the highest of each row is given.

    These are some of the rows whose highest keys are known (B,).

    Kool et al. 2019, appendix B.3: the same to the last digits where the keys are far below the highest one.
    """
    highest_key = highest_keys[rows]
    free = totals + rng.gumbel(size=totals.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        below = free - free.max(axis=1, keepdims=True)  # 0 at the highest
        v = highest_key[:, None] - free + np.log1p(-np.exp(below))
        keys = highest_key[:, None] - np.maximum(v, 0) - np.log1p(np.exp(-np.abs(v)))
    return np.where(below == 0, highest_key[:, None], np.where(np.isfinite(totals), keys, -np.inf))
