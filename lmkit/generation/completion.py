"""The word that is being typed: its likeliest completions, whatever a model's tokens are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmkit.errors import UsageError
from lmkit.generation.distributions import keep, without
from lmkit.generation.prefixes import Prefix, Spelling, read_prefix
from lmkit.generation.streaming import read
from lmkit.model import LanguageModel
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS, SEPARATORS, SPECIALS, UNK

_BEAMS = 64  # beginnings of words that are looked at side by side
_LONGEST = 64  # tokens of a word
_INSIDE = "'’_-"  # what a word may hold beside letters and digits
_WORD_AT_END = re.compile(rf"[\w{_INSIDE}]*\Z")


@dataclass(frozen=True)
class Completion:
    """A word that may be meant.

    Attributes:
        word: all of it, with what was typed.
        probability: that it is this one, given the text and what was typed of it.
    """

    word: str
    probability: float


def complete(model: LanguageModel, text: str, *, samples: int = 10) -> list[Completion]:
    """Give the likeliest words that the last word of a text may become, the likeliest first.

    After a space they are the likeliest next words. For a model of characters, bytes or subwords the probability of
    a word is that of its tokens and of anything behind it that ends a word, summed; the search keeps 64 beginnings.

    Args:
        model: Any language model.
        text: What was typed.
        samples: How many words to give.

    Raises:
        UsageError: fewer than one word is asked for.
        InputError: the text is not UTF-8.

    >>> import lmkit
    >>> model = lmkit.train("the quick brown fox\\nthe quick bread\\nthe quick brown owl\\n" * 9, order=3, holdout=0)
    >>> [found.word for found in complete(model, "the quick br")]
    ['brown', 'bread']
    """
    if samples < 1:
        raise UsageError(f"samples {samples} is out of range; give a number of at least 1")
    prefix = read_prefix(model.tokenizer, text, complete=True)
    state = read(model, prefix.ids)
    found = (
        _whole_words(model, prefix, state)
        if model.tokenizer.joiner
        else _spelt(model, prefix, state, samples)
    )
    ordered = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))
    return [Completion(word, probability) for word, probability in ordered[:samples] if probability > 0]


def _whole_words(model: LanguageModel, prefix: Prefix, state: Any) -> dict[str, float]:
    """Give every word that begins with what was typed, with its probability among them."""
    allowed = np.arange(len(model.tokenizer.vocab)) >= len(SPECIALS)
    if prefix.typed:
        allowed = Spelling(model.tokenizer).allowed(prefix.typed)
    elif SEPARATORS.split(prefix.text)[-1]:
        return {}  # no word that is known begins so
    probabilities = np.exp(keep(model.next_logprobs(state), allowed)[0])
    likely = np.flatnonzero(allowed)
    likely = likely[np.argsort(-probabilities[likely], kind="stable")][: 1 << 10]
    return {model.tokenizer.vocab[index]: float(probabilities[index]) for index in likely.tolist()}


def _spelt(model: LanguageModel, prefix: Prefix, state: Any, samples: int) -> dict[str, float]:
    """Search for words token by token, keeping the likeliest beginnings."""
    tokenizer = model.tokenizer
    ends = _ends_a_word(tokenizer)  # (V,)
    spelling = Spelling(tokenizer)
    at_end = _WORD_AT_END.search(prefix.text)
    begun = at_end[0].encode() if at_end else b""
    alive, scores = [b""], np.zeros(1)  # what comes after what was typed
    typed = [prefix.typed]  # what each has still to spell
    found: dict[str, float] = {}
    for _ in range(_LONGEST):
        logprobs = without(model.next_logprobs(state), [UNK])  # (B, V)
        for row, (rest, word) in enumerate(zip(typed, alive, strict=True)):
            if rest:
                logprobs[row] = keep(logprobs[[row]], spelling.allowed(rest))[0]
                continue
            ending = float(np.exp(scores[row]) * np.exp(logprobs[row, ends]).sum())
            if whole := (begun + word).decode("utf-8", errors="replace"):
                found[whole] = found.get(whole, 0.0) + ending
            logprobs[row, ends] = -np.inf
        totals = (logprobs + scores[:, None]).ravel()
        best = np.argsort(-totals, kind="stable")[:_BEAMS]
        best = best[np.isfinite(totals[best])]
        enough = sorted(found.values(), reverse=True)[samples - 1 : samples]
        if not len(best) or (enough and np.exp(totals[best[0]]) <= enough[0]):
            break
        rows, tokens = np.divmod(best, logprobs.shape[1])
        grown = [
            (typed[row], alive[row], token) for row, token in zip(rows.tolist(), tokens.tolist(), strict=True)
        ]
        alive = [word + tokenizer.bytes_of(token)[len(rest) :] for rest, word, token in grown]
        typed = [spelling.rest(rest, token) for rest, _, token in grown]
        scores = totals[best]
        state = model.step(state.select(rows), tokens)
    return found


def _ends_a_word(tokenizer: Tokenizer) -> np.ndarray:
    """Mark the tokens (V,) with which a word is over: spaces, punctuation, the line end."""
    size = len(tokenizer.vocab)
    first = [tokenizer.bytes_of(index).decode("utf-8", errors="replace")[:1] for index in range(size)]
    ends = np.array([bool(c) and not (c.isalnum() or c in _INSIDE or c == "\ufffd") for c in first])
    ends[EOS] = True
    return ends
