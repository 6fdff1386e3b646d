"""Loops that query a trie: a token found, a state moved, a line scored, a distribution gathered."""

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled, inlined
from lmkit.ngram.kernels.columns import at, span
from lmkit.text.vocabulary import BOS, EOS

LN10 = np.log(10.0)


@inlined
def find(word, low, high, token):
    """Give the place of a token among the ascending words from `low` to `high` (exclusive), or where it would be.

    The words are different, so that word w stands at place w at the latest: a frequent word, which has a small id,
    is found within a few steps however many there are.
    """
    high = min(high, low + np.int64(token) + 1)
    while low < high:
        middle = (low + high) >> 1
        if at(word, middle) < token:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def find_child(word, first, node, token):
    """Give the node of the n-gram `node` extended by `token`, or -1."""
    low, high = span(first, node)
    place = find(word, low, high, token)
    return place if place < high and at(word, place) == token else np.int64(-1)


@compiled
def advance(word, first, nodes, token):
    """Replace the nodes (order - 1,) of the last 1, 2, ... words by those after one more token; -1 is none."""
    longest = len(nodes)
    if token == EOS:
        for k in range(longest):
            nodes[k] = -1
        if longest:
            nodes[0] = BOS
        return
    for k in range(longest - 1, 0, -1):
        nodes[k] = find_child(word, first, nodes[k - 1], token) if nodes[k - 1] >= 0 else -1
    if longest:
        nodes[0] = token


@compiled
def advance_batch(word, first, nodes, tokens):
    """Do `advance` for each row (B, order - 1)."""
    for b in range(len(nodes)):
        advance(word, first, nodes[b], tokens[b])


@compiled
def score_stream(word, log10_prob, log10_backoff, first, nodes, tokens, out):
    """Give the natural log-probability of each token (T,) from the state `nodes` (order - 1,) on, which it moves.

    Contexts are tried from the shortest on, since the n-grams found are the next state. Where one is missing, every
    longer one is: a model that has an n-gram has its suffixes.
    """
    longest = len(nodes)
    for t in range(len(tokens)):
        token = tokens[t]
        found = child = np.int64(token)
        backoff = 0.0
        previous = np.int64(nodes[0]) if longest else np.int64(-1)
        for k in range(longest):
            node = previous
            if node < 0:
                break
            if child >= 0:
                child = find_child(word, first, node, token)
            if k + 1 < longest:
                previous = nodes[k + 1]
                nodes[k + 1] = child
            if child >= 0:
                found = child
            else:
                backoff += at(log10_backoff, node)
        out[t] = (np.float64(at(log10_prob, found)) + backoff) * LN10
        if longest:
            if token == EOS:
                for k in range(longest):
                    nodes[k] = -1
                nodes[0] = BOS
            else:
                nodes[0] = token


@compiled
def orders_used(word, first, nodes, tokens, out):
    """Give the order of the n-gram that is found for each token (T,), from the state `nodes` on, which it moves."""
    for t in range(len(tokens)):
        out[t] = 1
        for k in range(len(nodes)):
            if nodes[k] < 0 or find_child(word, first, nodes[k], tokens[t]) < 0:
                break
            out[t] = k + 2
        advance(word, first, nodes, tokens[t])


@compiled
def distribution(word, log10_prob, log10_backoff, first, nodes, out):
    """Give the natural log-probability of every token (B, V) after each state (B, order - 1)."""
    for b in range(len(nodes)):
        row = out[b]
        for token in range(len(row)):
            row[token] = at(log10_prob, token)
        for k in range(nodes.shape[1]):
            node = nodes[b, k]
            if node < 0:
                break
            backoff = at(log10_backoff, node)
            for token in range(len(row)):
                row[token] += backoff
            low, high = span(first, node)
            for child in range(low, high):
                row[at(word, child)] = at(log10_prob, child)
        for token in range(len(row)):
            row[token] *= LN10
        row[BOS] = -np.inf
