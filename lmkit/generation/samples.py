"""Text from a language model, whichever it is: continue a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lmkit.config import GenerationConfig
from lmkit.errors import UsageError
from lmkit.generation.beam import Hypothesis, Step, beam_search
from lmkit.generation.deadline import Deadline
from lmkit.generation.distinct import distinct_texts
from lmkit.generation.prefixes import Prefix, read_prefix
from lmkit.generation.processors import chain
from lmkit.generation.streaming import Text, Token, as_list, read, run
from lmkit.model import LanguageModel
from lmkit.options import make

_LATE = ("max_time", "interrupted")  # reasons of texts that were not over


@dataclass
class Sample:
    """One continuation.

    Attributes:
        prefix: what was given, as it was written.
        number: which of the samples of this prefix, from 0 on.
        ids: the tokens after it, a final `</s>` included.
        logprobs: log p of each under the model, in nats, before temperature and the rest.
        reason: why it stopped: `line end`, `max_tokens`, `stop`, `max_time` or `interrupted`.
        text: prefix and continuation, without the stop string or the line end that ended it.
    """

    prefix: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reason: str = "max_tokens"
    text: str = ""
    number: int = 0

    def __str__(self) -> str:
        return self.text

    def add(self, token: Token) -> None:
        """Take one more token."""
        self.ids.append(token.id)
        self.logprobs.append(token.logprob)
        self.text += token.text
        self.reason = token.reason or self.reason

    def score(self, length_penalty: float = 1.0) -> float:
        """Give log p of the continuation divided by a power of its tokens: 0 by the text, 1 by the token."""
        return float(np.sum(self.logprobs, dtype=np.float64)) / max(len(self.ids), 1) ** length_penalty


def generate(
    model: LanguageModel,
    prefix: str | Sequence[str] = "",
    *,
    deadline: Deadline | None = None,
    **options: Any,
) -> list[Sample]:
    """Continue one prefix or several, several times over.

    Rules are applied in the order of `lmkit.generation.processors`, then a token is drawn. Sample i of a prefix is the
    same for a seed whatever else is written beside it.

    Args:
        model: Any language model.
        prefix: The text to go on from, or several; unknown words in it are `<unk>` to the model and stay as written.
        deadline: What ends all texts, if another than `max_time`: its `interrupt` may be called from a signal handler
            or another thread, and what there is by then is given (a prefix that has not been reached, once).
        options: The fields of `lmkit.config.GenerationConfig`, which are the flags of `lmkit generate`: samples (of
            each prefix), max_tokens, lines, stop, temperature, top_k, top_p, min_p, beams, seed, ...

    Returns:
        The samples of the first prefix, then those of the second, ... With `beams` and with `best_of`, the likeliest
        is the first. With `distinct` they depend on how many are drawn, and there are fewer where no more are possible.

    Raises:
        UsageError: an option is unknown, or out of its range.
        InputError: a prefix is no text.

    >>> from lmkit.text.character import CharTokenizer
    >>> from lmkit.text.vocabulary import Vocabulary
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=CharTokenizer(vocab=Vocabulary.from_tokens("ab")))
    >>> print(generate(model, "abba", seed=1)[0])
    abbaabb
    """
    config = make(GenerationConfig, options)
    if deadline is not None and config.max_time is not None:
        raise UsageError("max_time is part of the deadline that is given; say it there: Deadline(max_time)")
    deadline = deadline or Deadline(config.max_time)
    prefixes = [read_prefix(model.tokenizer, text) for text in as_list(prefix)]
    if (config.beams > 1) + (config.best_of > 1) + config.distinct > 1:
        raise UsageError("beams, best_of and distinct are three ways to choose texts; give one of them")
    if config.beams > 1 or config.distinct:
        return _searched(model, prefixes, config, deadline)
    if config.best_of == 1:
        return _drawn(model, prefixes, config, deadline)
    if config.best_of < config.samples:
        raise UsageError(
            f"best_of {config.best_of} is less than samples {config.samples}; draw at least as many"
        )
    drawn = _drawn(model, prefixes, replace(config, samples=config.best_of), deadline)

    def rank(sample: Sample) -> tuple[bool, bool, float]:
        """Order what is whole before what has begun, and the likeliest first."""
        return sample.reason in _LATE, not sample.ids, -sample.score(config.length_penalty)

    best = []
    for begin in range(0, len(drawn), config.best_of):
        of_prefix = drawn[begin : begin + config.best_of]
        ranked = sorted(of_prefix, key=rank)[: config.samples]
        best += [replace(sample, number=number) for number, sample in enumerate(ranked)]
    return best


def _drawn(
    model: LanguageModel, prefixes: list[Prefix], config: GenerationConfig, deadline: Deadline
) -> list[Sample]:
    samples = [Sample(prefix=p.text, text=p.text, number=i) for p in prefixes for i in range(config.samples)]
    for token in run(model, prefixes, config, deadline=deadline):
        samples[token.sample].add(token)
    return [s if s.ids else replace(s, reason=deadline.passed or s.reason) for s in samples]


def _searched(
    model: LanguageModel, prefixes: list[Prefix], config: GenerationConfig, deadline: Deadline
) -> list[Sample]:
    rules = chain(config, model.tokenizer)
    samples = []
    search = distinct_texts if config.distinct else beam_search
    for place, prefix in enumerate(prefixes):
        if place and deadline.passed:
            samples.append(Sample(prefix=prefix.text, text=prefix.text, reason=deadline.passed))
            continue
        found = search(Step.first(model, prefix, read(model, prefix.ids), rules), config, deadline)
        samples += [
            _written(Text(0, prefix, model, config), hypothesis, number, late=deadline.passed)
            for number, hypothesis in enumerate(found)
        ]
    return samples


def _written(text: Text, hypothesis: Hypothesis, number: int, *, late: str | None) -> Sample:
    """Write a text that a search has found, which may be cut off where it was late."""
    sample = Sample(prefix=text.prefix.text, text=text.prefix.text, number=number)
    tokens = list(zip(*hypothesis.tokens(), strict=True))
    for place, (token, logprob) in enumerate(tokens, start=1):
        sample.add(text.take(token, logprob, late=late if place == len(tokens) else None))
        if sample.reason == "stop":  # maybe before the end
            break
    return sample
