"""Text from a language model as it comes: several texts side by side, token after token, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lmkit.config import GenerationConfig
from lmkit.errors import UsageError
from lmkit.generation.deadline import Deadline
from lmkit.generation.distributions import keep
from lmkit.generation.prefixes import Prefix, Spelling, read_prefix
from lmkit.generation.processors import Chain, Past, chain
from lmkit.generation.stops import StopStrings
from lmkit.generation.writing import Writer, writer
from lmkit.model import LanguageModel
from lmkit.nn.inversion import inverted
from lmkit.options import make
from lmkit.seeds import check_seed, fresh_seed, generator
from lmkit.text.vocabulary import EOS

_LOGPROBS = 1 << 22  # log-probabilities shaped at once
_ROWS = 1 << 10  # texts side by side where no distribution is made
_TRIES = 16  # draws again instead of a distribution without the tokens that are banned


@dataclass(slots=True)
class Token:
    """One more token of a text.

    Attributes:
        sample: which text: the samples of the first prefix, then those of the second, ...
        id: the token.
        logprob: log p of it under the model, in nats, before temperature and the rest; NaN if not asked for.
        text: what is certain to be written with it; it can be empty, and the rest comes with a later token.
        reason: why the text stops here: `line end`, `max_tokens`, `stop`, `max_time` or `interrupted`; None if it
            goes on.
    """

    sample: int
    id: int
    logprob: float
    text: str
    reason: str | None = None


def stream(
    model: LanguageModel, prefix: str | Sequence[str] = "", *, logprobs: bool = True, **options: Any
) -> Iterator[Token]:
    """Continue one prefix or several, several times over, and give each token as it is drawn.

    The texts are those of `generate`, whose options it takes, but for a search among several (`beams`, `best_of`).
    Nothing is kept of what was given, but what rules look back on.

    Args:
        model: Any language model.
        prefix: See `generate`.
        logprobs: Whether log p of the tokens is wanted; without, drawing from a network with many words is faster.
        options: See `generate`.

    Raises:
        UsageError, InputError: see `generate`.

    >>> from lmkit.text.character import CharTokenizer
    >>> from lmkit.text.vocabulary import Vocabulary
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=CharTokenizer(vocab=Vocabulary.from_tokens("ab")))
    >>> [token.text for token in stream(model, "ab", seed=1, max_tokens=3, lines=0)]
    ['a', 'b', 'b']
    """
    config = make(GenerationConfig, options)
    if searched(config):
        raise UsageError(
            "beams, best_of and distinct choose among whole texts, which do not come token by token"
        )
    prefixes = [read_prefix(model.tokenizer, text) for text in as_list(prefix)]
    return run(model, prefixes, config, logprobs=logprobs)


def searched(config: GenerationConfig) -> bool:
    """Tell whether whole texts are chosen from, instead of one drawn token by token."""
    return config.beams > 1 or config.best_of > 1 or config.distinct


def as_list(prefix: str | Sequence[str]) -> list[str]:
    """Give one text, or several, as a list."""
    return [prefix] if isinstance(prefix, str) else list(prefix)


def line_ends(model: LanguageModel, config: GenerationConfig) -> int:
    """Give the number of line ends after which a text stops, 0 if it goes on."""
    return (1 if model.context == "line" else 0) if config.lines is None else config.lines


class Text:
    """One text that is being written: its random numbers, and what of it has become text."""

    def __init__(self, number: int, prefix: Prefix, model: LanguageModel, config: GenerationConfig) -> None:
        self.number = number
        self.prefix = prefix
        self.writer: Writer = writer(model.tokenizer, prefix, raw=config.raw, capitalize=config.capitalize)
        self.stops = StopStrings(config.stop)
        self.max_tokens = config.max_tokens
        self.lines = line_ends(model, config)
        self.written = self.ended = 0

    def take(self, token: int, logprob: float, *, late: str | None = None) -> Token:
        """Write one more token; `late` says why the text must be over with it, whatever it is."""
        self.written += 1
        self.ended += token == EOS
        reason = "max_tokens" if self.written == self.max_tokens else late
        if token == EOS and self.ended == self.lines:
            reason = "line end"
            text = self.stops.push(self.writer.close())
        else:
            text = self.stops.push(self.writer.push(token))
            if reason is not None and not self.stops.found:
                text += self.stops.push(self.writer.close())
        if self.stops.found:
            reason = "stop"
        elif reason is not None:
            text += self.stops.close()
        return Token(self.number, token, logprob, text, reason)


def run(
    model: LanguageModel,
    prefixes: Sequence[Prefix],
    config: GenerationConfig,
    *,
    states: Sequence[Any] | None = None,
    logprobs: bool = True,
    deadline: Deadline | None = None,
) -> Iterator[Token]:
    """Give the tokens of all texts, as many side by side as memory allows.

    Args:
        model: Any language model.
        prefixes: What the texts go on from.
        config: Of the rules and of the ends.
        states: After each prefix, where they are known already.
        logprobs: Whether anybody wants log p of the tokens, which can cost more than drawing them.
        deadline: When texts must be over, if not as the config says; those that have not begun by then have no tokens.
    """
    rules = replace(chain(config, model.tokenizer), logprobs=logprobs)
    deadline = deadline or Deadline(config.max_time)
    seed = check_seed(fresh_seed() if config.seed is None else config.seed)
    jobs = [(p, s) for p in range(len(prefixes)) for s in range(config.samples)] if config.max_tokens else []
    typed = any(prefix.typed for prefix in prefixes)
    whole = rules.banned is None or rules.temperature == 0 or typed  # whether distributions are made
    at_once = max(1, _LOGPROBS // len(model.tokenizer.vocab)) if whole else _ROWS

    def tokens() -> Iterator[Token]:
        for begin in range(0, len(jobs), at_once):
            if begin and deadline.passed:
                return
            part = jobs[begin : begin + at_once]
            places = sorted({p for p, _ in part})
            known = [read(model, prefixes[p].ids) if states is None else states[p] for p in places]
            state = known[0].join(*known[1:]) if len(known) > 1 else known[0]
            state = state.select([places.index(p) for p, _ in part])
            texts = [Text(begin + i, prefixes[p], model, config) for i, (p, _) in enumerate(part)]
            yield from _write(model, state, texts, [generator(seed, s) for _, s in part], rules, deadline)

    return tokens()


def read(model: LanguageModel, ids: np.ndarray) -> Any:
    """Give the state after the tokens (T,) of a prefix."""
    return model.score_ids(ids)[1] if len(ids) else model.start()


def _write(
    model: LanguageModel,
    state: Any,
    texts: list[Text],
    rngs: list[np.random.Generator],
    rules: Chain,
    deadline: Deadline,
) -> Iterator[Token]:
    """Write all texts, a token each in turn, until each has ended."""
    past = Past.of([text.prefix.ids for text in texts], window=rules.window, forced=rules.forced)
    spelling, typed = Spelling(model.tokenizer), [text.prefix.typed for text in texts]
    while texts:
        masks = [spelling.allowed(rest) if rest else None for rest in typed] if any(typed) else []
        tokens, logprobs = _choose(model, state, rngs, rules, past, masks)
        typed = (
            [spelling.rest(rest, int(token)) for rest, token in zip(typed, tokens, strict=True)]
            if masks
            else []
        )
        late = deadline.passed
        going = []
        for row, text in enumerate(texts):
            token = text.take(int(tokens[row]), float(logprobs[row]), late=late)
            if token.reason is None:
                going.append(row)
            yield token
        past.push(tokens)
        if len(going) < len(texts):
            if not going:
                return
            texts, rngs = [texts[row] for row in going], [rngs[row] for row in going]
            state, past, tokens = state.select(going), past.select(going), tokens[going]
            typed = [typed[row] for row in going] if typed else []
        state = model.step(state, tokens)


def _choose(
    model: LanguageModel,
    state: Any,
    rngs: list[np.random.Generator],
    rules: Chain,
    past: Past,
    masks: Sequence[np.ndarray | None],
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a token (B,) for each text, and give log p of each (B,) under the model.

    A text is treated in the way that it would be treated alone, whatever the others need.
    """
    way = _drawn if rules.banned is None else _redrawn if rules.temperature else _greedy
    if not masks:
        return way(model, state, rngs, rules, past)
    tokens, logprobs = np.zeros(len(rngs), np.int64), np.zeros(len(rngs), np.float32)
    allowed = np.stack([mask for mask in masks if mask is not None])  # what a prefix leaves open
    opened = [row for row, mask in enumerate(masks) if mask is not None]
    others = [row for row, mask in enumerate(masks) if mask is None]
    for rows, own_way in ((opened, partial(_drawn, allowed=allowed)), (others, way)):
        if rows:
            part, own = state.select(rows), [rngs[row] for row in rows]
            tokens[rows], logprobs[rows] = own_way(model, part, own, rules, past.select(rows))
    return tokens, logprobs


def _drawn(
    model: LanguageModel,
    state: Any,
    rngs: list[np.random.Generator],
    rules: Chain,
    past: Past,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the distributions, put them through all rules, and draw."""
    plain = model.next_logprobs(state)
    shaped = rules(plain if allowed is None else keep(plain, allowed), past)
    tokens = inverted(np.exp(shaped), np.array([rng.random() for rng in rngs]))
    return tokens, plain[np.arange(len(plain)), tokens]


def _greedy(
    model: LanguageModel,
    state: Any,
    rngs: list[np.random.Generator],
    rules: Chain,
    past: Past,
) -> tuple[np.ndarray, np.ndarray]:
    """Take the likeliest tokens, where they are not banned."""
    plain = model.next_logprobs(state)
    tokens = plain.argmax(axis=1)
    for row in np.flatnonzero(np.isin(tokens, list(rules.banned or ()))).tolist():
        tokens[row] = rules(plain[[row]], past.select([row])).argmax()
    return tokens, plain[np.arange(len(plain)), tokens]


def _redrawn(
    model: LanguageModel,
    state: Any,
    rngs: list[np.random.Generator],
    rules: Chain,
    past: Past,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw until no token is banned: the same distribution as without them, and seldom a second draw."""
    banned = rules.banned or ()
    draw_from = partial(model.draw, temperature=rules.temperature, logprobs=rules.logprobs)
    tokens, logprobs = draw_from(state, np.array([rng.random() for rng in rngs]))
    for _ in range(_TRIES):
        again = [row for row, token in enumerate(tokens.tolist()) if token in banned]
        if not again:
            return tokens, logprobs
        points = np.array([rngs[row].random() for row in again])
        tokens[again], logprobs[again] = draw_from(state.select(again), points)
    left = [row for row, token in enumerate(tokens.tolist()) if token in banned]
    for row in left:  # hardly anything else can come
        tokens[[row]], logprobs[[row]] = _drawn(
            model, state.select([row]), [rngs[row]], rules, past.select([row])
        )
    return tokens, logprobs
