"""Sampled softmax: train a full head on the scores of a few words at a time (Jean et al. 2015, section 3).

A softmax over V words costs V products for each token, nearly all of them for words that could not have come. Here
every token of a window is told apart from C candidates instead: the most frequent words, always, and words drawn from
the rest, each with a probability pi in proportion to count^power. A candidate stands for 1 / pi words of its kind, so
its score is raised by -log pi; the target is one of the candidates whether it was drawn or not, and its score is raised
by the same rule (Bengio and Senecal 2008). At the optimum the scores are the log-probabilities of the full softmax,
which is what the model is measured by.

The draw is systematic (Madow 1949): steps of one along the sums of pi, from a random place and in a random order. So C
is the same in every window, and a processor's products, made ready for each shape they meet, are made ready once. In a
fixed order the same words would always come together, and the scores be wrong by it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lmkit.errors import UsageError
from lmkit.nn.full_softmax import FullHead
from lmkit.nn.softmax import log_softmax

_SCORES_AT_ONCE = 1 << 20  # a few rows at a time stay in the cache


class SampledSoftmax:
    """The loss of a full head on candidates (C,): those of `counts` (V,) most often seen, and a draw of the others.

    The gradients of the head's table and bias are sparse tensors of the rows that took part.

    >>> sampled = SampledSoftmax(np.array([0, 9, 8, 1, 1]), frequent=2, drawn=1)
    >>> sampled.log_inclusion.exp().round(decimals=2)
    tensor([0.2300, 1.0000, 1.0000, 0.3900, 0.3900])
    >>> sampled.draw(np.random.default_rng(0))
    tensor([1, 2, 0])
    """

    def __init__(self, counts: np.ndarray, *, frequent: int, drawn: int, power: float = 0.75) -> None:
        if drawn < 1 and frequent < len(counts):
            raise UsageError(
                f"{drawn} words drawn of the {len(counts) - frequent} rare ones; draw at least one"
            )
        order = np.argsort(-counts, kind="stable")
        weights = np.maximum(counts[order[frequent:]], 0.5) ** power
        certain = _certain(weights, drawn)
        self.frequent, self.rest = np.split(order, [frequent + certain])
        self.weights = weights[certain:] / weights[certain:].sum()
        self.drawn = min(drawn, len(weights)) - certain
        log_inclusion = np.zeros(len(counts), np.float32)  # log pi: 0 for the frequent
        if len(self.rest):
            log_inclusion[self.rest] = np.log(self.drawn * self.weights)
        self.log_inclusion = torch.from_numpy(log_inclusion)

    def draw(self, rng: np.random.Generator) -> Tensor:
        """Give the candidates (C,) of one window, each once."""
        if not len(self.rest):
            return torch.from_numpy(self.frequent)
        order = rng.permutation(len(self.rest))
        sums = np.cumsum(self.weights[order])
        marks = (rng.random() + np.arange(self.drawn)) * (sums[-1] / self.drawn)
        places = np.searchsorted(sums, marks, side="right")
        picked = self.rest[order[np.minimum(places, len(order) - 1)]]
        return torch.from_numpy(np.concatenate([self.frequent, picked]))

    def backward(
        self, head: FullHead, features: Tensor, targets: Tensor, candidates: Tensor, *, share: float = 1.0
    ) -> tuple[float, Tensor]:
        """Add the gradient of the mean loss to the head; give the gradient by the features (N, E), and a loss.

        The loss that is given is no longer that of telling candidates apart, which grows with their number, but an
        estimate of the full softmax's: candidates stand for the words of their kind, the target for itself alone.

        `share` is what all of it counts for, where these are a part of the tokens of a step.

        The gradient is written out (probability minus one-hot), so that no scores are kept for a second pass.
        """
        with torch.no_grad():
            return self._backward(head, features.detach(), targets, candidates, share / len(targets))

    def _backward(
        self, head: FullHead, features: Tensor, targets: Tensor, candidates: Tensor, each: float
    ) -> tuple[float, Tensor]:
        count = len(candidates)
        column = candidates.new_full((head.vocab_size,), count).index_copy_(  # of each word; C: no candidate
            0, candidates, torch.arange(count, device=candidates.device)
        )
        log_inclusion = self.log_inclusion.to(head.bias.device)
        raised = head.possible_bias() - log_inclusion
        table, bias = head.weight[candidates], raised[candidates]
        other = (column[targets] == count).nonzero()[:, 0]  # tokens whose target is no candidate
        other_table = head.weight[targets[other]]  # (M, E)
        own = torch.full_like(features[:, 0], -torch.inf)
        own[other] = (features[other] * other_table).sum(-1) + raised[targets[other]]

        loss = torch.zeros((), device=features.device)
        feature_gradient = torch.empty_like(features)
        table_gradient = torch.zeros_like(table)
        bias_gradient = torch.zeros_like(bias)
        own_gradient = torch.empty_like(own)
        step = max(16, _SCORES_AT_ONCE // count)
        for begin in range(0, len(features), step):
            rows = slice(begin, begin + step)
            scores = functional.linear(features[rows], table).to(bias.dtype) + bias
            scores = torch.cat([scores, own[rows, None]], dim=-1)  # (n, C + 1)
            named = column[targets[rows]][:, None]
            logprobs = log_softmax(scores)
            told_apart = -logprobs.gather(-1, named)[:, 0]
            loss += _full_loss(told_apart, log_inclusion[targets[rows]], named[:, 0] == count).sum()
            gradient = logprobs.exp_().scatter_add_(-1, named, -torch.ones_like(own[rows, None]))
            gradient *= each
            own_gradient[rows] = gradient[:, -1]
            gradient = gradient[:, :-1]
            feature_gradient[rows] = torch.mm(gradient, table).to(features.dtype)
            table_gradient += torch.mm(gradient.T, features[rows])
            bias_gradient += gradient.sum(0)
        moved = own_gradient[other, None]
        feature_gradient[other] += moved * other_table
        ids = torch.cat([candidates, targets[other]])
        _add(head.weight, ids, torch.cat([table_gradient, moved * features[other]]))
        _add(head.bias, ids, torch.cat([bias_gradient, moved[:, 0]]))
        return loss.item() * each, feature_gradient


def _certain(weights: np.ndarray, drawn: int) -> int:
    """Give how many of falling weights are so large that a draw in proportion to them cannot do without."""
    if drawn >= len(weights):
        return len(weights)
    rest = np.cumsum(weights[::-1])[::-1]  # of this word and all after it
    return int(np.argmax((drawn - np.arange(len(weights))) * weights < rest))


def _full_loss(told_apart: Tensor, log_inclusion: Tensor, other: Tensor) -> Tensor:
    """Estimate the loss of a full softmax from that of telling the target apart from the candidates.

    log(sum of candidates / score of target): where the target was not drawn, its raised score leaves the sum, and its
    own one comes in.
    """
    of_candidate = told_apart - log_inclusion
    rest = told_apart + torch.log(-torch.expm1(-told_apart.clamp_min(1e-6))) - log_inclusion
    return torch.where(other, functional.softplus(rest), of_candidate)


def _add(parameter: Tensor, ids: Tensor, rows: Tensor) -> None:
    """Add a gradient that is zero but in some rows, any of them perhaps twice."""
    gradient = torch.sparse_coo_tensor(ids[None], rows, parameter.shape, check_invariants=False)
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
