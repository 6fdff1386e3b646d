"""Backward messages: how likely a given text is to follow so many tokens that are not known yet.

Contexts are the states of a hidden chain, and what is to follow is an observation. Its probability after a context h,
with t free tokens in between, is found from the last token back, as in the forward-backward algorithm (Baum et al.
1970):

    m_0(h) = p(text | h)        m_t(h) = sum over w of p(w | h) m_{t-1}(hw)

A sum over all words for each context is not needed, since most words follow it as they follow its suffix h':

    m_t(h) = sum over children hw of p(w|h) m(hw)  +  b(h) (m_t(h') - sum over children hw of p(w|h') m(h'w))

so that a message costs one pass over the n-grams, whatever the vocabulary.
"""

from __future__ import annotations

import numpy as np

from lmkit.ngram.trie import Trie
from lmkit.text.vocabulary import BOS, EOS


class Messages:
    """The messages of one text to all contexts of a trie of order 2 or more.

    Attributes:
        text: (C,) float64, m_0, the probability of the text after each context, in units that all messages share.
    """

    def __init__(self, trie: Trie, text: np.ndarray, banned: np.ndarray) -> None:
        """Find m_0 of a text (T,) of tokens; words of the mask `banned` (V,) have no place in the gap."""
        self.level = trie.level
        self.contexts = int(trie.level[-2])
        self.word = trie.word.astype(np.int64)
        self.p = 10.0 ** trie.log10_prob.astype(np.float64)  # (N,)
        self.p[BOS] = 0.0
        self.backoff = 10.0 ** trie.log10_backoff.astype(np.float64)  # (C,)
        first = trie.first.astype(np.int64)
        self.parent = np.repeat(np.arange(self.contexts), np.diff(first))  # of the nodes from the bigrams on
        self.parent = np.concatenate([np.full(int(first[0]), -1), self.parent])  # (N,)
        self.suffix = self._suffixes()  # (N,)
        nodes = np.arange(len(self.word))
        self.state = np.where(nodes < self.contexts, nodes, self.suffix)  # the context after each n-gram
        self.free = ~banned[self.word]
        self.free[self.word == EOS] = False  # a gap lies within a line
        self.text = self._of_text(text)

    def before(self, message: np.ndarray) -> np.ndarray:
        """Give m_t (C,) of m_{t-1} (C,): one more free token."""
        term = np.where(self.free, self.p * message[self.state], 0.0)  # (N,)
        begin = int(self.level[1])
        gained = term[begin:] - self.backoff[self.parent[begin:]] * term[self.suffix[begin:]]
        more = np.bincount(self.parent[begin:], weights=gained, minlength=self.contexts)
        found = np.empty(self.contexts)
        for n in range(1, len(self.level) - 1):
            part = slice(int(self.level[n - 1]), int(self.level[n]))
            shorter = term[:begin].sum() if n == 1 else found[self.suffix[part]]
            found[part] = np.maximum(
                more[part] + self.backoff[part] * shorter, 0.0
            )  # rounding is not below 0
        return found

    def _of_text(self, text: np.ndarray) -> np.ndarray:
        message = np.ones(self.contexts)
        for token in text[::-1].tolist():
            after = self.p * (message[BOS] if token == EOS else message[self.state])  # (N,)
            found = np.empty(self.contexts)
            for n in range(1, len(self.level) - 1):
                part = slice(int(self.level[n - 1]), int(self.level[n]))
                shorter = after[token] if n == 1 else found[self.suffix[part]]
                found[part] = self.backoff[part] * shorter
                low, high = int(self.level[n]), int(self.level[n + 1])
                here = low + np.flatnonzero(self.word[low:high] == token)
                found[self.parent[here]] = after[here]
            message = found / max(found.max(), 1e-300)
        return message

    def _suffixes(self) -> np.ndarray:
        """Give the node of each n-gram (N,) without its first word; -1 for a unigram."""
        found = np.full(len(self.word), -1)
        size = int(self.level[1])
        for n in range(2, len(self.level)):
            part = slice(int(self.level[n - 1]), int(self.level[n]))
            if n == 2:
                found[part] = self.word[part]
                continue
            low, high = int(self.level[n - 2]), int(self.level[n - 1])
            keys = self.parent[low:high] * size + self.word[low:high]  # ascending
            wanted = found[self.parent[part]] * size + self.word[part]
            found[part] = low + np.searchsorted(keys, wanted)
        return found
