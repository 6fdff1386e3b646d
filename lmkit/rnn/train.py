"""Training: truncated back-propagation through time with clipped gradients, fitted to a time or a number of epochs.

Each step reads one window of every stream, starting from the hidden state that the window before left behind
(without its gradients), and follows the clipped gradient with AdamW at a rate that warms up and then falls along a
cosine to zero just when the time is over. The weights with the best validation are the ones kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lmkit.config import RnnConfig, seconds
from lmkit.errors import DivergedError
from lmkit.nn.cells import State as LayerState
from lmkit.nn.clip import clip_grad_norm
from lmkit.nn.devices import choose, prepare
from lmkit.nn.optim import adamw, warmup_cosine
from lmkit.nn.saving import load_arrays, state_arrays
from lmkit.rnn.batches import hide_singletons, streams, windows
from lmkit.rnn.model import RnnModel
from lmkit.rnn.network import Network
from lmkit.seeds import check_seed
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS

MEASUREMENTS = 20  # of the validation, over the whole training
DEFAULT_BUDGET = 600.0
DEFAULT_EPOCHS = 40.0  # at most, where neither time nor epochs are asked for,
DEFAULT_STEPS = 2000  # but at least so many steps, in a small text
_MEASURING_SHARE = 0.15  # tokens measured per token trained on; without gradients they cost a third
_VALID_STREAMS = 16
_COOLING_SHARE = 0.3  # of the time spent, for bringing the rate down once validation has stopped falling
_BAD_STEPS = 20  # non-finite steps in a row that end the training
_SMALL_VOCAB = 2000
_STEPS_PER_EPOCH = (
    100  # a small text is read in narrower batches, or there would be too few steps to learn it
)

Layers = tuple[LayerState, ...]


def train(
    ids: np.ndarray,
    *,
    tokenizer: Tokenizer,
    config: RnnConfig,
    valid: np.ndarray | None = None,
    report: Callable[[str], None] = lambda text: None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> RnnModel:
    """Train a recurrent network on a text.

    Args:
        ids: (T,) int32, every line ended by `</s>`.
        tokenizer: Whose ids they are.
        config: The network, the optimiser, and how long.
        valid: Ids to validate on; without them training runs to its end and the last weights are kept.
        report: Receives lines for the user.
        log: Receives each point of the learning curve.

    Raises:
        UsageError: an option cannot be.
        ResourceError: the device is not there.
        DivergedError: the loss stays non-finite; nothing is saved.
    """
    device = choose(config.device)
    prepare(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(check_seed(config.seed))
    settings = network_settings(config, len(tokenizer.vocab))
    network = Network(vocab_size=len(tokenizer.vocab), **settings)
    network.initialize(config.init, unigram(ids, len(tokenizer.vocab)))
    network.to(device)
    size = sum(parameter.numel() for parameter in network.parameters())
    report(
        f"{config.cell} of {settings['num_layers']} x {settings['hidden_size']} units, {size:,} parameters, on {device}"
    )
    trainer = _Trainer(network, ids, len(tokenizer.vocab), config, device)
    trainer.run(valid, report, log)
    return RnnModel(tokenizer=tokenizer, network=network, settings=settings)


def network_settings(config: RnnConfig, vocab_size: int) -> dict[str, Any]:
    """Give the arguments of `Network`, with the sizes that suit the vocabulary where none are given."""
    hidden_size = config.hidden_size or (384 if vocab_size <= _SMALL_VOCAB else 256)
    return {
        "cell": config.cell,
        "num_layers": config.num_layers,
        "hidden_size": hidden_size,
        "embedding_size": config.embedding_size or hidden_size,
        "activation": config.activation,
        "dropout": config.dropout,
        "tie_weights": config.tie_weights,
    }


def unigram(ids: np.ndarray, vocab_size: int) -> torch.Tensor:
    """Give the smoothed unigram distribution (V,) of a text."""
    counts = np.bincount(ids, minlength=vocab_size) + 0.5
    counts[BOS] = 0
    return torch.as_tensor(counts / counts.sum(), dtype=torch.float32)


@dataclass
class _Clock:
    """How much of the training is over, by time or by steps, whichever is further."""

    budget: float
    total_steps: float
    began: float
    step: int = 0
    passed: tuple[float, float, int] = (
        0.0,
        0.0,
        0,
    )  # progress, seconds and steps at which this schedule began

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def progress(self) -> float:
        progress, elapsed, step = self.passed
        share = max((self.elapsed - elapsed) / self.budget, (self.step - step) / self.total_steps)
        return progress + (1.0 - progress) * min(1.0, share)

    def hurry(self, share: float) -> None:
        """Let what is left of the schedule pass in a share of what has been spent so far."""
        _, elapsed, step = self.passed
        self.passed = (self.progress, self.elapsed, self.step)
        if math.isfinite(self.budget):
            self.budget = max(1e-3, min(share * self.elapsed, self.budget - (self.elapsed - elapsed)))
        if math.isfinite(self.total_steps):
            self.total_steps = max(1.0, min(share * self.step, self.total_steps - (self.step - step)))


class _Trainer:
    """The state of one training run."""

    def __init__(
        self, network: Network, ids: np.ndarray, vocab_size: int, config: RnnConfig, device: torch.device
    ) -> None:
        self.network = network
        self.ids = ids
        self.vocab_size = vocab_size
        self.config = config
        self.bptt = config.bptt or (100 if vocab_size <= _SMALL_VOCAB else 64)
        self.device = device
        self.rng = np.random.default_rng(config.seed)
        wanted = config.batch_size or min(32, max(8, len(ids) // (self.bptt * _STEPS_PER_EPOCH)))
        self.batch_size = max(
            1, min(wanted, len(ids) // 16)
        )  # a stream is some tokens long, in the shortest text
        self.optimizer = adamw(
            network, learning_rate=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.steps_per_epoch = max(1, math.ceil(len(ids) / self.batch_size / self.bptt))
        self.bad_steps = 0

    def run(
        self, valid: np.ndarray | None, report: Callable[[str], None], log: Callable[[dict[str, Any]], None]
    ) -> None:
        """Train until time or epochs are over.

        When validation no longer falls, training goes back to the best weights and brings the rate down to zero
        within a fraction of the time spent: the last descent is worth more than the weights that came before it.
        """
        clock = self._clock()
        best, best_weights, waited, cooling = math.inf, None, 0, False
        losses: list[float] = []
        norms: list[float] = []
        next_mark, since, tokens, measured_tokens = 1.0 / MEASUREMENTS, clock.elapsed, 0, 0
        with tqdm(
            total=100, disable=None, leave=False, unit="%", bar_format="{l_bar}{bar}| {elapsed}{postfix}"
        ) as bar:
            for inputs, targets, layers in self._windows(clock):
                loss, norm = self._step(inputs, targets, layers, warmup_cosine(clock.progress))
                clock.step += 1
                tokens += inputs.size
                if math.isfinite(loss) and math.isfinite(norm):
                    losses.append(loss)
                    norms.append(norm)
                done = clock.progress
                bar.update(100 * done - bar.n)
                if done < next_mark and done < 1.0:
                    continue
                next_mark = (math.floor(done * MEASUREMENTS) + 1) / MEASUREMENTS
                entry = self._entry(clock, losses, norms, tokens / (clock.elapsed - since))
                if valid is not None:
                    limit = len(valid) if done >= 1.0 else max(2000, int(_MEASURING_SHARE * tokens))
                    measured_tokens = max(measured_tokens, min(limit, len(valid)))
                    entry["valid_loss"] = self.measure(valid[:measured_tokens])
                    entry["valid_tokens"] = measured_tokens
                log(entry)
                report(_line(entry))
                losses, norms, since, tokens = [], [], clock.elapsed, 0
                if valid is None:
                    continue
                if entry["valid_loss"] < best:
                    best, best_weights, waited = entry["valid_loss"], state_arrays(self.network), 0
                else:
                    waited += 1
                if self.config.patience and waited >= self.config.patience and not cooling:
                    report(
                        f"no better validation for {waited} measurements: back to the best weights, and to rest"
                    )
                    load_arrays(self.network, best_weights or {})
                    clock.hurry(_COOLING_SHARE)
                    cooling = True
        if best_weights is not None:
            load_arrays(self.network, best_weights)
        self.network.eval()

    def _clock(self) -> _Clock:
        config = self.config
        budget = seconds(config.budget) if config.budget is not None else math.inf
        epochs = config.epochs if config.epochs is not None else math.inf
        if config.budget is None and config.epochs is None:
            budget, epochs = DEFAULT_BUDGET, max(DEFAULT_EPOCHS, DEFAULT_STEPS / self.steps_per_epoch)
        return _Clock(budget, max(1.0, epochs * self.steps_per_epoch), time.monotonic())

    def _windows(self, clock: _Clock) -> Iterator[tuple[np.ndarray, np.ndarray, Layers]]:
        """Read the text again and again, each time cut at other places; the hidden state goes from window to window."""
        while clock.progress < 1.0:
            text = hide_singletons(self.ids, self.vocab_size, self.rng)
            columns = streams(text, self.batch_size, offset=int(self.rng.integers(min(self.bptt, len(text)))))
            self.layers = self.network.initial_state(columns.shape[1])
            for inputs, targets in windows(columns, self.bptt):
                yield inputs, targets, self.layers
                if clock.progress >= 1.0:
                    return

    def _step(
        self, inputs: np.ndarray, targets: np.ndarray, layers: Layers, scale: float
    ) -> tuple[float, float]:
        """Follow the gradient of one window; give its loss (nats per token) and the norm of its gradient."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        features, after = self.network(torch.as_tensor(inputs, device=self.device), layers)
        loss = self.network.backward(features, torch.as_tensor(targets, device=self.device))
        norm = clip_grad_norm(self.network.parameters(), self.config.grad_clip or math.inf)
        if math.isfinite(loss) and math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * scale
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

    def measure(self, valid: np.ndarray) -> float:
        """Give the cross-entropy (nats per token) on a text, read as a few streams."""
        self.network.eval()
        columns = streams(valid, max(1, min(_VALID_STREAMS, len(valid) // 64)))
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

    def _entry(self, clock: _Clock, losses: list[float], norms: list[float], speed: float) -> dict[str, Any]:
        clip = self.config.grad_clip or math.inf
        return {
            "step": clock.step,
            "epoch": round(clock.step / self.steps_per_epoch, 3),
            "seconds": round(clock.elapsed, 2),
            "progress": round(clock.progress, 4),
            "train_loss": float(np.mean(losses)) if losses else None,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "gradient_norm": float(np.mean(norms)) if norms else None,
            "clipped": float(np.mean([norm > clip for norm in norms])) if norms else None,
            "tokens_per_second": round(speed),
        }


def _line(entry: dict[str, Any]) -> str:
    """Write a point of the learning curve for people."""
    train = "-" if entry["train_loss"] is None else f"{_perplexity(entry['train_loss']):.2f}"
    valid = f", validation {_perplexity(entry['valid_loss']):.2f}" if "valid_loss" in entry else ""
    return (
        f"{entry['progress']:4.0%} {entry['seconds']:6.0f} s, epoch {entry['epoch']:.2f}: perplexity {train} in "
        f"training{valid}, gradient {entry['gradient_norm'] or math.nan:.2f}, {entry['tokens_per_second']:,} tokens/s"
    )


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))
