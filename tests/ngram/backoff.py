"""Back-off models as dictionaries, read from ARPA files and written to them: what imported models are compared with."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

Gram = tuple[str, ...]
Entries = dict[Gram, tuple[float, float]]  # log10 of the probability, log10 of the backoff


def parse(text: str) -> Entries:
    """Read the lines of an ARPA file that lmkit wrote."""
    rows = (line.split("\t") for line in text.split("\n") if "\t" in line)
    return {tuple(r[1].split(" ")): (float(r[0]), float(r[2]) if len(r) > 2 else 0.0) for r in rows}


def write(entries: Mapping[Gram, tuple[float, float]], *, gap: str = "\t", end: str = "\n") -> str:
    """Write an ARPA file, entries as they come, without backoffs of 0."""
    order = max(map(len, entries))
    text = ["\\data\\", *(f"ngram {n}={sum(len(g) == n for g in entries)}" for n in range(1, order + 1)), ""]
    for n in range(1, order + 1):
        text.append(f"\\{n}-grams:")
        for gram, (prob, backoff) in entries.items():
            if len(gram) == n:
                text.append(
                    gap.join(
                        [repr(prob), " ".join(gram), *([repr(backoff)] if backoff and n < order else [])]
                    )
                )
        text.append("")
    return end.join([*text, "\\end\\", ""])


def log10_prob(entries: Mapping[Gram, tuple[float, float]], context: Gram, word: str) -> float:
    """Give log10 p(word | context), by the definition."""
    if (*context, word) in entries:
        return entries[(*context, word)][0]
    if not context:
        return entries[("<unk>",)][0]
    return entries.get(context, (0.0, 0.0))[1] + log10_prob(entries, context[1:], word)


def score(entries: Mapping[Gram, tuple[float, float]], line: Sequence[str], order: int) -> list[float]:
    """Give the natural logarithm of the probability of each word of a line, and of its end."""
    known = [word if (word,) in entries else "<unk>" for word in line]
    words = ["<s>", *known, "</s>"]
    return [
        log10_prob(entries, tuple(words[max(0, t - order + 1) : t]), words[t]) * math.log(10)
        for t in range(1, len(words))
    ]


def without(entries: Entries, removed: Collection[Gram]) -> Entries:
    """Remove n-grams, and give the backoffs with which all sums to one again, the shortest contexts first."""
    kept = {gram: numbers for gram, numbers in entries.items() if gram not in removed}
    for context in sorted(kept, key=len):
        seen = [gram for gram in kept if gram[:-1] == context]
        if context and seen:
            rest = 1 - sum(10 ** kept[gram][0] for gram in seen)
            lower = 1 - sum(10 ** log10_prob(kept, context[1:], gram[-1]) for gram in seen)
            kept[context] = (kept[context][0], math.log10(rest / lower))
        elif context:
            kept[context] = (kept[context][0], 0.0)
    return kept
