"""Heads: from features to a distribution over the vocabulary, always exact and normalised.

    full        log p = log softmax(W h + b): one row of W for each word
    adaptive    frequent words in a short list, rare ones in clusters that the short list names (Grave et al. 2017)

Training asks a head for the gradient of its loss some rows at a time, so that the (N, V) scores of a whole window never
exist together; `lmkit.nn.sampled_softmax` trains a full head without computing most of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmkit.errors import UsageError, did_you_mean
from lmkit.nn.inversion import inverted, place, tempered
from lmkit.nn.rows import Linear, linear
from lmkit.nn.softmax import log_softmax

if TYPE_CHECKING:
    from lmkit.nn.screening import Screen

# enough rows for each reading of the table to be worth it
_SCORES_AT_ONCE = {"cpu": 1 << 23, "cuda": 1 << 27}
_ROWS, _WORDS = 512, 512  # whose scores are in the cache while they are summed


class Head(nn.Module):
    """A distribution over `vocab_size` words, from features of `input_size`. The word `never` has probability 0."""

    kind: str

    def __init__(self, *, vocab_size: int, input_size: int, never: int | None = None) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.never = never
        self.weight = nn.Parameter(torch.zeros(vocab_size, input_size))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def logprobs(self, features: Tensor) -> Tensor:
        """Give log p of every word (..., V), in nats, after features (..., E)."""
        raise NotImplementedError

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give the surprisal (N,) of targets (N,) after features (N, E), in nats."""
        raise NotImplementedError

    def draw(self, features: Tensor, points: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Draw a word (B,) after each row of features (B, E) on a CPU, from a uniform number (B,) in [0, 1) each.

        Words are drawn in proportion to p^(1/T), of a temperature T above 0.
        """
        raise NotImplementedError

    def prepare(self, unigram: Tensor) -> None:
        """Begin at the unigram distribution (V,), which any training would find first."""
        raise NotImplementedError

    def surprisals(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give `loss` without gradients, some rows at a time."""
        with torch.no_grad():
            return torch.cat([self.loss(*part) for part in self._parts(features, targets)])

    def backward(
        self,
        features: Tensor,
        *labels: Tensor,
        share: float = 1.0,
        loss: Callable[..., Tensor] | None = None,
    ) -> tuple[float, Tensor]:
        """Add the gradient of the mean loss to the weights, some rows at a time.

        Gives the mean loss in nats, and its gradient by the features (N, E).

        Args:
            features: (N, E).
            labels: What the loss takes besides: targets (N,), or tensors (N, ...).
            share: What all of it counts for, where these are a part of the tokens of a step.
            loss: Takes some rows of features and labels, and gives their losses; the head's own if not given.
        """
        rows = features.detach().requires_grad_()
        total, of_rows = 0.0, loss or self.loss
        for part in self._parts(rows, *labels):
            mean = of_rows(*part).sum() * (share / len(rows))
            mean.backward()  # type: ignore[no-untyped-call]
            total += mean.item()
        assert rows.grad is not None
        return total, rows.grad

    def _parts(self, features: Tensor, *labels: Tensor) -> list[tuple[Tensor, ...]]:
        at_once = _SCORES_AT_ONCE.get(features.device.type, 1 << 24)
        step = max(16, at_once // self.vocab_size)
        starts = range(0, len(features), step)
        return [tuple(tensor[i : i + step] for tensor in (features, *labels)) for i in starts]


def _log_sum_exp(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Give log sum over the words of exp(W h + b) (n,), after features (n, E)."""
    words = zip(torch.split(weight, _WORDS), torch.split(bias, _WORDS), strict=True)
    return torch.stack([torch.addmm(b, features, w.t()).logsumexp(-1) for w, b in words]).logsumexp(0)


class FullHead(Head):
    """One score for each word.

    >>> head = FullHead(vocab_size=9, input_size=4)
    >>> head.logprobs(torch.zeros(3, 4)).exp().sum(-1)
    tensor([1.0000, 1.0000, 1.0000], grad_fn=<SumBackward1>)
    """

    kind = "full"
    _screen: tuple[tuple[int, int], Screen] | None = None  # made of a version of weights and biases

    def logits(self, features: Tensor) -> Tensor:
        """Give unnormalised log-probabilities (..., V): W h + b."""
        return linear(features, self.weight).to(self.bias.dtype) + self.possible_bias()

    def possible_bias(self) -> Tensor:
        """Give b (V,), minus infinity for the word that never comes."""
        if self.never is None:
            return self.bias
        return self.bias.index_fill(0, torch.tensor([self.never], device=self.bias.device), -torch.inf)

    def logprobs(self, features: Tensor) -> Tensor:
        """Give log p of every word (..., V), in nats, after features (..., E)."""
        return log_softmax(self.logits(features))

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give the surprisal (N,) of targets (N,) after features (N, E), in nats."""
        return functional.cross_entropy(self.logits(features), targets, reduction="none")

    def surprisals(self, features: Tensor, targets: Tensor) -> Tensor:
        """Give `loss` without gradients: log-sum-exp over some words at a time, whose scores stay in the cache."""
        exact = torch.autocast(features.device.type, enabled=False)
        with torch.no_grad(), exact:
            features, bias = features.to(self.weight.dtype), self.possible_bias()
            rows = torch.split(features, _ROWS)
            whole = torch.cat([_log_sum_exp(some, self.weight, bias) for some in rows])
            own = (features * self.weight[targets]).sum(-1) + bias[targets]
            return (whole - own).clamp_min(0.0)  # rounding makes no word more than certain

    def draw(self, features: Tensor, points: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Draw a word (B,) after each row of features (B, E), without the softmax: see `screening`."""
        from lmkit.nn.screening import Screen

        versions = (self.weight._version, self.bias._version)
        if self._screen is None or self._screen[0] != versions:
            self._screen = (versions, Screen(self.weight, self.possible_bias()))
        return self._screen[1].draw(features, points, temperature=temperature)

    def prepare(self, unigram: Tensor) -> None:
        """Set the bias to the log unigram distribution (V,)."""
        with torch.no_grad():
            self.bias.copy_(unigram.clamp_min(1e-7).log())


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
                return inverted(np.exp(tempered(self.logprobs(features).numpy(), temperature)), points)
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


HEADS: dict[str, type[Head]] = {"adaptive": AdaptiveHead, "full": FullHead}


def make_head(kind: str, *, vocab_size: int, input_size: int, never: int | None = None) -> Head:
    """Make the head of that kind; an unknown one is a UsageError.

    >>> make_head("full", vocab_size=9, input_size=4).kind
    'full'
    """
    if kind not in HEADS:
        raise UsageError(f"unknown head {kind!r}; {did_you_mean(kind, HEADS)}")
    return HEADS[kind](vocab_size=vocab_size, input_size=input_size, never=never)


def default_cutoffs(vocab_size: int) -> tuple[int, ...]:
    """Cut a vocabulary in three: a twelfth of the words and two thirds of them hold most of the tokens of a text.

    >>> default_cutoffs(33278)
    (2773, 22185)
    """
    return tuple(sorted({max(1, vocab_size // 12), max(2, 2 * vocab_size // 3)} & set(range(1, vocab_size))))
