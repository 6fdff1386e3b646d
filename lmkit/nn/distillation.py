"""Distillation: learn what another model says of every word, not only which word came.

    cross_entropy     -sum over words of p_teacher(w) log p(w)                    (Hinton, Vinyals and Dean 2015)
    l2, l1, huber     a regression from log p(w) to log p_teacher(w), mean over words: see `losses`; both are
                      in standard deviations of the teacher's, so that a distance of one is one whoever teaches

A text names one word for each place; a teacher says how likely all of them were.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmkit.nn.losses import loss
from lmkit.nn.preprocessing import standardized


def distilled(logprobs: Tensor, taught: Tensor, targets: Tensor, *, kind: str, share: float) -> Tensor:
    """Give the loss (N,) of learning from a text and from a teacher, with the value of the text's part alone.

    Its gradient is that of (1 - share) times the surprisal of the targets plus share times the distance from the
    teacher; its value is the surprisal, in nats, so that a training curve stays one of perplexities.

    Args:
        logprobs: (N, V) of the model that learns.
        taught: (N, V) of the teacher. Where either says minus infinity, no distance is measured.
        targets: (N,) the words that came.
        kind: One of `losses.LOSSES`.
        share: How much the teacher counts for, from 0 to 1.

    >>> logprobs = torch.tensor([[0.7, 0.3]]).log().requires_grad_()
    >>> distilled(logprobs, torch.tensor([[0.5, 0.5]]).log(), torch.tensor([0]), kind="cross_entropy", share=1.0)
    tensor([0.3567], grad_fn=<AddBackward0>)
    """
    surprisal = -logprobs.gather(-1, targets[:, None])[:, 0]
    possible = torch.isfinite(taught) & torch.isfinite(logprobs)
    student, teacher = logprobs.masked_fill(~possible, 0.0), taught.masked_fill(~possible, 0.0)
    if kind == "cross_entropy":
        distance = -(teacher.exp() * possible * student).sum(-1)
    else:
        distance = loss(kind)(*(standardized(each, teacher, possible) for each in (student, teacher)))
    learnt = (1 - share) * surprisal + share * distance
    return surprisal.detach() + (learnt - learnt.detach())
