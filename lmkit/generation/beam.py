"""Beam search: the likeliest text instead of one that is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lmkit.config import GenerationConfig
from lmkit.errors import UsageError
from lmkit.generation.deadline import Deadline
from lmkit.generation.distributions import keep
from lmkit.generation.prefixes import Prefix, Spelling
from lmkit.generation.processors import Chain, Past
from lmkit.generation.streaming import line_ends
from lmkit.model import LanguageModel
from lmkit.text.vocabulary import EOS


class Hypothesis:
    """A text as a list of tokens that shares its beginning with others: a token, and what came before it."""

    __slots__ = ("before", "ended", "length", "logprob", "score", "token")

    def __init__(self, before: Hypothesis | None, token: int, logprob: float, score: float) -> None:
        self.before = before
        self.token = token
        self.logprob = logprob  # of the token, under the model
        self.score = score  # sum of log p under the model and the rules
        self.length: int = 0 if before is None else before.length + 1
        self.ended: int = 0 if before is None else before.ended + (token == EOS)

    def normalized(self, power: float) -> float:
        """Give the score divided by a power of the number of tokens (Wu et al. 2016, section 7, with k = 0)."""
        return self.score / max(self.length, 1) ** power

    def tokens(self) -> tuple[list[int], list[float]]:
        """Give the tokens, and log p of each."""
        ids, logprobs, at = [], [], self
        while at.before is not None:
            ids.append(at.token)
            logprobs.append(at.logprob)
            at = at.before
        return ids[::-1], logprobs[::-1]


@dataclass
class Step:
    """Where B hypotheses stand, and what may follow them."""

    model: LanguageModel
    rules: Chain
    state: Any
    past: Past
    spelling: Spelling
    typed: list[bytes]  # what each has still to spell of the prefix

    @classmethod
    def first(cls, model: LanguageModel, prefix: Prefix, state: Any, rules: Chain) -> Self:
        """Stand behind the certain tokens of a prefix."""
        past = Past.of([prefix.ids], window=rules.window, forced=rules.forced)
        return cls(model, rules, state, past, Spelling(model.tokenizer), [prefix.typed])

    def grown(
        self, texts: list[Hypothesis], count: int, keys_of: Callable[[np.ndarray, slice], np.ndarray]
    ) -> list[tuple[float, int, Hypothesis]]:
        """Give the `count` texts with the highest keys of those that are a token longer, the highest first.

        Some hypotheses at a time, so that any number of them takes little memory.

        Args:
            texts: The hypotheses.
            count: How many longer ones to give.
            keys_of: Gives keys (b, V) from scores (b, V), and from which of the hypotheses they are of.

        Returns:
            The key, the number of the hypothesis that it goes on from, and the text of each.
        """
        found: list[tuple[float, int, int, float, float]] = []  # key, number, token, log p, score
        for rows, state in self.model.few(self.state):
            plain, shaped = self._distributions(rows, state)
            totals = shaped + np.array([text.score for text in texts[rows]])[:, None]  # (b, V)
            keys = keys_of(totals, rows)
            row, token = np.divmod(highest(keys.ravel(), count), keys.shape[1])
            of_part = (keys[row, token], rows.start + row, token, plain[row, token], totals[row, token])
            found += zip(*(part.tolist() for part in of_part), strict=True)
            found = sorted(found, key=lambda entry: -entry[0])[:count]
        return [
            (key, number, Hypothesis(texts[number], token, logprob, score))
            for key, number, token, logprob, score in found
        ]

    def _distributions(self, rows: slice, state: Any) -> tuple[np.ndarray, np.ndarray]:
        """Give log p of every token (b, V) under the model, and in float64 after all rules, for some hypotheses."""
        plain = self.model.next_logprobs(state)
        past, typed = self.past.select(range(rows.start, rows.stop)), self.typed[rows]
        if not any(typed):
            return plain, self.rules(plain, past).astype(np.float64)
        every = np.ones(plain.shape[1], bool)
        masks = np.stack([self.spelling.allowed(rest) if rest else every for rest in typed])
        return plain, self.rules(keep(plain, masks), past).astype(np.float64)

    def after(self, rows: list[int], tokens: np.ndarray) -> Step:
        """Go on from some of the hypotheses, repetitions allowed, each with one more token."""
        past = self.past.select(rows)
        past.push(tokens)
        typed = [
            self.spelling.rest(self.typed[row], token)
            for row, token in zip(rows, tokens.tolist(), strict=True)
        ]
        state = self.model.step(self.state.select(rows), tokens)
        return Step(self.model, self.rules, state, past, self.spelling, typed)


def beam_search(step: Step, config: GenerationConfig, deadline: Deadline) -> list[Hypothesis]:
    """Give the likeliest `samples` texts that `beams` at a time have come to, the best first.

    A text is over at its last line end or after `max_tokens`; of those, the best are kept. The search is over when no
    text that goes on can come to be better: log p only falls, and a longer text divides it by more.

    Args:
        step: The first, whose rules are all but a draw; a temperature of 0 leaves no second hypothesis.
        config: `beams`, `samples`, `max_tokens`, `lines` and `length_penalty`.
        deadline: When the best texts so far are given, whether or not they are over.

    Raises:
        UsageError: more texts are wanted than there are beams, or the temperature is 0.
    """
    if config.samples > config.beams:
        raise UsageError(
            f"samples {config.samples} of a search with {config.beams} beams; it gives at most as many texts as beams"
        )
    if config.temperature == 0:
        raise UsageError("a temperature of 0 leaves one text to search among; drop it, or drop beams")
    power, lines = config.length_penalty, line_ends(step.model, config)
    alive, over = [Hypothesis(None, -1, 0.0, 0.0)], list[Hypothesis]()
    for length in range(1, config.max_tokens + 1):
        # of each text one line end at most
        grown = step.grown(alive, 2 * config.beams, lambda totals, _: totals)
        going: list[tuple[int, Hypothesis]] = []
        for _, number, h in grown:
            if length == config.max_tokens or (lines and h.ended == lines):
                over.append(h)
            elif len(going) < config.beams:
                going.append((number, h))
        over = sorted(over, key=lambda h: -h.normalized(power))[: config.samples]
        if deadline.passed:  # what is whole goes before what is cut
            return [*over, *(h for _, h in going)][: config.samples]
        if not going:
            break
        bound = max(h.score for _, h in going) / config.max_tokens**power
        if len(over) == config.samples and over[-1].normalized(power) >= bound:
            break
        alive = [h for _, h in going]
        step = step.after([number for number, _ in going], np.array([h.token for h in alive]))
    return over


def highest(scores: np.ndarray, count: int) -> np.ndarray:
    """Give the places of the highest scores, the highest first, none of minus infinity."""
    count = min(count, len(scores))
    some = np.argpartition(-scores, count - 1)[:count] if count < len(scores) else np.arange(count)
    some = some[np.lexsort((some, -scores[some]))]
    return some[np.isfinite(scores[some])]
