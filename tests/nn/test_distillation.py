"""Learning from a teacher: the gradients of the formulas, in float64, and what is left out."""

from __future__ import annotations

import pytest
import torch

from lmkit.nn.distillation import distilled
from lmkit.nn.losses import LOSSES, loss

N, V = 5, 7


def made(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, V, generator=generator, dtype=torch.float64, requires_grad=True)
    taught = torch.log_softmax(torch.randn(N, V, generator=generator, dtype=torch.float64), -1)
    return logits, taught, torch.randint(V, (N,), generator=generator)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_value_is_the_surprisal_and_the_gradient_that_of_both(kind: str, share: float) -> None:
    logits, taught, targets = made()
    logprobs = torch.log_softmax(logits, -1)
    found = distilled(logprobs, taught, targets, kind=kind, share=share)
    surprisal = -logprobs[torch.arange(N), targets]
    torch.testing.assert_close(found, surprisal)
    (gradient,) = torch.autograd.grad(found.sum(), logits)

    def objective(at: torch.Tensor) -> float:
        log = torch.log_softmax(at, -1)
        mean, deviation = taught.mean(), taught.std(correction=0)
        given = [(each - mean) / deviation for each in (log, taught)]
        far = -(taught.exp() * log).sum() if kind == "cross_entropy" else N * loss(kind)(*given)
        return float((1 - share) * -log[torch.arange(N), targets].sum() + share * far)

    step = 1e-6
    for row, column in ((0, 0), (2, 3), (4, 6)):
        moved = torch.zeros_like(logits)
        moved[row, column] = step
        slope = (objective(logits.detach() + moved) - objective(logits.detach() - moved)) / (2 * step)
        assert float(gradient[row, column]) == pytest.approx(slope, abs=1e-6)


def test_learning_from_a_teacher_alone_moves_towards_its_probabilities() -> None:
    logits, taught, targets = made()
    found = distilled(torch.log_softmax(logits, -1), taught, targets, kind="cross_entropy", share=1.0)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(gradient, torch.softmax(logits.detach(), -1) - taught.exp())


@pytest.mark.parametrize("kind", LOSSES)
def test_what_cannot_come_is_left_out(kind: str) -> None:
    logits, taught, targets = made()
    never = torch.zeros(V, dtype=torch.float64)
    never[1] = -torch.inf
    targets[targets == 1] = 2
    found = distilled(torch.log_softmax(logits + never, -1), taught + never, targets, kind=kind, share=0.5)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient[:, 1] == 0).all())


@pytest.mark.parametrize("kind", LOSSES)
def test_a_teacher_that_knows_nothing_moves_by_no_more_than_another(kind: str) -> None:
    logits, _, targets = made()
    uniform = torch.full((N, V), -torch.log(torch.tensor(float(V))).item())
    found = distilled(torch.log_softmax(logits.float(), -1), uniform, targets, kind=kind, share=1.0)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient.abs().max() < 5
