"""One seed, from which every random stream of a run is drawn."""

from __future__ import annotations

import secrets

import numpy as np

from lmkit.errors import UsageError


def check_seed(seed: int) -> int:
    """Give the seed back if it is one that every generator accepts.

    Raises:
        UsageError: it is negative or does not fit into 63 bits.
    """
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"seed {seed} is out of range; give a whole number from 0 to 2^63 - 1")
    return seed


def fresh_seed() -> int:
    """Draw a seed from the system, short enough to be typed again."""
    return secrets.randbelow(1 << 32)


def generator(seed: int, index: int) -> np.random.Generator:
    """Make the random generator of one sample: independent of those of others, and of how many there are.

    >>> generator(7, 0).random() == generator(7, 0).random() != generator(7, 1).random()
    True
    """
    return np.random.default_rng([check_seed(seed), index])
