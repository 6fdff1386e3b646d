"""Beam search: the likeliest text instead of one that is drawn."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from lmkit.config import GenerationConfig, seconds
from lmkit.errors import UsageError
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


def beam_search(
    model: LanguageModel, prefix: Prefix, state: Any, rules: Chain, config: GenerationConfig
) -> list[Hypothesis]:
    """Give the likeliest `samples` texts that `beams` at a time have come to, the best first.

    A text is over at its last line end or after `max_tokens`; of those, the best are kept. The search is over when no
    text that goes on can come to be better: log p only falls, and a longer text divides it by more.

    Args:
        model: Any language model.
        prefix: What it goes on from.
        state: (1,) after the certain tokens of the prefix.
        rules: All but a draw; a temperature of 0 leaves no second hypothesis.
        config: `beams`, `samples`, `max_tokens`, `lines` and `length_penalty`.

    Raises:
        UsageError: more texts are wanted than there are beams, or the temperature is 0.
    """
    if config.samples > config.beams:
        raise UsageError(
            f"samples {config.samples} of a search with {config.beams} beams; it gives at most as many texts as beams"
        )
    if config.temperature == 0:
        raise UsageError("a temperature of 0 leaves one text to search among; drop it, or drop beams")
    power, lines = config.length_penalty, line_ends(model, config)
    spelling, typed = Spelling(model.tokenizer), [prefix.typed]
    alive, over = [Hypothesis(None, -1, 0.0, 0.0)], list[Hypothesis]()
    until = time.monotonic() + seconds(config.max_time) if config.max_time is not None else float("inf")
    past = Past.of([prefix.ids], window=rules.window, forced=rules.forced)
    for length in range(1, config.max_tokens + 1):
        plain = model.next_logprobs(state)  # (B, V)
        logprobs = plain
        if any(typed):
            every = np.ones(plain.shape[1], bool)
            logprobs = keep(plain, np.stack([spelling.allowed(rest) if rest else every for rest in typed]))
        shaped = rules(logprobs, past).astype(np.float64)
        totals = shaped + np.array([h.score for h in alive])[:, None]
        best = _highest(totals.ravel(), 2 * config.beams)  # of each text one line end at most
        grown = [
            Hypothesis(alive[row], token, float(plain[row, token]), float(totals[row, token]))
            for row, token in (divmod(int(place), totals.shape[1]) for place in best)
        ]
        origin = [int(place) // totals.shape[1] for place in best]
        going: list[int] = []
        late = time.monotonic() > until
        for number, h in enumerate(grown):
            if late or length == config.max_tokens or (lines and h.ended == lines):
                over.append(h)
            elif len(going) < config.beams:
                going.append(number)
        over = sorted(over, key=lambda h: -h.normalized(power))[: config.samples]
        if not going:
            break
        bound = max(grown[number].score for number in going) / config.max_tokens**power
        if len(over) == config.samples and over[-1].normalized(power) >= bound:
            break
        rows = [origin[number] for number in going]
        alive = [grown[number] for number in going]
        tokens = np.array([h.token for h in alive])
        typed = [spelling.rest(typed[row], h.token) for row, h in zip(rows, alive, strict=True)]
        past = past.select(rows)
        past.push(tokens)
        state = model.step(state.select(rows), tokens)
    return over


def _highest(scores: np.ndarray, count: int) -> np.ndarray:
    """Give the places of the highest scores, the highest first, none of minus infinity."""
    count = min(count, len(scores))
    some = np.argpartition(-scores, count - 1)[:count] if count < len(scores) else np.arange(count)
    some = some[np.lexsort((some, -scores[some]))]
    return some[np.isfinite(scores[some])]
