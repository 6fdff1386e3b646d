"""The training loop: truncated back-propagation through time with clipped gradients.

Each step reads one window of every stream, starting from the hidden state that the window before left behind
(without its gradients), and follows the clipped gradient at a rate that warms up and then falls along a cosine to zero
just when the time is over. The weights with the best validation are the ones kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import numpy as np
from torch import Tensor
from tqdm import tqdm

from lmkit.checkpoints import Arrays, Checkpoints
from lmkit.config import RnnConfig
from lmkit.errors import DivergedError, ResourceError, UsageError
from lmkit.interrupts import finished_first
from lmkit.json_text import finite
from lmkit.nn.averaging import WeightAverage
from lmkit.nn.gradients import share_inside
from lmkit.nn.optim import warmup_cosine
from lmkit.rnn.batches import Reader
from lmkit.rnn.distributed import World
from lmkit.rnn.fit import judged
from lmkit.rnn.learner import Learner, Step
from lmkit.rnn.noise import noise_share
from lmkit.rnn.points import as_line, over_steps
from lmkit.rnn.schedule import Schedule
from lmkit.rnn.snapshot import restore, restore_all, take, take_all, turn_back
from lmkit.rnn.validation import FEWEST_TOKENS, Validation, cross_entropy, measured_share, next_mark, part_of

_COOLING_SHARE = 0.3  # of the time spent, for bringing the rate down once validation has stopped falling
_BAD_STEPS = 5  # non-finite steps in a row after which the last good state is gone back to
_RESCUES = 3  # times that this is done, each at half the rate of before
_EMPHASES = (2.0, 0.5, 8.0)  # of the means of the weights; the first leads until others are found better
_AVERAGED_EVERY = 20  # steps
_FEWEST_AVERAGED = 10  # weights, of which a mean is taken without having been measured


class Trainer:
    """One training run of a network on the text that a reader reads."""

    def __init__(
        self,
        learner: Learner,
        reader: Reader,
        *,
        config: RnnConfig,
        schedule: Schedule,
        valid: np.ndarray | None,
        report: Callable[[str], None] | None,
        log: Callable[[dict[str, Any]], None],
        checkpoints: Checkpoints | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.learner = learner
        self.network = learner.network
        self.reader = reader
        self.config = config
        self.schedule = schedule
        self.report = report
        self.checkpoints = checkpoints
        self.facts = facts or {}  # what a checkpoint says of the training besides its state
        self.world: World = learner.world
        self.entries: list[dict[str, Any]] = []
        self._log = log
        self.averages: list[WeightAverage] = []  # the best first, so far as is known
        self.validation: Validation | None = None
        if valid is not None:
            self.validation = Validation(self.network, valid, bptt=reader.bptt, world=self.world)
        self.waited = 0  # measurements since the best one
        self.cooling = False
        self.bad_steps = 0
        self.rescues = 0
        self.mark = next_mark(0.0)
        self.steps: list[Step] = []  # since the last measurement
        self.resumed = False
        self.bearable = math.log(self.network.output.vocab_size) + 1  # a loss beyond guessing
        # of the last measurement but one, which the last has shown to be sound; and of the last
        self.good = self.last = take(self)

    def run(self) -> None:
        """Train until time or epochs are over, measuring on the validation text now and then if there is one.

        When validation no longer falls, training goes back to the best weights and brings the rate down to zero
        within a fraction of the time spent: the last descent is worth more than the weights that came before it.

        Raises:
            DivergedError: the loss stays non-finite, or worse than guessing, at ever lower rates.
            KeyboardInterrupt: as it was raised, after a checkpoint has been written.
        """
        try:
            self._run()
        except KeyboardInterrupt:
            self.write_checkpoint()
            raise
        finally:
            if self.validation is not None:
                self.validation.go_back()
            elif self.averages and self.averages[0].count >= _FEWEST_AVERAGED:
                self.averages[0].take()
            self.network.eval()
        self._refuse_divergence()
        shown = judged(self.entries, comparable=self.learner.sampled is None, rested=self.cooling)
        if shown is not None:
            self._say(shown)

    def _run(self) -> None:
        begun, tokens = self.schedule.elapsed, 0
        disable = None if self.report else True
        layout = "{l_bar}{bar}| {elapsed}"
        with tqdm(total=100, disable=disable, leave=False, bar_format=layout) as bar:
            bar.update(100 * self.progress())
            while self.mark <= 1.0:  # until all has been measured that was to be
                with finished_first():
                    tokens += self._step()
                    done = self.progress()
                    if done >= self.mark or done >= 1.0:
                        speed = tokens / (self.schedule.elapsed - begun)
                        self._measure(self._entry(speed), done)
                        self.mark = next_mark(done)
                        begun, tokens = self.schedule.elapsed, 0
                bar.update(100 * done - bar.n)
                if self.checkpoints is not None and self.world.first(float(self.checkpoints.due())):
                    self.write_checkpoint()

    def progress(self) -> float:
        """How much of the training is over, the same in every process."""
        return self.world.first(self.schedule.progress)

    def _step(self) -> int:
        """Read a window and follow its gradient; give its tokens."""
        window = next(self.reader)
        progress = self.world.first(self.schedule.middle_of_step)
        if progress >= 1.0 and not self.schedule.step:
            self._say("the time was over before the first step; it is the only one: give a longer --budget")
            progress = 0.5
        rate = warmup_cosine(progress) * self.schedule.warmth
        if self.config.vary_bptt:
            rate *= len(window.inputs) / self.reader.bptt  # a short window says less
        noise = noise_share(progress, self.reader.position)
        step = self.learner.step(window, number=self.schedule.step, rate=rate, noise=noise)
        self.schedule.advance()
        self.steps.append(step)
        self.bad_steps = 0 if step.finite or step.overflowed else self.bad_steps + 1
        if self.bad_steps >= _BAD_STEPS:
            self._rescue(f"the loss has not been finite for {_BAD_STEPS} steps")
        elif self.schedule.step % _AVERAGED_EVERY == 0:
            if self.config.averaging == "mean" and not self.averages:
                self.averages = [WeightAverage(self.network, emphasis=emphasis) for emphasis in _EMPHASES]
            for average in self.averages:
                average.update()
        return len(window)

    def _measure(self, entry: dict[str, Any], done: float) -> None:
        """Add a point to the learning curve, and remember the weights if validation has never been lower."""
        if entry["train_loss"] is None or entry["train_loss"] > self.bearable:
            if entry["train_loss"] is not None:
                self._rescue(f"a loss of {entry['train_loss']:.6g} nats on the text it is trained on")
            self._tell(entry)
            self.steps = []
            return
        if self.validation is not None:
            if self.validation.part is None:
                share = measured_share(self.network, self.learner.sampled)
                read = self.schedule.step * self.reader.batch_size * self.reader.bptt
                self.validation.choose_part(max(FEWEST_TOKENS, int(share * read)))
            entry["valid_loss"] = self._validate(self.validation, done)
            entry["valid_tokens"] = self.validation.measured_tokens
        self.steps = []
        self._tell(entry)
        if math.isfinite(entry.get("valid_loss", 0.0)):
            self.good, self.last = self.last, take(self)

    def _validate(self, validation: Validation, done: float) -> float:
        """Give the loss of the best mean of the weights; come to rest if there have been no better weights for long.

        How much of the beginning a mean should hold depends on the text, so all are measured at each quarter, and
        before anything is concluded from one; at the end the weights, too, since of little any mean holds too much.
        """
        best, patience = validation.best, 0 if self.cooling else self.config.patience
        quarter = math.floor(4 * done) >= 4 * self.mark - 1e-9  # lies between the two
        for average in self.averages:  # or, in a short training, what was measured might be measured again
            average.update()
        averages = self.averages
        if not (quarter or done >= 1.0 or self.waited + 1 == patience):
            averages = averages[:1]
        states: list[AbstractContextManager[None]] = [average.in_place() for average in averages]
        if done >= 1.0 or not states:
            states.append(nullcontext())
        losses = validation.measure(states)
        if len(averages) > 1:
            order = sorted(range(len(averages)), key=losses.__getitem__)
            self.averages = [averages[i] for i in order]
        self.waited = 0 if validation.best < best else self.waited + 1
        if patience and self.waited >= patience:
            self._rest(validation)
        return min(losses)

    def _rest(self, validation: Validation) -> None:
        """Begin to average, or go back to the best weights and bring the rate down from there."""
        if self.config.averaging == "asgd" and not self.averages:
            self._say(f"no better validation {self.waited} times running: averaging begins")
            self.averages, self.waited = [WeightAverage(self.network)], 0
            return
        self._say(f"no better validation {self.waited} times running: back to the best weights, and to rest")
        if validation.go_back():
            self._average_anew()
        self.schedule.hurry(_COOLING_SHARE)
        self.cooling = True

    def _rescue(self, found: str) -> None:
        """Go back to the last good weights, at half the rate; give up when that has not helped.

        What was measured stays, and the clock runs on; the means of the weights hold what came since, and begin anew.
        """
        if self.rescues == _RESCUES:
            self._give_up(f"{found}, at ever lower rates")
        self._restore_good()
        self.rescues += 1
        self.learner.scale /= 2
        self._say(f"{found}: back to the last good weights, at {self.learner.scale:g} of the learning rate")

    def _restore_good(self) -> None:
        restore(self, *self.good)
        self.last = self.good
        self._average_anew()
        self.bad_steps, self.steps = 0, [step for step in self.steps if not step.finite]

    def _give_up(self, found: str) -> NoReturn:
        """Leave the training as it was with the last good weights, to be gone on with at a lower rate."""
        self._restore_good()
        turn_back(self, self.good[1])
        self.entries = [entry for entry in self.entries if entry["step"] <= self.schedule.step]
        self.rescues, self.waited, self.steps = 0, 0, []
        self.mark, self.learner.scale = next_mark(self.schedule.progress), 1.0
        if self.checkpoints is not None and self.world.rank == 0:
            if self.checkpoints.count == 0 and self.resumed:
                pass  # what it went on from is still there
            elif self.resumed or self.reader.position > 0.0:
                self.write_checkpoint()
            else:  # nothing has been learnt
                self.checkpoints.remove()
        raise DivergedError(self._advice(found))

    def _average_anew(self) -> None:
        self.averages = [WeightAverage(self.network, emphasis=mean.emphasis) for mean in self.averages]

    def _refuse_divergence(self) -> None:
        """Refuse weights worse than guessing at the text they learnt from: the output bias alone began better.

        A validation text says less: where it is unlike the training text, a sound model may do worse than guessing.
        """
        if self.validation is not None and self.validation.weights is None:
            self._give_up("no loss in validation was finite")
        loss = self._training_loss()
        if not loss < self.bearable:
            self._give_up(f"a loss of {loss:.6g} nats on the text it was trained on")

    def _advice(self, found: str) -> str:
        rate, clip = self.config.learning_rate, self.config.grad_clip
        less = f"or --grad-clip ({clip:g})" if clip else "or clip the gradients with --grad-clip (0)"
        return f"training has left the numbers that make sense ({found}); lower --learning-rate ({rate:g}), {less}"

    def _training_loss(self) -> float:
        """Give the loss on a part of the text that is learnt from, without noise, as the first process has it."""
        part = part_of(self.reader.ids, FEWEST_TOKENS)
        return self.world.first(cross_entropy(self.network, part, bptt=self.reader.bptt))

    def _entry(self, speed: float) -> dict[str, Any]:
        return {
            "step": self.schedule.step,
            "epoch": round(self.reader.position, 3),
            "seconds": round(self.schedule.elapsed, 2),
            "progress": round(self.schedule.progress, 4),
            **over_steps(self.steps, clip=self.learner.clip),
            "learning_rate": self.learner.optimizers.rate,
            "gradient_inside": round(share_inside(self._gradients()), 4),  # of the last step, in the layers
            "tokens_per_second": round(speed),
        }

    def _gradients(self) -> Iterator[Tensor]:
        """Give the gradients of the layers in the last step, as they were before clipping by norm."""
        norm = self.steps[-1].norm if self.steps else 0.0
        scale = max(1.0, norm / self.learner.clip) if math.isfinite(norm) else 1.0
        return (scale * p.grad for p in self.network.stack.parameters() if p.grad is not None)

    def _tell(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        self._log(entry)
        self._say(as_line(entry))

    def _say(self, line: str) -> None:
        if self.report:
            self.report(line)

    def write_checkpoint(self) -> None:
        """Write all that this training is, if it has a place for it and the disk takes it."""
        if self.checkpoints is not None and self.world.rank == 0:
            arrays, facts = take_all(self)
            try:
                self.checkpoints.write(arrays, {**self.facts, **facts, "entries": finite(self.entries)})
            except ResourceError as error:  # what has been learnt is in memory still
                self._say(f"no checkpoint was written: {error}")

    def begin_from_weights(self) -> None:
        """Count the weights as they are as good ones: training may do no better, on a text that they know little of."""
        self.bearable = max(self.bearable, self._training_loss() + 1)
        if self.validation is not None:
            self.validation.choose_part(10 * FEWEST_TOKENS)
            self.validation.measure([nullcontext()])

    def resume(self, arrays: Arrays, facts: dict[str, Any], *, longer: bool) -> None:
        """Go on from a checkpoint, its learning curve included; with the time there is now if it is to be longer.

        Raises:
            UsageError: that time is over already.
        """
        self.resumed = True
        new = self.schedule.state()
        restore_all(self, arrays, facts)
        if longer:
            self.schedule.restore({**self.schedule.state(), "spans": new["spans"], "passed": new["passed"]})
            self.cooling, self.waited, self.mark = False, 0, next_mark(self.progress())
            if self.progress() >= 1.0:
                raise UsageError(
                    f"{self.reader.position:.3g} passes and {self.schedule.elapsed:.0f} s are over, and no more are "
                    "asked for: give more with --epochs or --budget, or leave both out to go on as it was begun"
                )
        if facts["config"]["learning_rate"] != self.config.learning_rate:
            self.rescues, self.learner.scale = 0, 1.0  # what is asked for now
        for entry in facts["entries"]:
            if "valid_loss" in entry and entry["valid_loss"] is None:
                entry["valid_loss"] = math.inf
            self.entries.append(entry)
            self._log(entry)
