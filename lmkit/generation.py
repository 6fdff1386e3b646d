"""Text from a language model, whichever it is: continue a prefix, token after token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from lmkit import sampling
from lmkit.errors import InputError, UsageError
from lmkit.model import LanguageModel
from lmkit.seeds import fresh_seed, generators
from lmkit.text.vocabulary import EOS, UNK

MAX_TOKENS = 200
_LOGPROBS = 1 << 22  # log-probabilities shaped at once


@dataclass
class Sample:
    """One continuation.

    Attributes:
        prefix: what was given, as it was written.
        ids: the tokens after it, a final `</s>` included.
        logprobs: log p of each under the model, before temperature and the rest.
        reason: why it stopped: `line end` or `max_tokens`.
        text: prefix and continuation.
    """

    prefix: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reason: str = "max_tokens"
    text: str = ""

    def __str__(self) -> str:
        return self.text


def generate(
    model: LanguageModel,
    prefix: str = "",
    *,
    samples: int = 1,
    max_tokens: int = MAX_TOKENS,
    lines: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    allow_unk: bool = False,
) -> list[Sample]:
    """Continue a prefix, several times over.

    The order is: no `<unk>`, temperature, top-k, top-p, then the draw. Sample i is the same for a seed whatever
    the number of samples.

    Args:
        model: Any language model.
        prefix: The text to go on from; unknown words in it are `<unk>` to the model and stay as written.
        samples: How many continuations.
        max_tokens: Stop after so many tokens.
        lines: Stop after so many line ends; 0 is no such limit. If not given, 1 for a model that forgets at a
            line end, and no limit for one that reads on.
        temperature: 1 is the model's own distribution, 0 takes the likeliest token each time.
        top_k: Draw from the k likeliest tokens only; 0 is all.
        top_p: Draw from the likeliest tokens that hold this much mass only.
        seed: Of the draws; a fresh one if not given.
        allow_unk: Whether `<unk>` may be written.

    Raises:
        UsageError: a number is out of its range.
        InputError: the prefix is no text.

    >>> from lmkit.text.character import CharTokenizer
    >>> from lmkit.text.vocabulary import Vocabulary
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=CharTokenizer(vocab=Vocabulary.from_tokens("ab")))
    >>> print(generate(model, "abba", seed=1)[0])
    abbaab
    """
    if samples < 1 or max_tokens < 0 or (lines is not None and lines < 0):
        raise UsageError("samples must be at least 1, max_tokens and lines at least 0")
    try:
        prefix.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"the prefix {prefix!r} is not UTF-8 text") from None
    shape = partial(_shape, temperature=temperature, top_k=top_k, top_p=top_p, allow_unk=allow_unk)
    lines = (1 if model.context == "line" else 0) if lines is None else lines
    rngs = generators(fresh_seed() if seed is None else seed, samples)
    start = _after(model, prefix)
    rows = max(1, _LOGPROBS // len(model.tokenizer.vocab))  # so many samples at a time
    results = []
    for begin in range(0, samples, rows):
        part = [Sample(prefix=prefix) for _ in rngs[begin : begin + rows]]
        _continue(
            model, start.select([0] * len(part)), part, rngs[begin : begin + rows], max_tokens, lines, shape
        )
        results += part
    for sample in results:
        sample.text = _joined(model, sample)
    return results


def _shape(
    logprobs: np.ndarray, *, temperature: float, top_k: int, top_p: float, allow_unk: bool
) -> np.ndarray:
    """Turn the model's distribution into the one to draw from."""
    allowed = logprobs if allow_unk else sampling.ban(logprobs, [UNK])
    return sampling.top_p(sampling.top_k(sampling.temperature(allowed, temperature), top_k), top_p)


def _continue(
    model: LanguageModel,
    state: Any,
    samples: list[Sample],
    rngs: list[np.random.Generator],
    max_tokens: int,
    lines: int,
    shape: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Write tokens into the samples, side by side, until each has ended."""
    active = list(zip(samples, rngs, strict=True))
    for _ in range(max_tokens):
        plain = model.next_logprobs(state)
        tokens = sampling.draw(shape(plain), [rng for _, rng in active])
        state = model.step(state, tokens)
        going = []
        for row, (sample, _) in enumerate(active):
            sample.ids.append(int(tokens[row]))
            sample.logprobs.append(float(plain[row, tokens[row]]))
            if lines and tokens[row] == EOS and sample.ids.count(EOS) == lines:
                sample.reason = "line end"
            else:
                going.append(row)
        if not going:
            return
        if len(going) < len(active):
            state = state.select(going)
            active = [active[row] for row in going]


def _after(model: LanguageModel, prefix: str) -> Any:
    """Read the prefix: all its lines, the last one unfinished."""
    *whole, rest = prefix.split("\n")
    ids = np.concatenate([model.tokenizer.encode_lines(whole), model.tokenizer.encode(rest)])
    return model.score_ids(ids)[1] if len(ids) else model.start()


def _joined(model: LanguageModel, sample: Sample) -> str:
    """Put the continuation behind the prefix, with a space between where words need one."""
    ids = sample.ids[:-1] if sample.reason == "line end" else sample.ids
    continuation = model.tokenizer.decode(ids)
    needs_space = (
        sample.prefix and not sample.prefix[-1].isspace() and continuation and continuation[0] != "\n"
    )
    return sample.prefix + (model.tokenizer.joiner if needs_space else "") + continuation
