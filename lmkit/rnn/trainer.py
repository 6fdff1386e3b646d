"""The training loop: truncated back-propagation through time with clipped gradients.

Each step reads one window of every stream, starting from the hidden state that the window before left behind
(without its gradients), and follows the clipped gradient with AdamW at a rate that warms up and then falls along a
cosine to zero just when the time is over. The weights with the best validation are the ones kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lmkit.config import RnnConfig
from lmkit.errors import DivergedError
from lmkit.nn.cells import State as LayerState
from lmkit.nn.clip import clip_grad_norm
from lmkit.nn.optim import adamw, warmup_cosine
from lmkit.nn.saving import load_arrays, state_arrays
from lmkit.rnn.batches import hide_singletons, streams, windows
from lmkit.rnn.network import Network
from lmkit.rnn.schedule import Schedule

MEASUREMENTS = 20  # of the validation, over the whole training
_MEASURING_SHARE = 0.15  # tokens measured per token trained on; without gradients they cost a third
_MEASURED_TOKENS = 2000  # at least, of any text
_VALID_STREAMS = 16
_COOLING_SHARE = 0.3  # of the time spent, for bringing the rate down once validation has stopped falling
_BAD_STEPS = 20  # non-finite steps in a row that end the training
_STEPS_PER_EPOCH = 100  # a small text is read in narrower batches, to have so many steps to learn it

Layers = tuple[LayerState, ...]


class Trainer:
    """One training run of a network on a text (T,)."""

    def __init__(
        self,
        network: Network,
        ids: np.ndarray,
        *,
        config: RnnConfig,
        bptt: int,
        report: Callable[[str], None] | None,
        log: Callable[[dict[str, Any]], None],
    ) -> None:
        self.network = network
        self.ids = ids
        self.config = config
        self.bptt = bptt
        self.report = report
        self.log = log
        self.device = network.output.weight.device
        self.vocab_size = network.output.out_features
        self.rng = np.random.default_rng(config.seed)
        wanted = config.batch_size or min(32, max(8, len(ids) // (bptt * _STEPS_PER_EPOCH)))
        self.batch_size = max(1, min(wanted, len(ids) // 16))  # streams of some tokens, in the shortest text
        self.steps_per_epoch = max(1, math.ceil(len(ids) / self.batch_size / bptt))
        self.optimizer = adamw(
            network, learning_rate=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.schedule = Schedule.of(config, self.steps_per_epoch)
        self.valid: np.ndarray | None = None
        self.best = math.inf
        self.best_weights: dict[str, np.ndarray] | None = None
        self.waited = 0
        self.cooling = False
        self.bad_steps = 0

    def run(self, valid: np.ndarray | None) -> None:
        """Train until time or epochs are over, measuring on `valid` (T,) now and then if it is given.

        When validation no longer falls, training goes back to the best weights and brings the rate down to zero
        within a fraction of the time spent: the last descent is worth more than the weights that came before it.
        """
        try:
            self._run(valid)
        finally:  # also when it is interrupted
            if self.best_weights is not None:
                load_arrays(self.network, self.best_weights)
            self.network.eval()
        self._refuse_divergence()

    def _run(self, valid: np.ndarray | None) -> None:
        schedule = self.schedule
        steps: list[tuple[float, float]] = []  # loss and gradient norm of each since the last measurement
        mark, since, tokens = 1.0 / MEASUREMENTS, schedule.elapsed, 0
        bar_format = "{l_bar}{bar}| {elapsed}"
        with tqdm(
            total=100, disable=None if self.report else True, leave=False, bar_format=bar_format
        ) as bar:
            for inputs, targets, layers in self._windows():
                steps.append(self._step(inputs, targets, layers))
                tokens += inputs.size
                done = schedule.advance()
                bar.update(100 * done - bar.n)
                if done < mark and done < 1.0:
                    continue
                speed = tokens / (schedule.elapsed - since)
                self._measure(valid, self._entry(steps, speed), tokens)
                mark = (math.floor(schedule.progress * MEASUREMENTS + 1e-9) + 1) / MEASUREMENTS
                steps, since, tokens = [], schedule.elapsed, 0

    def _refuse_divergence(self) -> None:
        """Refuse weights worse than guessing at the text they learnt from: the output bias alone began better.

        A validation text says less: where it is unlike the training text, a sound model may do worse than guessing.
        """
        if 0 < self.schedule.step == self.bad_steps:
            found = "no step was finite"
        elif self.valid is not None and self.best_weights is None:
            found = "no loss in validation was finite"
        else:
            loss = self.cross_entropy(part_of(self.ids, _MEASURED_TOKENS))
            if loss < math.log(self.vocab_size) + 1:
                return
            found = f"a loss of {loss:.6g} nats on the text it was trained on"
        raise DivergedError(
            f"training has left the numbers that make sense ({found}); lower --learning-rate "
            f"({self.config.learning_rate:g}), or set --grad-clip ({self.config.grad_clip:g})"
        )

    def _windows(self) -> Iterator[tuple[np.ndarray, np.ndarray, Layers]]:
        """Read the text again and again, each time cut elsewhere; the hidden state goes from window to window."""
        while self.schedule.progress < 1.0:
            text = hide_singletons(self.ids, self.vocab_size, self.rng)
            columns = streams(text, self.batch_size, offset=int(self.rng.integers(min(self.bptt, len(text)))))
            self.layers = self.network.initial_state(columns.shape[1])
            for inputs, targets in windows(columns, self.bptt):
                yield inputs, targets, self.layers
                if self.schedule.progress >= 1.0:
                    return

    def _step(self, inputs: np.ndarray, targets: np.ndarray, layers: Layers) -> tuple[float, float]:
        """Follow the gradient of one window; give its loss (nats per token) and the norm of its gradient."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        features, after = self.network(torch.as_tensor(inputs, device=self.device), layers)
        loss = self.network.backward(features, torch.as_tensor(targets, device=self.device))
        norm = clip_grad_norm(self.network.parameters(), self.config.grad_clip or math.inf)
        if math.isfinite(loss) and math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * warmup_cosine(self.schedule.middle_of_step)
            self.optimizer.step()
            self.layers = tuple(tuple(part.detach() for part in layer) for layer in after)
            self.bad_steps = 0
        else:  # such a gradient never reaches the weights, nor such a state the next window
            self.layers = self.network.initial_state(inputs.shape[1])
            self.bad_steps += 1
            if self.bad_steps >= _BAD_STEPS:
                raise DivergedError(
                    f"the loss has not been finite for {_BAD_STEPS} steps; lower --learning-rate "
                    f"({self.config.learning_rate:g}) or --grad-clip ({self.config.grad_clip:g})"
                )
        return loss, norm

    def _measure(self, valid: np.ndarray | None, entry: dict[str, Any], tokens: int) -> None:
        """Add a point to the learning curve, and remember the weights if validation has never been lower."""
        if valid is not None:
            if self.valid is None:  # one part for the whole run, or its losses could not be compared
                self.valid = part_of(valid, max(_MEASURED_TOKENS, int(_MEASURING_SHARE * tokens)))
            entry["valid_loss"] = self.cross_entropy(self.valid)
            entry["valid_tokens"] = self.valid.size - self.valid.shape[1]
        self.log(entry)
        if self.report:
            self.report(_line(entry))
        if valid is None:
            return
        self.waited += 1
        if entry["valid_loss"] < self.best:
            self.best, self.best_weights, self.waited = entry["valid_loss"], state_arrays(self.network), 0
        if self.config.patience and self.waited >= self.config.patience and not self.cooling:
            if self.report:
                self.report(
                    f"no better validation {self.waited} times running: back to the best weights, and to rest"
                )
            if self.best_weights is not None:
                load_arrays(self.network, self.best_weights)
            self.schedule.hurry(_COOLING_SHARE)
            self.cooling = True

    def cross_entropy(self, columns: np.ndarray) -> float:
        """Give the cross-entropy (nats per token) on streams (length + 1, B)."""
        self.network.eval()
        layers = self.network.initial_state(columns.shape[1])
        total = count = 0.0
        with torch.no_grad():
            for inputs, targets in windows(columns, self.bptt):
                features, layers = self.network(torch.as_tensor(inputs, device=self.device), layers)
                logits = self.network.logits(features).flatten(0, 1)
                flat = torch.as_tensor(targets, device=self.device).flatten()
                total += torch.nn.functional.cross_entropy(logits, flat, reduction="sum").item()
                count += targets.size
        return total / count

    def _entry(self, steps: list[tuple[float, float]], speed: float) -> dict[str, Any]:
        clip = self.config.grad_clip or math.inf
        finite = np.array([step for step in steps if np.isfinite(step).all()]).reshape(-1, 2)
        loss, norm = finite.mean(axis=0) if len(finite) else (None, None)
        return {
            "step": self.schedule.step,
            "epoch": round(self.schedule.step / self.steps_per_epoch, 3),
            "seconds": round(self.schedule.elapsed, 2),
            "progress": round(self.schedule.progress, 4),
            "train_loss": None if loss is None else float(loss),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "gradient_norm": None if norm is None else float(norm),
            "clipped": float((finite[:, 1] > clip).mean()) if len(finite) else None,
            "skipped": len(steps) - len(finite),
            "tokens_per_second": round(speed),
        }


def part_of(ids: np.ndarray, tokens: int) -> np.ndarray:
    """Give about so many tokens of a text, from places all over it, as streams (length + 1, B)."""
    columns = streams(ids, max(1, min(_VALID_STREAMS, len(ids) // 64)))
    return columns[: max(1, tokens // columns.shape[1]) + 1]


def _line(entry: dict[str, Any]) -> str:
    """Write a point of the learning curve for people."""
    valid = f", validation {_perplexity(entry['valid_loss'])}" if "valid_loss" in entry else ""
    train, speed = _perplexity(entry["train_loss"]), f"{entry['tokens_per_second']:,} tokens/s"
    norm = "-" if entry["gradient_norm"] is None else f"{entry['gradient_norm']:.2f}"
    when = f"{entry['progress']:4.0%} {entry['seconds']:6.0f} s, epoch {entry['epoch']:.2f}"
    return f"{when}: perplexity {train} in training{valid}, gradient {norm}, {speed}"


def _perplexity(loss: float | None) -> str:
    return "-" if loss is None else f"{math.exp(min(loss, 700.0)):.2f}"
