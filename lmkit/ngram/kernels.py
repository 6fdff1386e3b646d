"""The compiled loops of the n-gram engine. Each is the plain definition; the tests hold a dictionary version of all.

Conventions: a *stream* (S,) int32 holds `<s>` words `</s>` of every line; nodes of the trie are numbered through,
order after order, each order in lexicographic order, so that the children of node g are the nodes first[g] to
first[g + 1] (exclusive).
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit

UNK = 0
BOS = 1
EOS = 2
LN10 = np.log(10.0)


@njit(nogil=True, cache=True)
def add_line_starts(ids, stream):
    """Put `<s>` before every line of `ids`; give the length written."""
    at_start = True
    n = 0
    for token in ids:
        if at_start:
            stream[n] = BOS
            n += 1
        stream[n] = token
        n += 1
        at_start = token == EOS
    return n


@njit(nogil=True, cache=True)
def pack_keys(stream, positions, shift, words, word_bits, rank_bits, keys):
    """Make sort keys: tokens shift to shift + words (exclusive) after each position, then the rank so far.

    What lies beyond `</s>` is 0, a token is its id plus 1.
    """
    for i in range(len(positions)):
        p = positions[i]
        key = np.uint64(0)
        ended = False
        for j in range(shift + words):
            value = np.uint64(0)
            if not ended:
                token = stream[p + j]
                value = np.uint64(token + 1)
                ended = token == EOS
            if j >= shift:
                key = (key << np.uint64(word_bits)) | value
        keys[i] = (key << np.uint64(rank_bits)) | np.uint64(i)


@njit(nogil=True, cache=True)
def unpack_ranks(keys, rank_bits, positions, out):
    """Give the positions in the order of the sorted keys."""
    mask = (np.uint64(1) << np.uint64(rank_bits)) - np.uint64(1)
    for i in range(len(keys)):
        out[i] = positions[np.int64(keys[i] & mask)]


@njit(nogil=True, cache=True)
def compare_neighbours(stream, positions, order, shared, length, rows):
    """Compare each sorted suffix with the one before it.

    Args:
        stream: (S,) tokens.
        positions: (S,) positions sorted by their next `order` tokens.
        order: the longest n-gram.
        shared: (S,) uint8, receives how many leading tokens it has in common with the one before.
        length: (S,) uint8, receives how many tokens it has, to the line end and at most `order`.
        rows: (order + 1,) int64, receives how many distinct n-grams there are of each order.
    """
    for i in range(len(positions)):
        p = positions[i]
        q = positions[i - 1] if i else p
        same = 0
        matching = i > 0
        n = 0
        while n < order:
            token = stream[p + n]
            if matching:
                matching = token == stream[q + n]
                if matching:
                    same += 1
                    matching = token != EOS
            n += 1
            if token == EOS:
                break
        shared[i] = same
        length[i] = n
        for k in range(same + 1, n + 1):
            rows[k] += 1


@njit(nogil=True, cache=True)
def collect_nodes(stream, positions, shared, length, order, level, word, count, place, children, node_at):
    """Number the distinct n-grams of every order in one scan of the sorted suffixes.

    Args:
        stream, positions, shared, length, order: as in `compare_neighbours`.
        level: (order + 1,) int64, the first node of each order (level[n - 1] for order n).
        word: (nodes,) int32, receives the last word of each n-gram.
        count: (nodes,) int32, receives how often it occurs.
        place: (nodes,) int32, receives one position where it occurs.
        children: (nodes of orders below the last,) int64, receives how many n-grams it is the context of.
        node_at: (order - 2, S) int32, receives at [n - 2, p] the node of the n-gram of order n at p, 1 < n < order.
    """
    current = np.zeros(order + 1, np.int64)
    following = level.copy()
    for i in range(len(positions)):
        p = positions[i]
        current[1] = stream[p]
        count[current[1]] += 1
        place[current[1]] = p
        for n in range(2, length[i] + 1):
            if n > shared[i]:
                node = following[n - 1]
                following[n - 1] += 1
                current[n] = node
                word[node] = stream[p + n - 1]
                place[node] = p
                children[current[n - 1]] += 1
            count[current[n]] += 1
            if n < order:
                node_at[n - 2, p] = current[n]


@njit(nogil=True, cache=True)
def link_suffixes(stream, place, order, level, node_at, suffix):
    """Give each n-gram of two words and more the node of the n-gram without its first word."""
    for n in range(2, order + 1):
        for node in range(level[n - 1], level[n]):
            p = place[node] + 1
            suffix[node] = stream[p] if n == 2 else node_at[n - 3, p]


@njit(nogil=True, cache=True)
def continuation_counts(stream, place, order, level, suffix, count, adjusted):
    """Give the adjusted counts: how many different words an n-gram follows, or how often it occurs.

    The latter for the highest order and for what begins with `<s>`, which nothing can precede.
    """
    for node in range(level[order - 1]):
        adjusted[node] = 0
    for node in range(level[order - 1], level[order]):
        adjusted[node] = count[node]
    for node in range(level[1], level[order]):
        adjusted[suffix[node]] += 1
    for node in range(level[order - 1]):
        if count[node] and stream[place[node]] == BOS:
            adjusted[node] = count[node]
    adjusted[BOS] = 0


@njit(nogil=True, cache=True)
def drop_orphans(begin, end, first, kept):
    """Unmark the n-grams whose context is not kept."""
    for context in range(begin, end):
        if not kept[context]:
            for node in range(first[context], first[context + 1]):
                kept[node] = False


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def interpolate(begin, end, first, adjusted, discount, total, gamma, suffix, probability):
    """Give p(w|h) = (a(hw) - D) / den(h) + gamma(h) p(w|h') for every n-gram that extends a context."""
    for context in range(begin, end):
        for node in range(first[context], first[context + 1]):
            a = adjusted[node]
            probability[node] = (a - discount[min(a, 3)]) / total[context] + gamma[context] * probability[
                suffix[node]
            ]


@njit(nogil=True, cache=True)
def find_child(word, first, node, token):
    """Give the node of the n-gram `node` extended by `token`, or -1: a binary search among the children."""
    low = np.int64(first[node])
    end = np.int64(first[node + 1])
    high = end
    while low < high:
        middle = (low + high) >> 1
        if word[middle] < token:
            low = middle + 1
        else:
            high = middle
    return low if low < end and word[low] == token else np.int64(-1)


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def advance_batch(word, first, nodes, tokens):
    """Do `advance` for each row (B, order - 1)."""
    for b in range(len(nodes)):
        advance(word, first, nodes[b], tokens[b])


@njit(nogil=True, cache=True)
def score_stream(word, log10_prob, log10_backoff, first, nodes, tokens, out):
    """Give the natural log-probability of each token (T,) from the state `nodes` (order - 1,) on, which it moves."""
    longest = len(nodes)
    for t in range(len(tokens)):
        token = tokens[t]
        value = np.float64(log10_prob[token])
        # Every shorter context is looked up as well: those n-grams are the next state.
        backoff = 0.0
        previous = np.int64(nodes[0]) if longest else np.int64(-1)
        for k in range(longest):
            node = previous
            if node < 0:
                break
            child = find_child(word, first, node, token)
            if k + 1 < longest:
                previous = nodes[k + 1]
                nodes[k + 1] = child
            if child >= 0:
                value = np.float64(log10_prob[child])
                backoff = 0.0
            else:
                backoff += log10_backoff[node]
        out[t] = (value + backoff) * LN10
        if longest:
            if token == EOS:
                for k in range(longest):
                    nodes[k] = -1
                nodes[0] = BOS
            else:
                nodes[0] = token


@njit(nogil=True, cache=True)
def distribution(word, log10_prob, log10_backoff, first, nodes, vocab_size, out):
    """Give the natural log-probability of every token (B, V) after each state (B, order - 1)."""
    for b in range(len(nodes)):
        row = out[b]
        for token in range(vocab_size):
            row[token] = log10_prob[token]
        for k in range(nodes.shape[1]):
            node = nodes[b, k]
            if node < 0:
                break
            backoff = log10_backoff[node]
            for token in range(vocab_size):
                row[token] += backoff
            for child in range(first[node], first[node + 1]):
                row[word[child]] = log10_prob[child]
        for token in range(vocab_size):
            row[token] *= LN10
        row[BOS] = -np.inf


@njit(nogil=True, cache=True)
def write_decimal(value, out, n):
    """Write a float32 in the fewest decimal places that read back as the same number; give the new length."""
    magnitude = np.abs(np.float64(value))
    scale = 1.0
    digits = 0
    scaled = np.int64(0)
    while digits < 13:
        scaled = np.int64(magnitude * scale + 0.5)
        if np.float32(np.float64(scaled) / scale) == np.float32(magnitude):
            break
        scale *= 10.0
        digits += 1
    if value < 0 and scaled > 0:
        out[n] = 45  # -
        n += 1
    whole = scaled // np.int64(scale)
    part = scaled - whole * np.int64(scale)
    n = write_integer(whole, 1, out, n)
    if digits:
        out[n] = 46  # .
        n = write_integer(part, digits, out, n + 1)
    return n


@njit(nogil=True, cache=True)
def write_integer(value, width, out, n):
    """Write a whole number in at least `width` digits; give the new length."""
    digits = 1
    rest = value // 10
    while rest:
        digits += 1
        rest //= 10
    digits = max(digits, width)
    for k in range(digits - 1, -1, -1):
        out[n + k] = 48 + value % 10
        value //= 10
    return n + digits


@njit(nogil=True, cache=True)
def write_arpa_lines(begin, end, order, cursor, first, word, log10_prob, log10_backoff, names, offsets, out):
    """Write the nodes begin to end (exclusive) of one order as ARPA lines; give their bytes.

    Args:
        begin, end, order: which nodes.
        cursor: (order,) int64, the node of each shorter context reached so far; kept between calls.
        first, word, log10_prob, log10_backoff: the trie.
        names, offsets: the words: word i is names[offsets[i] : offsets[i + 1] - 1].
        out: (bytes,) uint8, large enough.
    """
    n = 0
    for node in range(begin, end):
        cursor[order - 1] = node
        for k in range(order - 2, -1, -1):
            while first[cursor[k] + 1] <= cursor[k + 1]:
                cursor[k] += 1
        n = write_decimal(log10_prob[node], out, n)
        for k in range(order):
            out[n] = 32 if k else 9
            n += 1
            w = word[cursor[k]]
            for i in range(offsets[w], offsets[w + 1] - 1):
                out[n] = names[i]
                n += 1
        if node < len(log10_backoff):
            out[n] = 9
            n = write_decimal(log10_backoff[node], out, n + 1)
        out[n] = 10
        n += 1
    return n
