"""A trie that grows order after order from n-grams in any order, and is given the n-grams that it lacks.

Look-ups rely on two things: a model that has an n-gram has its context (the n-gram without its last word) and its
suffix (without its first). Models that were pruned elsewhere need not: SRILM removes n-grams whose suffixes others
have. Such an n-gram is supplied with the probability that backing off gives and a backoff of 1, so that no probability
changes:

    p(w|h) = backoff(h) p(w|h')        h' is h without its first word
"""

from __future__ import annotations

import numpy as np

from lmkit.errors import ResourceError
from lmkit.ngram.kernels import counting
from lmkit.ngram.kernels.finding import find_ngrams
from lmkit.ngram.suffix_sort import MAX_TOKENS
from lmkit.ngram.trie import Trie
from lmkit.threads import chunks, in_threads


class GrowingTrie:
    """N-grams up to some order, with their probabilities and backoffs.

    Nodes are numbered as in `Trie`: order after order, and a unigram by its id.

    >>> import numpy as np
    >>> trie = GrowingTrie(np.float32([-1, -99, -0.5, -0.4]), np.float32([0, -0.3, 0, -0.2]))
    >>> trie.add(np.array([3, 1]), np.int32([2, 3]), np.float32([-0.1, -0.6]), np.zeros(2, np.float32))
    -1
    >>> trie.find(np.int32([[1, 3], [1, 2]])).tolist()  # <s> and the word 3, and what there is not
    [4, -1]
    """

    def __init__(self, log10_prob: np.ndarray, log10_backoff: np.ndarray) -> None:
        """Begin with the unigrams (V,) float32."""
        size = len(log10_prob)
        self.level = np.array([0, size], np.int64)
        self.word = np.arange(size, dtype=np.int32)
        self.log10_prob = log10_prob
        self.log10_backoff = log10_backoff
        self.first = np.array([size], np.uint32)  # of the nodes below the highest order, and one more
        self.suffix = np.zeros(size, np.int32)
        self.supplied = 0  # n-grams that were not given

    @property
    def order(self) -> int:
        """The longest n-gram so far."""
        return len(self.level) - 1

    def find(self, rows: np.ndarray, begin: int = 0, end: int | None = None) -> np.ndarray:
        """Give the node (R,) int64 of each n-gram rows[:, begin:end], or -1."""
        nodes, rows = np.empty(len(rows), np.int64), np.ascontiguousarray(rows)
        find_ngrams(rows, begin, rows.shape[1] if end is None else end, self.word, self.first, nodes)
        return nodes

    def add(
        self, context: np.ndarray, word: np.ndarray, log10_prob: np.ndarray, log10_backoff: np.ndarray
    ) -> int:
        """Add the n-grams of the next order, and whatever suffix of theirs is missing.

        Args:
            context: (m,) int64, the nodes of their contexts, all of the highest order so far.
            word: (m,) int32, their last words.
            log10_prob, log10_backoff: (m,) float32.

        Returns:
            The place of one that stands twice, or -1; then nothing was added.

        Raises:
            ResourceError: there are more n-grams than can be numbered.
        """
        _check_size(int(self.level[-1]) + len(word), contexts=int(self.level[-1]))
        key = (context << 32) | word
        if not (key[1:] > key[:-1]).all():
            place = np.argsort(key)
            key = key[place]
            twice = np.flatnonzero(key[1:] == key[:-1])
            if len(twice):
                return int(max(place[twice[0]], place[twice[0] + 1]))
            log10_prob, log10_backoff = log10_prob[place], log10_backoff[place]
        low, high = self.level[-2:]
        children = np.bincount((key >> 32) - low, minlength=int(high - low))
        self.first = np.concatenate([self.first, (high + np.cumsum(children)).astype(np.uint32)])
        self.word = np.concatenate([self.word, (key & 0xFFFFFFFF).astype(np.int32)])
        self.log10_prob = np.concatenate([self.log10_prob, log10_prob])
        self.log10_backoff = np.concatenate([self.log10_backoff, log10_backoff])
        self.level = np.append(self.level, high + len(key))
        self.suffix = np.concatenate([self.suffix, np.empty(len(key), np.int32)])
        self._link(self.order)
        missing = np.flatnonzero(self.suffix[high:] < 0) + high
        if len(missing):
            self.supply(self.words_of(missing)[:, 1:])
        return -1

    def supply(self, rows: np.ndarray) -> np.ndarray:
        """Add those of some n-grams (R, n) that are missing, with all that they need.

        Returns:
            What became of each node that there was: its number now.
        """
        pending = []
        while rows.shape[1] > 1 and len(rows := rows[self.find(rows) < 0]):
            rows = np.unique(rows, axis=0)
            pending.append(rows)
            rows = np.concatenate([rows[:, :-1], rows[:, 1:]])
        moved = np.arange(self.level[-1])
        for some in reversed(pending):  # an n-gram needs its context and its suffix
            moved += np.searchsorted(self._insert(some), moved, side="right")
        for n in range(2, self.order + 1):
            self._link(n)
        return moved

    def words_of(self, nodes: np.ndarray) -> np.ndarray:
        """Give the words (R, n) int32 of some n-grams (R,) of one order."""
        columns = []
        while True:
            columns.append(self.word[nodes])
            if not len(nodes) or nodes[0] < self.level[1]:
                return np.stack(columns[::-1], axis=1)
            nodes = np.searchsorted(self.first, nodes, side="right") - 1

    def finished(self) -> Trie:
        """Give the trie; this one is no longer to be used."""
        return Trie(
            level=self.level,
            word=self.word,
            log10_prob=self.log10_prob,
            log10_backoff=self.log10_backoff[: self.level[-2]].copy(),
            first=self.first,
        ).trim()

    def _insert(self, rows: np.ndarray) -> np.ndarray:
        """Add n-grams (R, n), in order, which need nothing else; give the nodes before which they are put."""
        n = rows.shape[1]
        _check_size(int(self.level[-1]) + len(rows), contexts=int(self.level[-2]) + len(rows))
        context, lower = self.find(rows, 0, n - 1), self.find(rows, 1)
        first = self.first.astype(np.int64)
        children = first[1:] - first[:-1]
        low, high = int(self.level[n - 2]), int(self.level[n - 1])
        of = np.repeat(np.arange(low, high), children[low:high])  # the context of each n-gram of this order
        there = (of << 32) | self.word[high : self.level[n]]
        new = (context << 32) | rows[:, -1]
        place = np.argsort(new)
        before = high + np.searchsorted(there, new[place])
        log10_prob = (self.log10_backoff[context].astype(np.float64) + self.log10_prob[lower])[place]
        self.word = np.insert(self.word, before, rows[place, -1])
        self.log10_prob = np.insert(self.log10_prob, before, log10_prob.astype(np.float32))
        self.log10_backoff = np.insert(self.log10_backoff, before, np.float32(0))
        self.suffix = np.insert(self.suffix, before, np.int32(-1))
        np.add.at(children, context, 1)
        if n < self.order:
            children = np.insert(children, before, 0)
        begin = self.level[1]
        self.first = np.concatenate([[begin], begin + np.cumsum(children)]).astype(np.uint32)
        self.level[n:] += len(rows)
        self.supplied += len(rows)
        return before

    def _link(self, n: int) -> None:
        """Find the suffixes of the n-grams of one order; those below have theirs."""
        low, high = int(self.level[n - 2]), int(self.level[n - 1])
        if n == 2:
            self.suffix[high : self.level[2]] = self.word[high : self.level[2]]
            return
        ends = 0, MAX_TOKENS  # all of the order below

        def link(contexts: tuple[int, int]) -> None:
            counting.link_suffixes(*contexts, *ends, self.word, self.first, self.suffix)

        in_threads(link, chunks(low, high))


def _check_size(nodes: int, *, contexts: int) -> None:
    if contexts > MAX_TOKENS or nodes >= 1 << 32:
        raise ResourceError(f"{nodes:,} n-grams are more than can be numbered; prune the model first")
