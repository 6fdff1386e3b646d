"""Scoring a long text order by order instead of token by token.

Which n-gram ends at a token depends on the (n - 1)-gram that ends at the token before it, and on nothing else of its
order. So within one order all tokens of a piece are independent: their look-ups overlap, and the memory is asked for
entries long before they are used. Token by token, each look-up waits for the one before.

Plain twin: `lookup.score_stream`, with which it agrees bit for bit.
"""

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled
from lmkit.ngram.kernels.columns import at, fetch, span
from lmkit.text.vocabulary import BOS, EOS

LN10 = np.log(10.0)
PIECE = 4096  # tokens at a time: what is known of them stays in the cache of a core
AHEAD = 32  # how many entries ahead memory is asked for
NEAR = 8  # entries so near each other that asking ahead gains nothing


@compiled
def score_bulk(word, log10_prob, log10_backoff, first, nodes, tokens, out):
    """Give the natural log-probability of each token (T,) from the state `nodes` (order - 1,) on, which it moves."""
    # Of each token: the longest n-gram found that ends in it, how many children of the next context its word can
    # be among, and log10 of the backoffs so far.
    longest = np.zeros(PIECE + AHEAD, np.int64)
    limit = np.empty(PIECE, np.int64)
    backoff = np.empty(PIECE, np.float64)
    # The tokens that have a context of the present order: where they stand, and the context's node.
    place, next_place = np.empty(PIECE + 1, np.int64), np.empty(PIECE + 1, np.int64)
    context, next_context = np.zeros(PIECE + AHEAD, np.int64), np.zeros(PIECE + AHEAD, np.int64)
    # Those to be looked for among its children, and the same by how many children there are.
    begin, size = np.empty(PIECE + 1, np.int64), np.empty(PIECE + 1, np.int64)
    origin, token, child = np.empty(PIECE, np.int64), np.empty(PIECE, np.int64), np.empty(PIECE, np.int64)
    bounds = np.empty(34, np.int64)  # there are fewer than 2^32 nodes
    # Those that back off.
    lone_place, lone_context = np.empty(PIECE + 1, np.int64), np.empty(PIECE + 1, np.int64)
    for offset in range(0, len(tokens), PIECE):
        piece = tokens[offset : offset + PIECE]
        for t in range(len(piece)):
            longest[t] = piece[t]
            limit[t] = np.int64(piece[t]) + 1
            backoff[t] = 0.0
        count = contexts_of_one(piece, nodes, place, context)
        for n in range(1, len(nodes) + 1):
            count, lone = find_children(
                first, limit, place, context, count, begin, size, lone_place, lone_context
            )
            sort_by_size(word, piece, place, begin, size, count, origin, token, child, bounds)
            search(word, size, origin, token, child, bounds)
            following = 0
            if n < len(nodes):
                if nodes[n] >= 0:
                    next_place[0], next_context[0], following = 0, nodes[n], 1
                nodes[n] = -1
            for i in range(count):
                source = np.uint64(origin[i])
                t, node = place[source], child[i]  # the last child not above the token
                found = at(word, node) == token[i]
                lone_place[np.uint64(lone)] = t
                lone_context[np.uint64(lone)] = context[source]
                lone += not found
                limit[np.uint64(t)] = node - begin[source] + 1
                before = longest[np.uint64(t)]
                longest[np.uint64(t)] = node if found else before
                next_place[np.uint64(following)] = t + 1
                next_context[np.uint64(following)] = node
                goes_on = found & (token[i] != EOS)
                following += goes_on & (t + 1 < len(piece))
                if t + 1 == len(piece) and goes_on and n < len(nodes):
                    nodes[n] = node
            for i in range(lone):
                backoff[np.uint64(lone_place[i])] += at(log10_backoff, lone_context[i])
                limit[np.uint64(lone_place[i])] = 0  # no longer context has what a shorter one lacks
            place, next_place = next_place, place
            context, next_context = next_context, context
            count = following
        for t in range(len(piece)):
            fetch(log10_prob, longest[t + AHEAD])
            out[offset + t] = (np.float64(at(log10_prob, longest[t])) + backoff[t]) * LN10


@compiled
def contexts_of_one(piece, nodes, place, context):
    """List the contexts of one token, and move the state to the last; give their number."""
    if not len(nodes):
        return 0
    place[0], context[0] = 0, nodes[0]
    for t in range(1, len(piece)):
        place[t] = t
        context[t] = BOS if piece[t - 1] == EOS else piece[t - 1]
    nodes[0] = BOS if piece[-1] == EOS else piece[-1]
    return len(piece)


@compiled
def find_children(first, limit, place, context, count, begin, size, lone_place, lone_context):
    """Keep the contexts that can have the token as a child, with the range where it can be; list the others.

    Words ascend among children, so word w stands at place w at the latest. And the children of a context are
    children of its suffix too: the word stands no later among them than it stood there.
    """
    known = kept = lone = 0
    for i in range(count):  # where a shorter context lacks the word, nothing is read
        t, node = place[i], context[i]
        place[np.uint64(known)], context[np.uint64(known)] = t, node
        lone_place[np.uint64(lone)], lone_context[np.uint64(lone)] = t, node
        known += limit[np.uint64(t)] > 0
        lone += limit[np.uint64(t)] <= 0
    for i in range(known):
        fetch(first, context[i + AHEAD])
        t, node = place[i], context[i]
        low, high = span(first, node)
        room = min(high - low, limit[np.uint64(t)])
        place[np.uint64(kept)], context[np.uint64(kept)] = t, node
        begin[np.uint64(kept)], size[np.uint64(kept)] = low, room
        lone_place[np.uint64(lone)], lone_context[np.uint64(lone)] = t, node
        kept += room > 0
        lone += room <= 0
    return kept, lone


@compiled
def steps(size):
    """Give how many steps a binary search among `size` entries takes: the bits of size - 1."""
    return max((np.float64(size - 1).view(np.int64) >> 52) - 1022, 0)  # by the exponent of a float64


@compiled
def sort_by_size(word, piece, place, begin, size, count, origin, token, child, bounds):
    """Order the searches by how many steps they take: those that take k end at bounds[k]."""
    bounds[:] = 0
    for i in range(count):
        bounds[np.uint64(steps(size[i]) + 1)] += 1
    for k in range(1, len(bounds)):
        bounds[k] += bounds[k - 1]
    for i in range(count):
        needed = np.uint64(steps(size[i]))
        to = np.uint64(bounds[needed])
        bounds[needed] += 1
        origin[to], token[to], child[to] = i, piece[np.uint64(place[i])], begin[i]
        fetch(word, begin[i] + size[i] - ((1 << needed) >> 1))  # the first entry that the search compares


@compiled
def search(word, size, origin, token, child, bounds):
    """Move each `child` to the last one whose word is not above the token.

    The first step leaves a power of two of them, so that all searches of a class take the same steps, without a
    branch that the processor would have to guess.
    """
    begin = bounds[0]
    for k in range(1, len(bounds)):
        end = bounds[k]
        half = np.int64(1) << (k - 1)
        for i in range(begin, end):
            low = child[i]
            middle = low + size[np.uint64(origin[i])] - half
            low = middle if at(word, middle) <= token[i] else low
            child[i] = low
            fetch(word, low + (half >> 1))
        half >>= 1
        while half and begin < end:
            for i in range(begin, end):
                low = child[i]
                middle = low + half
                low = middle if at(word, middle) <= token[i] else low
                child[i] = low
                if half > NEAR:
                    fetch(word, low + (half >> 1))
            half >>= 1
        begin = end
