"""The chain of rules that a distribution goes through before a token is drawn, in a fixed order.

    1  ban, only, no <unk>, min_tokens, force                       what may be written at all
    2  repetition, frequency, presence penalty, no_repeat_ngram     what was there already
    3  temperature, top_k, top_p, min_p, typical_p,                 how far from the likeliest
       epsilon_cutoff, eta_cutoff

The order is that of Hugging Face's transformers. A rule that changes nothing is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from lmkit.config import GenerationConfig
from lmkit.errors import UsageError
from lmkit.generation import constraints, penalties, truncation
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS, UNK


@dataclass
class Past:
    """What B texts have come to, as far as rules need to know.

    Attributes:
        tokens: (B, W) int32, the last tokens, those of the prefix included; -1 where there were none.
        written: (B,) how many were written after the prefix.
        forced: (F,) the tokens that must come.
        missing: (B, F) which of them have not come yet.
    """

    tokens: np.ndarray
    written: np.ndarray
    forced: np.ndarray
    missing: np.ndarray

    @classmethod
    def of(cls, prefixes: Sequence[np.ndarray], *, window: int, forced: np.ndarray) -> Self:
        """Begin after some prefixes, an array of tokens each."""
        tokens = np.full((len(prefixes), window), -1, np.int32)
        for row, ids in enumerate(prefixes):
            last = ids[max(0, len(ids) - window) :]
            tokens[row, window - len(last) :] = last
        written = np.zeros(len(prefixes), np.int64)
        return cls(tokens, written, forced, np.ones((len(prefixes), len(forced)), bool))

    def push(self, tokens: np.ndarray) -> None:
        """Write one more token (B,) into each text."""
        if self.tokens.shape[1]:
            self.tokens[:, :-1] = self.tokens[:, 1:]
            self.tokens[:, -1] = tokens
        self.written += 1
        self.missing &= self.forced != np.asarray(tokens)[:, None]

    def select(self, rows: Sequence[int] | np.ndarray) -> Past:
        """Give some of the texts, in the order given, repetitions allowed."""
        rows = np.asarray(rows, np.int64)
        return Past(self.tokens[rows], self.written[rows], self.forced, self.missing[rows])

    def own(self) -> np.ndarray:
        """Give the last tokens (B, W) without those of the prefix."""
        age = np.arange(self.tokens.shape[1])[::-1]
        return np.where(age < self.written[:, None], self.tokens, -1)


Processor = Callable[[np.ndarray, Past], np.ndarray]


@dataclass(frozen=True)
class Chain:
    """The rules that some options ask for.

    Attributes:
        processors: functions of log-probabilities (B, V) and a `Past`, in the order of this module's description.
        window: how many tokens they look back on.
        forced: (F,) the tokens that must come.
        banned: what is never written, if there is no other rule but a temperature, so that a draw can be repeated
            instead; else None.
        temperature: 0 is greedy.
        logprobs: whether log p of the tokens under the model is wanted.
    """

    processors: tuple[Processor, ...]
    window: int
    forced: np.ndarray
    banned: frozenset[int] | None
    temperature: float
    logprobs: bool = True

    def __call__(self, logprobs: np.ndarray, past: Past) -> np.ndarray:
        """Put log-probabilities (B, V) through all rules."""
        for process in self.processors:
            logprobs = process(logprobs, past)
        return logprobs


def chain(config: GenerationConfig, tokenizer: Tokenizer) -> Chain:
    """Make the chain of some options.

    Raises:
        UsageError: a word cannot be written by this model, an expression is none, or a number is out of its range.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> len(chain(GenerationConfig(top_k=3, temperature=0.5), ByteTokenizer()).processors)
    3
    """
    c = config
    if both := sorted({*c.ban} & {*c.force}):
        raise UsageError(f"{both[0]!r} is banned and forced at once; leave one of them out")
    banned = [ids for word in c.ban for ids in _spellings(tokenizer, word) if len(ids)]
    if not c.allow_unk:
        banned.append(np.array([UNK], np.int32))
    forced = np.array([_one_token(tokenizer, word) for word in c.force], np.int32)
    if len(forced) > c.max_tokens:
        raise UsageError(f"{len(forced)} words to force do not fit into max_tokens {c.max_tokens}; raise it")
    allowed = None if c.only is None else _matching(tokenizer, c.only)
    for name in ("top_p", "typical_p"):
        if getattr(c, name) == 0:
            raise UsageError(f"{name} 0.0 is out of range; give a number above 0 and at most 1 (1 keeps all)")
    ban: list[tuple[bool, Processor]] = [
        (bool(banned), lambda p, past: constraints.ban(p, past.tokens, banned))
    ]
    heat: list[tuple[bool, Processor]] = [
        (c.temperature != 1, lambda p, _: truncation.temperature(p, c.temperature))
    ]
    others: list[tuple[bool, Processor]] = [
        (allowed is not None, lambda p, past: constraints.only(p, np.asarray(allowed))),
        (c.min_tokens > 0, lambda p, past: constraints.min_tokens(p, past.written, c.min_tokens)),
        (len(forced) > 0, lambda p, past: _force(p, past, c.max_tokens)),
        (
            c.repetition_penalty != 1,
            lambda p, past: penalties.repetition_penalty(p, past.tokens, c.repetition_penalty),
        ),
        (
            c.frequency_penalty != 0,
            lambda p, past: penalties.frequency_penalty(p, past.own(), c.frequency_penalty),
        ),
        (
            c.presence_penalty != 0,
            lambda p, past: penalties.presence_penalty(p, past.own(), c.presence_penalty),
        ),
        (
            c.no_repeat_ngram > 0,
            lambda p, past: penalties.no_repeat_ngram(p, past.tokens, c.no_repeat_ngram),
        ),
    ]
    cuts: list[tuple[bool, Processor]] = [
        (c.top_k > 0, lambda p, _: truncation.top_k(p, c.top_k)),
        (c.top_p != 1, lambda p, _: truncation.top_p(p, c.top_p)),
        (c.min_p > 0, lambda p, _: truncation.min_p(p, c.min_p)),
        (c.typical_p != 1, lambda p, _: truncation.typical(p, c.typical_p)),
        (c.epsilon_cutoff > 0, lambda p, _: truncation.epsilon_cutoff(p, c.epsilon_cutoff)),
        (c.eta_cutoff > 0, lambda p, _: truncation.eta_cutoff(p, c.eta_cutoff)),
    ]
    bare = not any(wanted for wanted, _ in others + cuts) and all(len(ids) == 1 for ids in banned)
    looks_back = any(wanted for wanted, _ in others[3:])  # all but the rules about what may be written
    return Chain(
        processors=tuple(rule for wanted, rule in ban + others + heat + cuts if wanted),
        window=c.look_back if looks_back else max((len(ids) - 1 for ids in banned), default=0),
        forced=forced,
        banned=frozenset(int(ids[0]) for ids in banned) if bare else None,
        temperature=c.temperature,
    )


def _force(logprobs: np.ndarray, past: Past, max_tokens: int) -> np.ndarray:
    count = past.missing.sum(axis=1)
    first = np.where(count > 0, past.forced[past.missing.argmax(axis=1)], -1)
    return constraints.force(logprobs, first, max_tokens - past.written <= count)


def _spellings(tokenizer: Tokenizer, word: str) -> list[np.ndarray]:
    """Give the tokens of a word, alone and after a space where that may make a difference; none if it is not known."""
    texts = [word] if tokenizer.joiner or tokenizer.kind in ("char", "byte") else [word, f" {word}"]
    spelt = [tokenizer.encode(text) for text in texts]
    return [ids for ids in spelt if UNK not in ids]


def _one_token(tokenizer: Tokenizer, word: str) -> int:
    spelt = [ids for ids in _spellings(tokenizer, word) if len(ids) == 1]
    if not spelt:
        raise UsageError(
            f"the word {word!r} cannot be forced: it is no single token of the model's vocabulary "
            f"({tokenizer.kind}); put it into the prefix"
        )
    return int(spelt[-1][0])  # after a space, rather than alone


def _matching(tokenizer: Tokenizer, expression: str) -> np.ndarray:
    """Mark the tokens (V,) whose text matches a regular expression as a whole, and the line end."""
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(f"only {expression!r} is no regular expression: {error}") from None
    texts = (
        tokenizer.bytes_of(index).decode("utf-8", errors="replace") for index in range(len(tokenizer.vocab))
    )
    found = np.array([bool(pattern.fullmatch(text) or pattern.fullmatch(text.strip(" "))) for text in texts])
    found[: EOS + 1] = False
    if not found.any():
        raise UsageError(f"only {expression!r}: no token of the model's vocabulary matches it as a whole")
    found[EOS] = True
    return found
