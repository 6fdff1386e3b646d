"""Interpolated modified Kneser-Ney with dictionaries: the definition written down, to check the engine against.

Slow and plain on purpose. Words are strings; a line is a list of words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Gram = tuple[str, ...]
Entry = tuple[float, float]  # log10 probability, log10 backoff


def raw_counts(lines: Sequence[Sequence[str]], order: int) -> Counter[Gram]:
    """How often each n-gram of each order occurs; a line is <s> words </s>."""
    counts: Counter[Gram] = Counter()
    for words in lines:
        tokens = ("<s>", *words, "</s>")
        for n in range(1, order + 1):
            for i in range(len(tokens) - n + 1):
                counts[tokens[i : i + n]] += 1
    return counts


def adjusted_counts(raw: Counter[Gram], order: int) -> Counter[Gram]:
    """Continuation counts below the highest order, but for what begins with <s>."""
    before: dict[Gram, set[str]] = {}
    for gram in raw:
        if len(gram) > 1:
            before.setdefault(gram[1:], set()).add(gram[0])
    adjusted: Counter[Gram] = Counter()
    for gram, count in raw.items():
        adjusted[gram] = count if len(gram) == order or gram[0] == "<s>" else len(before.get(gram, ()))
    adjusted["<s>",] = 0
    adjusted["<unk>",] += 0
    return adjusted


def discounts(values: Sequence[int], fallback: Sequence[float] = (0.5, 1.0, 1.5)) -> list[float]:
    n = Counter(values)
    if n[1] and n[2] and n[3]:
        y = n[1] / (n[1] + 2 * n[2])
        estimate = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        if all(0 <= d <= k for k, d in enumerate(estimate, start=1)):
            return [0.0, *estimate]
    return [0.0, *fallback]


def modified_kneser_ney(
    lines: Sequence[Sequence[str]],
    order: int,
    *,
    prune: Sequence[int] = (0,),
    limit: set[str] | None = None,
    interpolate_unigrams: bool = True,
) -> dict[Gram, Entry]:
    """Every kept n-gram with log10 probability and log10 backoff."""
    specials = {"<unk>", "<s>", "</s>"}
    raw = raw_counts(lines, order)
    adjusted = adjusted_counts(raw, order)
    thresholds = [*prune, *[prune[-1]] * order][:order]

    def is_kept(gram: Gram) -> bool:
        if len(gram) == 1 and gram[0] in specials:
            return True
        return raw[gram] > thresholds[len(gram) - 1] and (limit is None or set(gram) <= limit | specials)

    d = {n: discounts([a for g, a in adjusted.items() if len(g) == n]) for n in range(1, order + 1)}
    mass: Counter[Gram] = Counter()
    freed: dict[Gram, float] = {}
    for gram, a in adjusted.items():
        mass[gram[:-1]] += a
        freed[gram[:-1]] = freed.get(gram[:-1], 0.0) + (d[len(gram)][min(a, 3)] if is_kept(gram) else a)
    gamma = {context: freed[context] / mass[context] for context in mass}
    kept = [gram for gram in adjusted if is_kept(gram)]
    vocabulary = sum(len(gram) == 1 for gram in kept) - 1
    p: dict[Gram, float] = {}
    for gram in sorted(kept, key=len):
        a = adjusted[gram]
        p[gram] = (a - d[len(gram)][min(a, 3)]) / mass[gram[:-1]]
        if len(gram) > 1:
            p[gram] += gamma[gram[:-1]] * p[gram[1:]]
        elif interpolate_unigrams:
            p[gram] += gamma[()] / vocabulary
        elif gram == ("<unk>",):
            p[gram] += gamma[()]
    p["<s>",] = 1.0
    return {gram: (_log10(p[gram]), _log10(gamma.get(gram, 1.0))) for gram in kept}


def log10_probability(model: dict[Gram, Entry], line: Sequence[str]) -> list[float]:
    """log10 p of each word of a line and of its end, by back-off through the entries."""
    order = max(map(len, model))
    history: Gram = ("<s>",)
    found = []
    for word in [*line, "</s>"]:
        word = word if (word,) in model else "<unk>"
        context = history[-(order - 1) :] if order > 1 else ()
        backoff = 0.0
        while (*context, word) not in model:
            backoff += model.get(context, (0.0, 0.0))[1]
            context = context[1:]
        found.append(model[*context, word][0] + backoff)
        history = (*history, word)
    return found


def _log10(value: float) -> float:
    return max(math.log10(value), -99.0) if value > 0 else -99.0
