"""Losses: how far a prediction is from its target, as one number to be made small.

Each takes (prediction, target) and gives the mean over the examples, a scalar tensor.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from lmkit.errors import UsageError, did_you_mean

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean surprisal of the targets, in nats: -1/N sum_n log softmax(logits_n)[target_n].

    logits (N, V), unnormalised; targets (N,), whole numbers below V. exp of it is the perplexity. Computed
    from the logits in one go: the gradient, (softmax - one_hot) / N, is exact where a probability is 0.

    >>> import torch
    >>> cross_entropy(torch.zeros(3, 4), torch.tensor([0, 1, 3])).exp()  # uniform over four words
    tensor(4.)
    """
    if logits.dim() != 2 or targets.shape != logits.shape[:1]:
        found = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        raise UsageError(f"cross_entropy got shapes {found}; it needs logits (N, V) and targets (N,)")
    _refuse_empty(targets)
    return functional.cross_entropy(logits, targets)


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error, halved: mean of 1/2 (y - y_hat)^2, so that the gradient is (y_hat - y) / N.

    Two tensors of one shape. The maximum-likelihood loss for Gaussian noise.

    >>> import torch
    >>> l2(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 2.0]))
    tensor(2.2500)
    """
    return 0.5 * functional.mse_loss(prediction, _same_shape(prediction, target))


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error: mean of |y - y_hat|; an outlier pulls no harder than any other example.

    >>> import torch
    >>> l1(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 2.0]))
    tensor(1.5000)
    """
    return functional.l1_loss(prediction, _same_shape(prediction, target))


def huber(prediction: Tensor, target: Tensor, *, delta: float = 1.0) -> Tensor:
    """Square near the target, straight far from it (Huber 1964).

    With e = |y - y_hat|: mean of 1/2 e^2 where e <= delta, else of delta (e - delta/2). `delta` is in the
    units of y; value and slope agree at the seam.

    >>> import torch
    >>> huber(torch.tensor([0.5, 5.0]), torch.tensor([0.0, 0.0]), delta=1.0)  # 0.125 and 4.5
    tensor(2.3125)
    """
    if not delta > 0:
        raise UsageError(f"huber's delta is {delta}; it must be positive, in the units of the target")
    return functional.huber_loss(prediction, _same_shape(prediction, target), delta=delta)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "huber": huber, "l1": l1, "l2": l2}


def loss(name: str) -> Loss:
    """Give the loss of that name; an unknown one is a UsageError.

    >>> loss("l1") is l1
    True
    """
    if name not in LOSSES:
        raise UsageError(f"unknown loss {name!r}; {did_you_mean(name, LOSSES)}")
    return LOSSES[name]


def _same_shape(prediction: Tensor, target: Tensor) -> Tensor:
    """Give the target back; (N,) against (N, 1) would silently broadcast to (N, N), so it is refused."""
    if prediction.shape != target.shape:
        found = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise UsageError(f"prediction and target have shapes {found}; they must be the same")
    _refuse_empty(target)
    return target


def _refuse_empty(target: Tensor) -> None:
    if not target.numel():
        raise UsageError("a loss over no examples has no mean; give at least one")
