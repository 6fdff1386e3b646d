"""What to train where nothing was asked for: from the text, the time there is, and the measured speed of this machine.

Everything here is a default. What it rests on was measured; CONTRIBUTING.md has the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from lmkit.config import RnnConfig
from lmkit.errors import ResourceError, UsageError
from lmkit.nn.precision import Precision, fastest
from lmkit.nn.stack import RecurrentStack
from lmkit.rnn.noise import dial
from lmkit.rnn.schedule import default_epochs
from lmkit.rnn.teacher import Teacher
from lmkit.rnn.trial import trial


class Size(NamedTuple):
    """The units of a layer, and the passes over the text that there must be time for."""

    units: int
    passes: float


MANY_WORDS = {"tiny": Size(128, 0), "small": Size(256, 3.5), "medium": Size(400, 8), "large": Size(512, 14)}
FEW_WORDS = {"tiny": Size(128, 0), "small": Size(256, 1), "medium": Size(384, 1.5), "large": Size(512, 8)}
MANY_WORDS_ON_A_GPU = FEW_WORDS | {"medium": Size(400, 1.5), "large": Size(650, 5)}
_FEW = 2000  # words, such as characters: the head costs nothing
_SAMPLED_FROM = 8192  # words; below it a full softmax costs a CPU no more than drawing does
_TRIAL_SHARE = 0.02  # of the budget, for measuring speeds
_STEPS_PER_EPOCH = 100  # a small text is read in narrower batches, to have so many steps to learn it
_AVERAGED_PASSES = 3.0  # from which on, and
_AVERAGED_STEPS = 500.0  # from which on means of the weights are better than the last ones
_NARROW = 64  # units, below which products are too small a part of a step for their precision to matter
_GENTLE = 4e-3  # at most: the steps of a network that knows nothing yet would forget what is known
_LAYERS = {"sru": 4}  # of the others, two


def settle(
    config: RnnConfig,
    ids: np.ndarray,
    vocab_size: int,
    *,
    device: torch.device,
    report: Callable[[str], None] | None,
    teacher: Teacher | None = None,
    processes: int = 1,
    begun: bool = False,
) -> RnnConfig:
    """Give the config with nothing left open, saying why.

    Args:
        config: As asked for.
        ids: (T,) the text.
        vocab_size: V.
        device: Where it is trained.
        report: Receives lines for the user.
        teacher: What the network learns from beside the text; it needs every word's probability.
        processes: How many share the streams.
        begun: Whether it begins from a trained network.
    """
    say = report or (lambda line: None)
    small = vocab_size <= _FEW
    if config.cell == "auto":
        config = replace(config, cell=suited(device, small=small, weight_drop=bool(config.weight_drop)))
    bptt = config.bptt or (100 if small else 70)
    streams = 32 if small or device.type == "cpu" else 64
    suited_streams = min(streams, max(8, len(ids) // (bptt * _STEPS_PER_EPOCH)))
    batch_size = config.batch_size or max(1, suited_streams // processes) * processes
    head = config.head
    if head == "auto":
        sampled = vocab_size >= _SAMPLED_FROM and device.type == "cpu" and teacher is None
        head = "sampled" if sampled else "full"
    if head == "sampled" and teacher is not None:
        raise UsageError(
            "a teacher says how likely every word is, and --head sampled looks at a draw of them; take full or adaptive"
        )
    precision = suited_precision(config, device) if config.precision == "auto" else config.precision
    config = replace(config, bptt=bptt, batch_size=batch_size, head=head, precision=precision)
    check_layers(config, device)
    budget = config.time
    timed = math.isfinite(budget)
    sizes = suited_sizes(device, small=small)

    def speed_of(config: RnnConfig, *, limit: float) -> float:
        """Measure the speed of all processes together, each with its share of the streams."""
        share = replace(config, batch_size=batch_size // processes)
        return processes * trial(share, ids, vocab_size, device=device, limit=limit, teacher=teacher)

    if config.hidden_size is not None or config.size != "auto":
        config, speed = sized(config, sizes["medium" if config.size == "auto" else config.size]), None
    elif not timed:
        config, speed = sized(config, sizes["medium" if small or device.type != "cpu" else "small"]), None
    else:
        config, speed = _fitting(config, len(ids), speed_of, sizes=sizes, device=device)
    passes = default_epochs(len(ids) / (batch_size * bptt)) if config.budget is None else math.inf
    passes = config.epochs if config.epochs is not None else passes
    if config.averaging == "auto" and config.optimizer == "sgd":
        config = replace(config, averaging="off")
    if timed:
        left_open = config.regularize is None or config.learning_rate is None or config.averaging == "auto"
        if speed is None and left_open:
            speed = speed_of(config, limit=_TRIAL_SHARE * budget)
        if speed is not None:
            passes = min(passes, speed * budget / len(ids))
            say(f"{speed:,.0f} tokens/s here, about {passes:.1f} passes over the text in {budget:.0f} s")
    if (
        config.weight_decay is None
    ):  # that of sgd as in AWD-LSTM, whose rates are a thousand times those of AdamW
        config = replace(config, weight_decay=1.2e-6 if config.optimizer == "sgd" else 0.05)
    if config.regularize is None:
        config = replace(config, regularize=round(dial(passes, config.hidden_size or 1), 2))
    if config.averaging == "auto":
        often = passes >= _AVERAGED_PASSES and passes * len(ids) >= _AVERAGED_STEPS * batch_size * bptt
        config = replace(config, averaging="mean" if often else "off")
    if config.learning_rate is None:
        peak = 20.0 if config.optimizer == "sgd" else rate(passes, config.hidden_size or 1, head=head)
        if begun and config.optimizer != "sgd":
            peak = min(peak, _GENTLE)
        config = replace(config, learning_rate=float(f"{peak:.2g}"))
    layers = f"{config.num_layers} {config.cell} layers of {config.hidden_size} units"
    say(
        f"{layers}, {head} output layer over {vocab_size:,} words, {batch_size} streams of {bptt} steps, "
        f"--learning-rate {config.learning_rate:g}, --regularize {config.regularize:g}, "
        f"--averaging {config.averaging}, {precision} on {device}"
    )
    return config


def check_layers(config: RnnConfig, device: torch.device) -> None:
    """Refuse layers that cannot be, or that a CPU cannot read in the precision that is asked for.

    Raises:
        UsageError: which, and what to do.
    """
    kind = "lstm" if config.cell == "auto" else config.cell  # which has weights to drop, as will be chosen
    precision = Precision("float32" if config.precision == "auto" else config.precision, device)
    with torch.random.fork_rng(devices=[]):
        stack = RecurrentStack(
            kind=kind,
            input_size=1,
            hidden_size=1,
            activation=config.activation,
            weight_drop=config.weight_drop or 0.0,
        )
        if config.cell == "auto" or precision.name == "float32" or device.type != "cpu":
            return
        try:
            with precision.forwards():
                stack(torch.zeros(1, 1, 1), stack.initial_state(1))
        except RuntimeError as error:  # such as oneDNN's, of an LSTM in bfloat16 on a processor that has none
            raise UsageError(
                f"{device} cannot read a layer of kind {kind} in {precision.name} ({error}); take --precision float32, "
                "or another --cell"
            ) from error


def suited(device: torch.device, *, small: bool, weight_drop: bool) -> str:
    """Give the cell that makes most of a time.

    Of an SRU little goes step by step, by a loop that is compiled for CPUs alone, and it has no recurrent weights to
    drop; but how characters make words is learnt better by an LSTM, which can do more from one step to the next.
    """
    return "sru" if device.type == "cpu" and not small and not weight_drop else "lstm"


def suited_precision(config: RnnConfig, device: torch.device) -> str:
    """Give the precision that the device is fastest in, if the layers can be read in it and are wide enough to gain."""
    if (config.hidden_size or _NARROW) < _NARROW:
        return "float32"
    found = fastest(device)
    try:
        check_layers(replace(config, precision=found), device)
    except UsageError:
        return "float32"
    return found


def suited_sizes(device: torch.device, *, small: bool) -> dict[str, Size]:
    """Give the sizes to choose from, the smallest first."""
    if small:
        return FEW_WORDS
    return MANY_WORDS if device.type == "cpu" else MANY_WORDS_ON_A_GPU


def rate(passes: float, units: int, *, head: str = "full") -> float:
    """Give the peak rate of AdamW that suits so many passes over a text: who has little time takes long steps.

    1.6e-2 up to two passes, then less, half of it at eleven, and 4e-3 from 64 on. The wider a layer or a row of the
    table is, the further a step moves what comes of it: with a sampled softmax the rate falls with the width from 128
    units on (Yang et al. 2021), otherwise by its root from 512 on.

    >>> [round(rate(passes, 400), 4) for passes in (0.3, 2, 4, 10, 100)], round(rate(1, 2048), 4)
    ([0.016, 0.016, 0.0121, 0.0084, 0.004], 0.008)
    >>> rate(2, 256, head="sampled")
    0.008
    """
    width = min(1.0, 128 / units) if head == "sampled" else min(1.0, (512 / units) ** 0.5)
    return width * max(4e-3, 1.6e-2 * min(1.0, (2 / max(passes, 1e-3)) ** 0.4))


def sized(config: RnnConfig, size: Size) -> RnnConfig:
    """Give the config with the layers and units of a size, where they are not given."""
    hidden = config.hidden_size or size.units
    return replace(
        config,
        num_layers=config.num_layers or _LAYERS.get(config.cell, 2),
        hidden_size=hidden,
        embedding_size=config.embedding_size or hidden,  # of one size, the second layer can be a residual one
    )


def _fitting(
    config: RnnConfig,
    tokens: int,
    speed_of: Callable[..., float],
    *,
    sizes: dict[str, Size],
    device: torch.device,
) -> tuple[RnnConfig, float]:
    """Give the largest size that reads the text often enough in the time there is, and its speed."""
    limit = _TRIAL_SHARE * config.time / len(sizes)

    def passes(speed: float) -> float:
        return min(math.inf if config.epochs is None else config.epochs, speed * config.time / tokens)

    smallest, *rest = sizes.values()
    chosen = sized(config, smallest)
    speed = speed_of(chosen, limit=limit)
    for size in rest:
        larger = sized(config, size)
        faster = speed * (chosen.hidden_size or 1) ** 2 / (larger.hidden_size or 1) ** 2
        if device.type == "cpu" and passes(2 * faster) < size.passes:
            break
        try:
            found = speed_of(larger, limit=limit)
        except ResourceError:  # too large for the memory
            break
        if passes(found) < size.passes:
            break
        chosen, speed = larger, found
    return chosen, speed
