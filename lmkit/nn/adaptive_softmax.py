"""The adaptive softmax: frequent words in a short list, rare ones in clusters that it names (Grave et al. 2017)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lmkit.errors import UsageError
from lmkit.nn.head import Head
from lmkit.nn.inversion import inverted, place
from lmkit.nn.rows import Linear, linear
from lmkit.nn.softmax import log_softmax, softmax


class AdaptiveHead(Head):
    """A short list of words, and clusters of rarer and rarer words that the short list names.

        log p(w) = log p(w | short list)                                 for a word of the short list
        log p(w) = log p(cluster | short list) + log p(w | cluster)      for a word of a cluster

    Words are taken in the order of their numbers, which in a learnt vocabulary is that of frequency; in any other order
    it is as exact, and slower. All rows have the full size E, so that the table may be the embedding itself: a
    cluster saves no memory but time, since its words are scored only where one of them comes.

    >>> head = AdaptiveHead(vocab_size=9, input_size=4, cutoffs=(3, 6))
    >>> head.prepare(torch.full((9,), 1 / 9))
    >>> round(head.logprobs(torch.ones(4)).exp().sum().item(), 5)
    1.0
    """

    kind = "adaptive"

    def __init__(
        self, *, vocab_size: int, input_size: int, never: int | None = None, cutoffs: tuple[int, ...] = ()
    ) -> None:
        super().__init__(vocab_size=vocab_size, input_size=input_size, never=never)
        self.cutoffs = tuple(cutoffs) or default_cutoffs(vocab_size)
        self.edges = list(pairwise((0, *self.cutoffs, vocab_size)))  # of the short list, and of each cluster
        if any(low >= high for low, high in self.edges):
            raise UsageError(
                f"cutoffs {self.cutoffs} of {vocab_size} words; they must rise, from 1 to below it"
            )
        self.clusters = Linear(input_size, len(self.cutoffs))  # their scores, in the short list

    def _logprobs_in(self, part: int, features: Tensor) -> Tensor:
        """Give log p of each word of a part: the short list, 0, with the clusters at its end, or a cluster."""
        low, high = self.edges[part]
        scores = linear(features, self.weight[low:high]).to(self.bias.dtype) + self.bias[low:high]
        if self.never is not None and low <= self.never < high:
            scores[..., self.never - low] = -torch.inf
        if part == 0:
            clusters = self.clusters(features).to(scores.dtype)
            for cluster, (first, last) in enumerate(self.edges[1:]):
                if last - first == 1 and first == self.never:  # nothing is in it
                    clusters[..., cluster] = -torch.inf
            scores = torch.cat([scores, clusters], dim=-1)
        elif high - low == 1:
            return (
                scores - scores.detach() if self.never != low else scores
            )  # one word has it all, or there is none
        return log_softmax(scores)

    def logprobs(self, features: Tensor) -> Tensor:
        """Give log p of every word (..., V), in nats, after features (..., E)."""
        size = self.edges[0][1]
        short = self._logprobs_in(0, features)
        clusters = [
            self._logprobs_in(part, features) + short[..., size + part - 1, None]
            for part in range(1, len(self.edges))
        ]
        return torch.cat([short[..., :size], *clusters], dim=-1)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give the surprisal (N,) of targets (N,) after features (N, E), in nats."""
        size = self.edges[0][1]
        part = torch.bucketize(targets, torch.tensor(self.cutoffs, device=targets.device), right=True)
        short = self._logprobs_in(0, features)
        loss = -short.gather(-1, torch.where(part == 0, targets, size + part - 1)[:, None])[:, 0]
        for cluster, (low, _) in enumerate(self.edges[1:], 1):
            rows = (part == cluster).nonzero()[:, 0]
            if len(rows):
                inside = self._logprobs_in(cluster, features[rows])
                loss = loss.index_add(0, rows, -inside.gather(-1, (targets[rows] - low)[:, None])[:, 0])
        return loss

    def draw(self, features: Tensor, points: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Draw a word (B,) after each row of features (B, E): of the short list, or of a cluster drawn there."""
        if temperature != 1:  # a cluster is then as likely as its words are, all of which must be known
            with torch.no_grad():
                shares = softmax(self.logprobs(features).double(), temperature=temperature)
            return inverted(shares.numpy(), points)
        size = self.edges[0][1]
        with torch.no_grad():
            short = self._logprobs_in(0, features).numpy()
        words, rest = _inverted(short, points)
        for cluster, (low, _) in enumerate(self.edges[1:], 1):
            rows = np.flatnonzero(words == size + cluster - 1)
            if len(rows):
                with torch.no_grad():
                    inside = self._logprobs_in(cluster, features[torch.as_tensor(rows)]).numpy()
                words[rows] = -1 - low - _inverted(inside, rest[rows])[0]
        return np.where(words < 0, -1 - words, words)

    def prepare(self, unigram: Tensor) -> None:
        """Set the biases to the log unigram distribution (V,), and those of the clusters to the log of their sums."""
        sums = torch.stack([unigram[low:high].sum() for low, high in self.edges[1:]])
        with torch.no_grad():
            self.bias.copy_(unigram.clamp_min(1e-7).log())
            self.clusters.bias.copy_(sums.clamp_min(1e-7).log())
            self.clusters.weight.zero_()


def _inverted(logprobs: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the words (B,) at some points (B,) of the distributions (B, V), and how far into each word they fall."""
    cumulative = np.cumsum(np.exp(logprobs), axis=1, dtype=np.float64)
    goals = points * cumulative[:, -1]
    words = np.array([place(row, goal) for row, goal in zip(cumulative, goals, strict=True)])
    rows = np.arange(len(words))
    before = np.where(words > 0, cumulative[rows, words - 1], 0.0)
    inside = (goals - before) / (cumulative[rows, words] - before)
    return words, np.clip(inside, 0.0, np.nextafter(1.0, 0.0))


def default_cutoffs(vocab_size: int) -> tuple[int, ...]:
    """Cut a vocabulary in three: a twelfth of the words and two thirds of them hold most of the tokens of a text.

    >>> default_cutoffs(33278)
    (2773, 22185)
    """
    return tuple(sorted({max(1, vocab_size // 12), max(2, 2 * vocab_size // 3)} & set(range(1, vocab_size))))
