"""A gap between two texts, filled by exact samples of what an n-gram model says of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from lmkit.config import GenerationConfig
from lmkit.errors import UsageError
from lmkit.generation.prefixes import Prefix, read_prefix
from lmkit.generation.samples import Sample
from lmkit.generation.streaming import read
from lmkit.generation.writing import writer
from lmkit.model import LanguageModel
from lmkit.ngram.messages import Messages
from lmkit.ngram.model import NgramModel
from lmkit.ngram.trie import Trie
from lmkit.nn.inversion import inverted
from lmkit.options import make
from lmkit.seeds import check_seed, fresh_seed, generator
from lmkit.text.vocabulary import EOS, UNK

LONGEST = 20  # tokens of a gap
_OPTIONS = {"samples", "max_tokens", "min_tokens", "allow_unk", "raw", "seed"}
_CONTEXTS = 1 << 28  # of all messages together, two gigabytes


def infill(model: LanguageModel, prefix: str, suffix: str, **options: Any) -> list[Sample]:
    """Fill the gap between two parts of a line, by exact samples from p(gap | prefix, suffix).

    Gaps of all lengths from `min_tokens` to `max_tokens` (20 at most) are drawn from as the model weighs them: by the
    probability of the gap and of all that follows it, the line end included. See `lmkit.ngram.messages`.

    Args:
        model: An n-gram model of order 2 or more, not quantised.
        prefix: What comes before the gap.
        suffix: What comes behind it, up to the end of the line.
        options: samples, max_tokens, min_tokens, allow_unk, raw, seed; see `generate`.

    Returns:
        Samples whose tokens are those of the gap, and whose text is the whole line.

    Raises:
        UsageError: the model is of another kind or too large, or an option has no meaning here.
        InputError: a text is not UTF-8.

    >>> import lmkit
    >>> model = lmkit.train("the old fox ran .\\nthe red owl sat .\\n" * 9, order=3, holdout=0)
    >>> found = infill(model, "the", "sat .", samples=20, min_tokens=1, max_tokens=2, seed=1)
    >>> max(set(map(str, found)), key=list(map(str, found)).count)
    'the red owl sat.'
    """
    config = make(GenerationConfig, options)
    unused = [
        f.name for f in fields(config) if f.name not in _OPTIONS and getattr(config, f.name) != f.default
    ]
    if unused:
        raise UsageError(
            f"a gap is filled by exact samples, which {', '.join(unused)} would change; leave it out"
        )
    if not isinstance(model, NgramModel) or not isinstance(model.trie, Trie) or model.order < 2:
        raise UsageError(
            "a gap can be filled by an n-gram model of order 2 or more that is not quantised; this one is "
            f"{model.signature()}"
        )
    if "\n" in suffix:
        raise UsageError("a gap lies within a line; the suffix holds a line end")
    longest = min(config.max_tokens, LONGEST)
    if config.min_tokens > longest:
        raise UsageError(f"min_tokens {config.min_tokens} is more than a gap can have here: {longest}")
    if (longest + 1) * int(model.trie.level[-2]) > _CONTEXTS:
        raise UsageError(f"the model is too large for gaps of {longest} tokens; lower max_tokens")
    return _filled(model, model.trie, _whole(model, prefix), suffix, longest, config)


def _whole(model: NgramModel, text: str) -> Prefix:
    """Read a text whose last word is whole."""
    *lines, rest = read_prefix(model.tokenizer, text).text.split("\n")
    ids = np.concatenate([model.tokenizer.encode_lines(lines), model.tokenizer.encode(rest)])
    return Prefix(text, ids.astype(np.int32))


def _filled(
    model: NgramModel, trie: Trie, prefix: Prefix, suffix: str, longest: int, config: GenerationConfig
) -> list[Sample]:
    vocab_size = len(model.tokenizer.vocab)
    banned = np.zeros(vocab_size, bool)
    banned[UNK] = not config.allow_unk
    behind = np.append(_whole(model, suffix).ids, np.int32(EOS))
    messages = Messages(trie, behind, banned)
    free = ~banned
    free[EOS] = False
    m = [messages.text]
    for _ in range(longest):
        m.append(messages.before(m[-1]))
    start = read(model, prefix.ids)
    lengths = np.array([m[t][_context(start.nodes)[0]] for t in range(config.min_tokens, longest + 1)])
    if not lengths.sum() > 0:
        raise UsageError(f"no gap of at most {longest} tokens leads to the suffix {suffix!r}")
    seed = check_seed(fresh_seed() if config.seed is None else config.seed)
    samples = []
    for number in range(config.samples):
        rng, state = generator(seed, number), start
        count = config.min_tokens + _at(lengths, rng.random())
        sample = Sample(prefix=prefix.text, reason="filled", number=number)
        for t in range(count - 1, -1, -1):
            logprobs = model.next_logprobs(state)[0]
            after = model.step(state.select(np.zeros(vocab_size, np.int64)), np.arange(vocab_size))
            weights = np.exp(logprobs.astype(np.float64)) * m[t][_context(after.nodes)] * free
            token = _at(weights, rng.random())
            sample.ids.append(token)
            sample.logprobs.append(float(logprobs[token]))
            state = after.select([token])
        sample.text = _joined(model, prefix, sample.ids, suffix, raw=config.raw)
        samples.append(sample)
    return samples


def _context(nodes: np.ndarray) -> np.ndarray:
    """Give the longest known context (B,) of states (B, order - 1)."""
    return nodes[np.arange(len(nodes)), np.maximum((nodes >= 0).sum(axis=1) - 1, 0)]


def _at(weights: np.ndarray, point: float) -> int:
    """Give the place at a point in [0, 1) of weights that need not sum to one."""
    return int(inverted(weights[None], np.array([point]))[0])


def _joined(model: NgramModel, prefix: Prefix, gap: list[int], suffix: str, *, raw: bool) -> str:
    """Write the line: what was given as it was written, and the gap with the spaces that it needs."""
    tokens = writer(model.tokenizer, prefix, raw=raw, capitalize=False)
    text = prefix.text + "".join(map(tokens.push, gap)) + tokens.close()
    if not model.tokenizer.joiner:
        return text + suffix
    if raw:
        return " ".join(part for part in (text.rstrip(" "), suffix.lstrip(" ")) if part)
    words = writer(model.tokenizer, Prefix(text, prefix.ids), raw=False, capitalize=False)
    known = _whole(model, suffix).ids
    if UNK in known:
        return " ".join(part for part in (text.rstrip(" "), suffix.lstrip(" ")) if part)
    return text + "".join(words.push(int(token)) for token in known)
