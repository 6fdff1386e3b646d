import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from lmkit.nn import sampled_softmax
from lmkit.nn.full_softmax import FullHead
from lmkit.nn.row_rmsprop import RowRmsProp
from lmkit.nn.sampled_softmax import SampledSoftmax

V, E, N = 30, 4, 50
COUNTS = (1000 / (1 + np.arange(V))).astype(np.int64)[::-1].copy()  # the last words are the frequent ones


def make_head(*, never: int | None = None, dtype: torch.dtype = torch.float64) -> FullHead:
    head = FullHead(vocab_size=V, input_size=E, never=never).to(dtype)
    nn.init.normal_(head.weight)
    nn.init.normal_(head.bias)
    return head


def examples(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(N, E, dtype=dtype), torch.randint(V, (N,))


def inclusion(counts: np.ndarray, frequent: int, drawn: int, power: float = 0.75) -> list[float]:
    """The probability of each word to be a candidate: min(1, factor count^power) outside the most frequent words.

    The factor, at which `drawn` words are to be expected, is found by halving.
    """
    order = np.argsort(-np.asarray(counts), kind="stable")
    rest = order[frequent:]
    weights = np.maximum(np.asarray(counts)[rest], 0.5) ** power
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1, middle * weights).sum() < drawn else (low, middle)
    found = np.ones(len(counts))
    found[rest] = np.minimum(1, high * weights)
    return found.tolist()


def plain_loss(head, features, targets, candidates, included):
    """The mean loss token by token: the candidates and the target, each score raised by -log of its inclusion."""
    losses = []
    for h, target in zip(features, targets.tolist(), strict=True):
        words = [*candidates.tolist()]
        if target not in words:
            words.append(target)
        scores = torch.stack(
            [head.weight[word] @ h + head.bias[word] - math.log(included[word]) for word in words]
        )
        losses.append(-torch.log_softmax(scores, dim=0)[words.index(target)])
    return torch.stack(losses).mean()


def plain_estimate(head, features, targets, candidates, included):
    """The full loss token by token, each candidate counted as often as it stands for words, the target once."""
    losses = []
    with torch.no_grad():
        for h, target in zip(features, targets.tolist(), strict=True):
            words, weights = candidates.tolist(), [1 / included[word] for word in candidates.tolist()]
            if target not in words:
                words, weights = [*words, target], [*weights, 1.0]
            scores = torch.stack([head.weight[word] @ h + head.bias[word] for word in words])
            total = (torch.tensor(weights) * scores.exp()).sum()
            losses.append(total.log() - scores[words.index(target)])
    return torch.stack(losses).mean().item()


def dense_gradients(head):
    found = {}
    for name, parameter in head.named_parameters():
        found[name] = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad.clone()
    return found


def by_autograd(head, features, loss):
    head.zero_grad()
    rows = features.clone().requires_grad_()
    value = loss(rows)
    value.backward()
    found = dense_gradients(head) | {"features": rows.grad}
    head.zero_grad()
    return value.item(), found


def agrees(head, found, expected, expected_loss):
    loss, by_features = found
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    got = dense_gradients(head) | {"features": by_features}
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("order", [torch.arange(V), torch.arange(V).flip(0)], ids=["as numbered", "reversed"])
def test_with_every_word_a_candidate_it_is_the_full_softmax(order):
    head = make_head()
    features, targets = examples()
    loss, expected = by_autograd(head, features, lambda rows: head.loss(rows, targets).mean())
    sampled = SampledSoftmax(COUNTS, frequent=V, drawn=0)
    agrees(head, sampled.backward(head, features, targets, order), expected, loss)


def test_the_word_that_never_comes_is_not_told_apart_from():
    head = make_head(never=1)
    features, targets = examples()
    targets = torch.where(targets == 1, 0, targets)
    loss, expected = by_autograd(head, features, lambda rows: head.loss(rows, targets).mean())
    sampled = SampledSoftmax(COUNTS, frequent=V, drawn=0)
    agrees(head, sampled.backward(head, features, targets, torch.arange(V)), expected, loss)


@pytest.mark.parametrize(("frequent", "drawn"), [(5, 6), (0, 8), (10, 1), (3, 40), (1, 1)])
@pytest.mark.parametrize("at_once", [1, 1 << 20], ids=["pieces", "one piece"])
def test_a_target_is_a_candidate_whether_it_was_drawn_or_not(frequent, drawn, at_once, monkeypatch):
    monkeypatch.setattr(sampled_softmax, "_SCORES_AT_ONCE", at_once)
    head = make_head()
    features, targets = examples()
    sampled = SampledSoftmax(COUNTS, frequent=frequent, drawn=drawn)
    candidates = sampled.draw(np.random.default_rng(4))
    assert drawn > 20 or not set(targets.tolist()) <= set(candidates.tolist())
    included = inclusion(COUNTS, frequent, drawn)
    _, expected = by_autograd(
        head, features, lambda rows: plain_loss(head, rows, targets, candidates, included)
    )
    loss = plain_estimate(head, features, targets, candidates, included)
    agrees(head, sampled.backward(head, features, targets, candidates), expected, loss)


@pytest.mark.parametrize(
    "targets", [[7] * 20, [29] * 20, [0, 1, 2, 3] * 5], ids=["outside", "inside", "mixed"]
)
def test_one_word_many_times(targets):
    head, features = make_head(), torch.randn(20, E, dtype=torch.float64)
    targets = torch.tensor(targets)
    sampled = SampledSoftmax(COUNTS, frequent=3, drawn=4)
    candidates = torch.tensor([29, 28, 27, 3, 20])
    included = inclusion(COUNTS, 3, 4)
    _, expected = by_autograd(
        head, features, lambda rows: plain_loss(head, rows, targets, candidates, included)
    )
    loss = plain_estimate(head, features, targets, candidates, included)
    agrees(head, sampled.backward(head, features, targets, candidates), expected, loss)


def test_gradients_are_sparse_rows_of_the_words_that_took_part():
    head = make_head(dtype=torch.float32)
    features, targets = torch.randn(6, E), torch.tensor([7, 7, 29, 8, 7, 28])
    sampled = SampledSoftmax(COUNTS, frequent=3, drawn=4)
    candidates = torch.tensor([29, 28, 27, 3])
    sampled.backward(head, features, targets, candidates)
    for parameter in head.parameters():
        assert parameter.grad.is_sparse
        assert parameter.grad.shape == parameter.shape
        together = parameter.grad.coalesce()
        assert together.indices()[0].tolist() == [3, 7, 8, 27, 28, 29]
        torch.testing.assert_close(together.to_dense(), parameter.grad.to_dense())


def test_parts_with_their_shares_add_up_to_the_whole():
    head = make_head()
    features, targets = examples()
    sampled = SampledSoftmax(COUNTS, frequent=5, drawn=6)
    candidates = sampled.draw(np.random.default_rng(4))
    included = inclusion(COUNTS, 5, 6)
    _, expected = by_autograd(
        head, features, lambda rows: plain_loss(head, rows, targets, candidates, included)
    )
    loss = plain_estimate(head, features, targets, candidates, included)
    first, by_first = sampled.backward(head, features[:20], targets[:20], candidates, share=0.4)
    second, by_second = sampled.backward(head, features[20:], targets[20:], candidates, share=0.6)
    agrees(head, (first + second, torch.cat([by_first, by_second])), expected, loss)


def test_a_tied_table_adds_up_what_it_gets_as_embedding_and_as_head():
    head, table = make_head(), nn.Embedding(V, E, sparse=True).double()
    head.weight = table.weight
    tokens, targets = torch.randint(V, (N,)), torch.randint(V, (N,))
    sampled = SampledSoftmax(COUNTS, frequent=5, drawn=6)
    candidates = sampled.draw(np.random.default_rng(4))

    def parts() -> torch.Tensor:
        features = table(tokens)
        _, by_features = sampled.backward(head, features, targets, candidates)
        as_head = table.weight.grad.to_dense().clone()
        features.backward(by_features)
        as_embedding = torch.zeros(V, E, dtype=torch.float64).index_add_(0, tokens, by_features)
        return as_head + as_embedding

    expected = parts()
    assert table.weight.grad.is_sparse
    torch.testing.assert_close(table.weight.grad.to_dense(), expected)


def test_the_features_keep_their_graph_and_get_no_gradient():
    head = make_head()
    source, targets = torch.randn(N, E, dtype=torch.float64, requires_grad=True), torch.randint(V, (N,))
    features = source * 2
    sampled = SampledSoftmax(COUNTS, frequent=5, drawn=6)
    _, by_features = sampled.backward(head, features, targets, torch.arange(V))
    assert source.grad is None
    features.backward(by_features)
    torch.testing.assert_close(source.grad, 2 * by_features)


@given(
    counts=st.lists(st.integers(0, 10_000), min_size=3, max_size=40),
    data=st.data(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_candidates_are_distinct_and_hold_the_most_frequent_words(counts, data, seed):
    frequent = data.draw(st.integers(0, len(counts) - 2))
    drawn = data.draw(st.integers(1, 2 * len(counts)))
    candidates = SampledSoftmax(np.array(counts), frequent=frequent, drawn=drawn).draw(
        np.random.default_rng(seed)
    )
    words = candidates.tolist()
    assert candidates.dtype == torch.int64
    assert len(set(words)) == len(words)
    assert len(words) == min(frequent + drawn, len(counts))
    assert all(0 <= word < len(counts) for word in words)
    left_out = [counts[word] for word in range(len(counts)) if word not in words]
    always = sorted(counts, reverse=True)[:frequent]
    assert sorted((counts[word] for word in words), reverse=True)[:frequent] == always
    assert not always or not left_out or max(left_out) <= min(always)


@pytest.mark.parametrize(("frequent", "drawn", "power"), [(4, 10, 0.75), (0, 3, 1.0), (2, 60, 0.5)])
def test_words_are_candidates_as_often_as_their_probability_says(frequent, drawn, power):
    counts = np.r_[COUNTS, 0, 0]
    sampled = SampledSoftmax(counts, frequent=frequent, drawn=drawn, power=power)
    included = np.array(inclusion(counts, frequent, drawn, power))
    np.testing.assert_allclose(sampled.log_inclusion.exp().numpy(), included, rtol=1e-5)
    rng, draws = np.random.default_rng(3), 4000
    found = np.zeros(len(counts))
    for _ in range(draws):
        found[sampled.draw(rng).numpy()] += 1
    deviation = np.sqrt(included * (1 - included) / draws)
    assert np.all(np.abs(found / draws - included) <= 4.5 * deviation + 1e-12)


def test_words_never_seen_can_be_drawn():
    counts = np.array([50, 20, 0, 9, 0])
    sampled = SampledSoftmax(counts, frequent=1, drawn=2)
    rng = np.random.default_rng(1)
    drawn = {word for _ in range(300) for word in sampled.draw(rng).tolist()}
    assert drawn == {0, 1, 2, 3, 4}
    assert torch.isfinite(sampled.log_inclusion).all()


def test_all_words_unseen_are_drawn_evenly():
    sampled = SampledSoftmax(np.zeros(6, np.int64), frequent=0, drawn=2)
    assert sampled.log_inclusion.exp().tolist() == pytest.approx([2 / 6] * 6)


def test_the_draw_is_that_of_its_generator():
    sampled = SampledSoftmax(COUNTS, frequent=5, drawn=6)
    first, again, other = (sampled.draw(np.random.default_rng([7, number])) for number in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("drawn", [1, 2, 10])
def test_tiny_vocabularies(size, drawn):
    sampled = SampledSoftmax(np.arange(size), frequent=size // 4, drawn=drawn)
    head = FullHead(vocab_size=size, input_size=2)
    for seed in range(20):
        candidates = sampled.draw(np.random.default_rng(seed))
        loss, by_features = sampled.backward(head, torch.randn(3, 2), torch.arange(3) % size, candidates)
        assert math.isfinite(loss)
        assert by_features.isfinite().all()


@pytest.mark.parametrize(("size", "frequent"), [(2, 1), (3, 2), (2, 2), (3, 3)])
def test_one_other_word_is_always_drawn_and_none_never(size, frequent):
    sampled = SampledSoftmax(np.arange(size), frequent=frequent, drawn=2)
    assert sorted(sampled.draw(np.random.default_rng(1)).tolist()) == list(range(size))
    assert sampled.log_inclusion.tolist() == [0.0] * size


def test_bfloat16_is_close_to_float32():
    head = make_head(dtype=torch.float32)
    features, targets = examples(torch.float32)
    sampled = SampledSoftmax(COUNTS, frequent=5, drawn=6)
    candidates = sampled.draw(np.random.default_rng(4))
    loss, by_features = sampled.backward(head, features, targets, candidates)
    expected = dense_gradients(head) | {"features": by_features}
    head.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, by_features = sampled.backward(head, features, targets, candidates)
    assert rough == pytest.approx(loss, rel=0.02)
    for name, gradient in (dense_gradients(head) | {"features": by_features}).items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected[name]).norm() < 0.02 * expected[name].norm(), name


def test_training_by_it_finds_the_distribution():
    rng, contexts, words = np.random.default_rng(5), 4, 80
    truth = rng.permuted(np.tile(1 / (1 + np.arange(words)), (contexts, 1)), axis=1)
    truth /= truth.sum(1, keepdims=True)
    entropy = -(truth * np.log(truth)).sum(1).mean()
    seen = rng.integers(contexts, size=200 * 400)
    following = (truth.cumsum(1)[seen] < rng.random(len(seen))[:, None]).sum(1).clip(max=words - 1)
    sampled = SampledSoftmax(np.bincount(following, minlength=words), frequent=8, drawn=12)
    head = FullHead(vocab_size=words, input_size=contexts)
    optimizer = RowRmsProp(head.parameters(), lr=0.1)
    one_hot = torch.eye(contexts)
    steps = torch.from_numpy(np.stack([seen, following], 1)).split(200)
    for number, step in enumerate(steps):
        optimizer.zero_grad()
        sampled.backward(head, one_hot[step[:, 0]], step[:, 1], sampled.draw(rng))
        for parameter in head.parameters():
            parameter.grad = parameter.grad.coalesce()
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - number / len(steps))
        optimizer.step()
    with torch.no_grad():
        cross_entropy = functional.cross_entropy(head.logits(one_hot), torch.from_numpy(truth).float()).item()
    assert math.exp(cross_entropy - entropy) < 1.02


def test_on_a_gpu(cuda):
    head = make_head(dtype=torch.float32)
    features, targets = examples(torch.float32)
    sampled = SampledSoftmax(COUNTS, frequent=5, drawn=6)
    candidates = sampled.draw(np.random.default_rng(4))
    loss, expected = sampled.backward(head, features, targets, candidates)
    head.zero_grad()
    head.to(cuda)
    found, by_features = sampled.backward(head, features.to(cuda), targets.to(cuda), candidates.to(cuda))
    assert found == pytest.approx(loss, rel=1e-4)
    torch.testing.assert_close(by_features.cpu(), expected, rtol=1e-3, atol=1e-5)
