"""Counting: the distinct n-grams of every order, how often each occurs, and how they hang together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmkit.errors import ResourceError
from lmkit.ngram.kernels import counting
from lmkit.ngram.suffix_sort import MAX_TOKENS, sort_positions, with_line_starts


@dataclass(frozen=True)
class Counts:
    """The n-grams of a text as the nodes of a trie, order after order, each order in lexicographic order.

    Attributes:
        order: the longest n-gram.
        level: (order + 1,) int64; order n has the nodes level[n - 1] to level[n]. A unigram's node is its id.
        word: (nodes,) int32, the last word of each n-gram.
        first: (contexts + 1,) int64; n-grams that extend node g are the nodes first[g] to first[g + 1].
        suffix: (nodes,) int32, the n-gram without its first word; meaningless for unigrams.
        count: (nodes,) int32, how often it occurs.
        adjusted: (nodes,) int32, how many different words it follows (Kneser & Ney 1995), or `count` for the
            highest order and for what begins with `<s>`.
    """

    order: int
    level: np.ndarray
    word: np.ndarray
    first: np.ndarray
    suffix: np.ndarray
    count: np.ndarray
    adjusted: np.ndarray


def count_ngrams(ids: np.ndarray, *, order: int, vocab_size: int) -> Counts:
    """Count the n-grams of all orders in a stream of ids (T,) int32, each line ended by `</s>`."""
    stream = with_line_starts(ids)
    positions = sort_positions(stream, order, vocab_size)
    shared, length = np.empty(len(stream), np.uint8), np.empty(len(stream), np.uint8)
    rows = np.zeros(order + 1, np.int64)
    counting.compare_neighbours(stream, positions, order, shared, length, rows)
    rows[1] = vocab_size  # every word is a unigram, met or not
    level = np.cumsum(rows)
    nodes, contexts = int(level[-1]), int(level[-2])
    if contexts > MAX_TOKENS:
        raise ResourceError(f"{contexts} contexts are more than {MAX_TOKENS}; use a lower order or less text")
    word = np.empty(nodes, np.int32)
    word[:vocab_size] = np.arange(vocab_size)
    count, place = np.zeros(nodes, np.int32), np.zeros(nodes, np.int32)
    children = np.zeros(contexts, np.int64)
    node_at = np.empty((max(order - 2, 0), len(stream)), np.int32)
    counting.collect_nodes(
        stream, positions, shared, length, order, level, word, count, place, children, node_at
    )
    del positions, shared, length
    suffix = np.empty(nodes, np.int32)
    counting.link_suffixes(stream, place, order, level, node_at, suffix)
    del node_at
    adjusted = np.empty(nodes, np.int32)
    counting.continuation_counts(stream, place, order, level, suffix, count, adjusted)
    first = np.empty(contexts + 1, np.int64)
    first[0] = vocab_size
    np.cumsum(children, out=first[1:])
    first[1:] += vocab_size
    return Counts(
        order=order, level=level, word=word, first=first, suffix=suffix, count=count, adjusted=adjusted
    )
