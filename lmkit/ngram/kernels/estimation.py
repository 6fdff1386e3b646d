"""Loops over contexts and what extends them: sums, backoffs, probabilities."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from lmkit.compiled import compiled


@compiled
def drop_orphans(begin, end, first, kept):
    """Unmark the n-grams whose context is not kept."""
    for context in range(begin, end):
        if not kept[context]:
            for node in range(first[context], first[context + 1]):
                kept[node] = False


@compiled
def discount_contexts(begin, end, first, adjusted, kept, discount, total, gamma):
    """Sum over what follows each context: den(h) and the mass gamma(h) that is set free for shorter contexts.

    gamma(h) = [sum of D over kept n-grams + sum of counts over removed ones] / den(h)
    """
    for context in range(begin, end):
        mass = 0.0
        freed = 0.0
        for node in range(first[context], first[context + 1]):
            a = adjusted[node]
            mass += a
            freed += discount[min(a, 3)] if kept[node] else a
        total[context] = mass
        gamma[context] = freed / mass if mass > 0 else 1.0


@compiled
def interpolate(begin, end, first, adjusted, discount, total, gamma, suffix, probability):
    """Give p(w|h) = (a(hw) - D) / den(h) + gamma(h) p(w|h') for every n-gram that extends a context."""
    for context in range(begin, end):
        for node in range(first[context], first[context + 1]):
            a = adjusted[node]
            probability[node] = (a - discount[min(a, 3)]) / total[context] + gamma[context] * probability[
                suffix[node]
            ]
