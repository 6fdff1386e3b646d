"""From ids to a recurrent model: settle what is open, build the network, train it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmkit import tensors
from lmkit.checkpoints import Checkpoints
from lmkit.config import MEASURING_SHARE, RnnConfig
from lmkit.errors import Stopped, UsageError
from lmkit.model import LanguageModel
from lmkit.nn.devices import choose, prepare
from lmkit.quantities import seconds
from lmkit.rnn.assembly import make_learner, make_network, network_settings, unigram
from lmkit.rnn.batches import Reader
from lmkit.rnn.distributed import World
from lmkit.rnn.fine_tune import settled, take_over
from lmkit.rnn.model import RnnModel
from lmkit.rnn.plan import check_layers, settle
from lmkit.rnn.schedule import Schedule
from lmkit.rnn.teacher import Teacher
from lmkit.rnn.trainer import Trainer
from lmkit.seeds import check_seed
from lmkit.text.tokenizer import Tokenizer


def train(
    ids: np.ndarray,
    *,
    tokenizer: Tokenizer,
    config: RnnConfig,
    valid: np.ndarray | None = None,
    report: Callable[[str], None] | None = None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
    initial: RnnModel | None = None,
    teacher: LanguageModel | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> RnnModel:
    """Train a recurrent network on a text.

    Args:
        ids: (T,) int32, every line ended by `</s>`.
        tokenizer: Whose ids they are.
        config: The network, the optimiser, and how long; what `resumed` gave if it is to go on.
        valid: Ids to validate on; without them training runs to its end and the last weights are kept.
        report: Receives lines for the user.
        log: Receives each point of the learning curve.
        initial: The model to begin from, whose words the tokenizer numbers as it does; see `fine_tune`.
        teacher: A model to learn from beside the text, by `config.loss` and `config.teacher_share`.
        checkpoint: The folder to keep the state of the training in, on the way.
        resume: Whether to go on from there.

    Raises:
        UsageError: an option cannot be, or there is nothing to resume from.
        ResourceError: the device is not there, or has too little memory.
        DivergedError: the loss stays non-finite, or worse than guessing.
        Stopped: the user or the system ended it; it carries the model.
    """
    began = time.monotonic()
    every = checkpoint_interval(config)
    checkpoints = None if checkpoint is None else Checkpoints(checkpoint, every=every or math.inf)
    saved = checkpoints.read() if checkpoints is not None and resume else None
    vocab_size = len(tokenizer.vocab)
    texts = _fingerprint(ids, valid, vocab_size, initial, teacher)
    if saved is not None and saved[1]["texts"] != texts:
        raise UsageError(
            "the checkpoint is of a training on other texts, from another model or with another teacher; name those it "
            "was begun with, or train without --resume"
        )
    if saved is None and initial is not None:
        config = settled(config, initial=initial)
    if config.averaging == "asgd" and (valid is None or not config.patience):
        raise UsageError("asgd averages once validation rests: give a text to validate on, and a --patience")
    taught_by = None if teacher is None else _teacher(teacher, tokenizer, config)
    device = choose(config.device)
    prepare(device)
    world = World.join(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if saved is not None:
            check_layers(config, device)  # which may be another one than before
        else:
            config = settle(
                config,
                ids,
                vocab_size,
                device=device,
                report=report,
                teacher=taught_by,
                processes=world.size,
                begun=initial is not None,
            )
            config = RnnConfig(**world.agree(asdict(config)))
        torch.manual_seed(check_seed(config.seed))
        network = make_network(config, vocab_size, torch.device("cpu"))  # the same weights for every device
        network.initialize(config.init, unigram(ids, vocab_size))
        if initial is not None:
            for line in take_over(network, initial, ids, seed=config.seed):
                if report:
                    report(f"{line} in the model to begin from: as in a new network")
        network.to(device)
        if report:
            report(f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters")
        model = RnnModel(tokenizer=tokenizer, network=network, settings=network_settings(config))
        trainer = _trainer(
            model,
            ids,
            valid,
            config=config,
            world=world,
            began=began,
            report=report,
            log=log,
            initial=initial,
            teacher=taught_by,
            checkpoints=checkpoints if every or resume else None,
            facts={"config": asdict(config), "texts": texts},
        )
        if saved is not None:
            before = RnnConfig(**saved[1]["config"])
            longer = (config.budget, config.epochs) != (before.budget, before.epochs)
            trainer.resume(*saved, longer=longer)
            saved = None  # or its arrays would stay in memory
        if checkpoints is not None and not resume and world.rank == 0:
            checkpoints.remove()  # of a training that nobody wants to go on with
        if world.rank:  # noise of its own; the weights are drawn
            torch.manual_seed(config.seed + world.rank + trainer.schedule.step)
        try:
            trainer.run()
        except KeyboardInterrupt as stop:
            if report:
                report("stopped: the best weights so far are kept")
            raise Stopped(getattr(stop, "exit_code", 130), model) from None
    return model


def check(config: RnnConfig) -> None:
    """Refuse options that cannot be, before any work is done.

    Raises:
        UsageError: a cell, a span of time, an activation, a device or a precision that is none there, or no weights to
            drop.
        ResourceError: the device is not there.
    """
    device = choose(config.device)
    if config.budget is not None:
        seconds(config.budget)
    checkpoint_interval(config)
    check_layers(config, device)


def checkpoint_interval(config: RnnConfig) -> float:
    """Give the seconds between checkpoints; 0 for none."""
    return 0.0 if config.checkpoint in ("0", "none") else seconds(config.checkpoint)


def _trainer(
    model: RnnModel,
    ids: np.ndarray,
    valid: np.ndarray | None,
    *,
    config: RnnConfig,
    world: World,
    began: float,
    report: Callable[[str], None] | None,
    log: Callable[[dict[str, Any]], None],
    initial: RnnModel | None,
    teacher: Teacher | None,
    **more: Any,
) -> Trainer:
    """Put a trainer together, whose clock began before, and leave time for measuring at the end."""
    assert config.batch_size is not None
    assert config.bptt is not None
    reader = Reader(
        ids,
        vocab_size=model.network.output.vocab_size,
        batch_size=config.batch_size,
        bptt=config.bptt,
        seed=config.seed,
        vary=config.vary_bptt,
        known=_never_hidden(model.tokenizer, initial),
    )
    schedule = Schedule.of(config, reader.windows_per_epoch, began=began)
    if valid is not None:
        measuring = len(valid) * model.seconds_per_token(valid)
        schedule.budget -= measuring if measuring < MEASURING_SHARE * schedule.budget else 0.0
    trainer = Trainer(
        make_learner(model.network, ids, config, world=world, teacher=teacher),
        reader,
        config=config,
        schedule=schedule,
        valid=valid,
        report=report,
        log=log,
        **more,
    )
    if initial is not None:
        trainer.begin_from_weights()
    return trainer


def _never_hidden(tokenizer: Tokenizer, initial: RnnModel | None) -> int:
    """Give how many tokens are never read as `<unk>`, to learn what that is: all where no text can have one."""
    if tokenizer.unk == "none":
        return len(tokenizer.vocab)
    return 0 if initial is None else len(initial.tokenizer.vocab)


def _teacher(model: LanguageModel, tokenizer: Tokenizer, config: RnnConfig) -> Teacher:
    """Make a teacher of a model.

    Raises:
        UsageError: it reads other tokens than the network will.
    """
    if model.tokenizer.kind != tokenizer.kind or model.tokenizer.vocab != tokenizer.vocab:
        raise UsageError(
            f"the teacher knows {len(model.tokenizer.vocab):,} {model.tokenizer.kind}s, and this text has "
            f"{len(tokenizer.vocab):,} {tokenizer.kind}s: a network learns only from a model with the same vocabulary. "
            "Train both on the same text with the same options of text and --holdout, or give both one --vocab"
        )
    return Teacher(model, kind=config.loss, share=config.teacher_share)


def _fingerprint(
    ids: np.ndarray,
    valid: np.ndarray | None,
    vocab_size: int,
    initial: RnnModel | None,
    teacher: LanguageModel | None,
) -> str:
    """Tell apart what there is to learn from, and to begin from."""
    digest = hashlib.sha256(str(vocab_size).encode())
    for model in (initial, teacher):
        digest.update(b"-" if model is None else tensors.digest(model.arrays()).encode())
    for array in (ids, valid):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
