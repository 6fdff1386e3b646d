"""How much noise a training has: the one dial, how it grows, and the rates that it stands for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lmkit.config import RnnConfig
from lmkit.nn.regularization import Regularization

_MOST_NOISE = 1.2  # of the dial, unless more is asked for
_WIDE = 384  # units, from which on a layer has so much noise
_NOISY_PASSES = 8  # over the text, after which noise grows no more
_AT_ONE = Regularization(input=0.35, hidden=0.25, output=0.35)  # --regularize 1


def dial(passes: float, units: int) -> float:
    """Give how much noise suits so many passes over a text: what is read twice is not yet learnt by heart.

    A narrow layer has less to spare, and less that could learn by heart.

    >>> [round(dial(passes, 400), 2) for passes in (1, 2.5, 5, 8, 100)], round(dial(100, 192), 2)
    ([0.0, 0.0, 0.6, 1.01, 1.2], 0.6)
    """
    width = min(1.0, units / _WIDE)
    return width * float(np.clip(2 * math.log10(max(passes, 1e-3) / 2.5), 0.0, _MOST_NOISE))


def noise_share(progress: float, passes: float) -> float:
    """Give how much of the noise there is at a share of the training, after so many passes over the text.

    It grows in a straight line from nothing (Morerio et al. 2017): without noise the beginning is learnt sooner, and
    only what has been read often can be learnt by heart. Eight times are often, however long is left.

    >>> noise_share(0.5, 2), noise_share(0.1, 4), noise_share(0.1, 20)
    (0.5, 0.5, 1.0)
    """
    return max(progress, min(1.0, passes / _NOISY_PASSES))


def regularization(config: RnnConfig, share: float = 1.0) -> Regularization:
    """Give the rates that the dial, so far as it has grown, and the single options say, which do not change."""
    found = _AT_ONE.scaled(share * (config.regularize or 0.0))
    single = {
        "embedding": config.embedding_dropout,
        "weight": config.weight_drop,
        "activation": config.activation_penalty,
        "temporal": config.temporal_penalty,
        **dict.fromkeys(("input", "hidden", "output"), config.dropout),
    }
    return replace(found, **{name: rate for name, rate in single.items() if rate is not None})
