import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from lmkit.errors import UsageError
from lmkit.nn import full_softmax
from lmkit.nn import head as heads
from lmkit.nn.adaptive_softmax import AdaptiveHead, default_cutoffs
from lmkit.nn.full_softmax import FullHead
from lmkit.nn.head import Head
from lmkit.nn.heads import HEADS, make_head

V, E = 23, 5
NEVER = 1
each_kind = pytest.mark.parametrize("kind", sorted(HEADS))


def filled(head: Head, dtype: torch.dtype = torch.float64) -> Head:
    """Weights as large as those of a trained head."""
    head = head.to(dtype)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def make(kind: str, *, never: int | None = NEVER, dtype: torch.dtype = torch.float64) -> Head:
    return filled(make_head(kind, vocab_size=V, input_size=E, never=never), dtype)


def examples(count: int = 50, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Features, and targets that are possible; every word comes."""
    targets = torch.arange(count) % V
    return torch.randn(count, E, dtype=dtype), torch.where(targets == NEVER, 0, targets)[
        torch.randperm(count)
    ]


def gradients(head: Head) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in head.named_parameters()}


def by_autograd(head: Head, features: torch.Tensor, targets: torch.Tensor):
    """Loss and all gradients of the mean loss, the features' last; the head is left without gradients."""
    head.zero_grad()
    rows = features.clone().requires_grad_()
    mean = -head.logprobs(rows).gather(-1, targets[:, None]).mean()
    mean.backward()
    found = gradients(head) | {"features": rows.grad}
    head.zero_grad()
    return mean.item(), found


def is_distribution(head: Head, features: torch.Tensor) -> None:
    logprobs = head.logprobs(features)
    assert logprobs.shape == (*features.shape[:-1], head.vocab_size)
    torch.testing.assert_close(logprobs.exp().sum(-1), torch.ones(features.shape[:-1], dtype=features.dtype))
    if head.never is not None:
        assert torch.all(logprobs[..., head.never] == -torch.inf)
        assert (logprobs > -torch.inf).sum() == (head.vocab_size - 1) * features[..., 0].numel()


@st.composite
def vocabularies(draw):
    """A size from 2 up, cutoffs or none, and a word that never comes or none."""
    size = draw(st.integers(2, 40))
    cutoffs = draw(st.sets(st.integers(1, size - 1), max_size=5).map(lambda found: tuple(sorted(found))))
    return size, cutoffs, draw(st.none() | st.integers(0, size - 1))


@given(size=st.integers(2, 40), shape=st.lists(st.integers(1, 3), max_size=3), data=st.data())
@settings(max_examples=40)
def test_a_full_head_sums_to_one_and_never_gives_the_word_that_never_comes(size, shape, data):
    never = data.draw(st.none() | st.integers(0, size - 1))
    head = filled(FullHead(vocab_size=size, input_size=3, never=never))
    is_distribution(head, torch.randn(*shape, 3, dtype=torch.float64))


@given(vocabulary=vocabularies(), shape=st.lists(st.integers(1, 3), max_size=3))
@settings(max_examples=60)
def test_an_adaptive_head_sums_to_one_whatever_its_cutoffs(vocabulary, shape):
    size, cutoffs, never = vocabulary
    head = AdaptiveHead(vocab_size=size, input_size=3, never=never, cutoffs=cutoffs)
    assume(never is None or (never, never + 1) not in head.edges)  # that is the next test
    is_distribution(filled(head), torch.randn(*shape, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("size", "cutoffs", "never"),
    [
        (2, (), 0),
        (2, (), 1),
        (3, (), 1),
        (4, (), 1),  # <unk>, <s>, </s> and one word
        (9, (3, 4), 3),
        (9, (3, 8), 8),
        (9, (1, 4), 0),
    ],
)
def test_a_part_of_nothing_but_the_word_that_never_comes_has_no_share(size, cutoffs, never):
    head = filled(AdaptiveHead(vocab_size=size, input_size=3, never=never, cutoffs=cutoffs))
    is_distribution(head, torch.randn(4, 3, dtype=torch.float64))
    targets = torch.tensor([word for word in range(size) if word != never])
    features = torch.randn(len(targets), 3, dtype=torch.float64)
    loss = head.loss(features, targets)
    torch.testing.assert_close(loss, -head.logprobs(features).gather(-1, targets[:, None])[:, 0])
    loss.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_full_is_the_softmax_of_scores():
    head = make("full", never=None)
    features, _ = examples()
    torch.testing.assert_close(
        head.logprobs(features), (features @ head.weight.T + head.bias).log_softmax(dim=-1)
    )


def test_adaptive_is_a_choice_of_the_cluster_then_of_the_word():
    head = filled(AdaptiveHead(vocab_size=7, input_size=E, cutoffs=(3, 5), never=None))
    h = torch.randn(E, dtype=torch.float64)
    scores = [math.exp(score) for score in (head.weight @ h + head.bias).tolist()]
    clusters = [math.exp(score) for score in (head.clusters.weight @ h + head.clusters.bias).tolist()]
    total = sum(scores[:3]) + sum(clusters)
    expected = [scores[word] / total for word in range(3)]
    expected += [clusters[0] / total * scores[word] / sum(scores[3:5]) for word in (3, 4)]
    expected += [clusters[1] / total * scores[word] / sum(scores[5:7]) for word in (5, 6)]
    assert head.logprobs(h).exp().tolist() == pytest.approx(expected, rel=1e-12)


@given(vocabulary=vocabularies(), count=st.integers(1, 60))
@settings(max_examples=40)
def test_adaptive_loss_is_the_surprisal_of_the_target(vocabulary, count):
    size, cutoffs, _ = vocabulary
    head = filled(AdaptiveHead(vocab_size=size, input_size=3, cutoffs=cutoffs))
    features, targets = torch.randn(count, 3, dtype=torch.float64), torch.randint(size, (count,))
    torch.testing.assert_close(
        head.loss(features, targets), -head.logprobs(features).gather(-1, targets[:, None])[:, 0]
    )


@each_kind
def test_loss_is_the_surprisal_of_the_target(kind):
    head = make(kind)
    features, targets = examples()
    torch.testing.assert_close(
        head.loss(features, targets), -head.logprobs(features).gather(-1, targets[:, None])[:, 0]
    )


@each_kind
def test_the_word_that_never_comes_costs_infinitely_much(kind):
    head = make(kind)
    features, _ = examples(3)
    assert torch.all(head.loss(features, torch.full((3,), NEVER)) == torch.inf)


@each_kind
def test_gradients_equal_finite_differences(kind):
    head = make(kind)
    features, targets = examples(30)

    def loss(h, *values):
        return functional_call(_Loss(head), dict(zip(names_of(head), values, strict=True)), (h, targets))

    weights = [parameter.detach().clone().requires_grad_() for parameter in head.parameters()]
    assert torch.autograd.gradcheck(loss, (features.requires_grad_(), *weights))


class _Loss(nn.Module):
    """The mean loss as a forward, so that it can be called with other weights."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features, targets):
        return self.head.loss(features, targets).mean()


def names_of(head: Head) -> list[str]:
    return [f"head.{name}" for name, _ in head.named_parameters()]


@each_kind
@pytest.mark.parametrize("rows", [16, 50, None], ids=["pieces", "one piece", "as it is"])
def test_backward_in_pieces_is_the_gradient_of_the_mean_loss(kind, rows, monkeypatch):
    if rows is not None:
        monkeypatch.setattr(heads, "_SCORES_AT_ONCE", {"cpu": rows * V})
    head = make(kind)
    features, targets = examples()
    loss, expected = by_autograd(head, features, targets)
    given_loss, by_features = head.backward(features, targets)
    assert given_loss == pytest.approx(loss, rel=1e-12)
    torch.testing.assert_close(gradients(head) | {"features": by_features}, expected)


@each_kind
def test_backward_looks_at_some_rows_at_a_time(kind, monkeypatch):
    monkeypatch.setattr(heads, "_SCORES_AT_ONCE", {"cpu": 20 * V})
    head, seen = make(kind), []
    loss = head.loss
    monkeypatch.setattr(head, "loss", lambda rows, targets: seen.append(len(rows)) or loss(rows, targets))
    head.backward(*examples(50))
    assert seen == [20, 20, 10]


@each_kind
def test_parts_with_their_shares_add_up_to_the_whole(kind):
    head = make(kind)
    features, targets = examples()
    loss, expected = by_autograd(head, features, targets)
    first, by_first = head.backward(features[:20], targets[:20], share=0.4)
    second, by_second = head.backward(features[20:], targets[20:], share=0.6)
    assert first + second == pytest.approx(loss, rel=1e-12)
    found = gradients(head) | {"features": torch.cat([by_first, by_second])}
    torch.testing.assert_close(found, expected)


@each_kind
def test_backward_adds_to_the_gradients_and_ends_at_the_features(kind):
    head = make(kind)
    features, targets = examples()
    source = features.clone().requires_grad_()
    head.backward(source * 2, targets)
    once = gradients(head)
    assert source.grad is None  # whoever called goes on from the gradient that was given
    head.backward(features * 2, targets)
    torch.testing.assert_close(gradients(head), {name: 2 * gradient for name, gradient in once.items()})


@each_kind
def test_a_tied_table_gets_gradients_as_embedding_and_as_head(kind):
    head, table = make(kind), nn.Embedding(V, E).double()
    head.weight = table.weight
    tokens, targets = torch.randint(V, (50,)), examples()[1]

    def mean(weight_as_head: torch.Tensor) -> torch.Tensor:
        values = dict(zip(names_of(head), [weight_as_head, *list(head.parameters())[1:]], strict=True))
        return functional_call(_Loss(head), values, (table(tokens).tanh(), targets))

    assert names_of(head)[0] == "head.weight"
    own = table.weight.detach().clone().requires_grad_()
    mean(own).backward()
    expected = own.grad + table.weight.grad
    table.zero_grad()
    head.zero_grad()
    features = table(tokens).tanh()
    _, by_features = head.backward(features, targets)
    features.backward(by_features)
    torch.testing.assert_close(table.weight.grad, expected)


@each_kind
def test_a_head_without_features_is_the_unigram_that_it_was_prepared_with(kind):
    unigram = torch.rand(V, dtype=torch.float64) ** 4 + 1e-4
    unigram[NEVER] = 0
    unigram /= unigram.sum()
    head = make_head(kind, vocab_size=V, input_size=E, never=NEVER).double()
    head.prepare(unigram)
    torch.testing.assert_close(head.logprobs(torch.randn(4, E).double()).exp(), unigram.expand(4, V))
    head = make(kind)  # of any weights, after features of zeros
    head.prepare(unigram)
    torch.testing.assert_close(head.logprobs(torch.zeros(E).double()).exp(), unigram)


@each_kind
def test_a_word_of_no_share_begins_possible(kind):
    head = make_head(kind, vocab_size=V, input_size=E, never=NEVER)
    unigram = torch.zeros(V)
    unigram[0] = 1.0
    head.prepare(unigram)
    logprobs = head.logprobs(torch.zeros(E))
    assert logprobs[0].item() == pytest.approx(0, abs=1e-4)
    assert (logprobs > -torch.inf).sum() == V - 1


@each_kind
def test_surprisals_are_the_loss_without_gradients(kind, monkeypatch):
    head = make(kind)
    features, targets = examples()
    expected = head.loss(features, targets).detach()
    monkeypatch.setattr(heads, "_SCORES_AT_ONCE", {"cpu": 1})
    for name, size in (("_ROWS", 2), ("_WORDS", 3)):
        monkeypatch.setattr(full_softmax, name, size)
    surprisals = head.surprisals(features.requires_grad_(), targets)
    assert not surprisals.requires_grad
    torch.testing.assert_close(surprisals, expected)


@each_kind
def test_bfloat16_is_close_to_float32(kind):
    head = make(kind, dtype=torch.float32)
    features, targets = examples(200, torch.float32)
    loss, expected = by_autograd(head, features, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head.logprobs(features).exp().sum(-1).tolist() == pytest.approx([1.0] * 200, abs=1e-5)
        surprisals = head.surprisals(features, targets)
        found_loss, by_features = head.backward(features, targets)
    assert surprisals.dtype == torch.float32
    torch.testing.assert_close(surprisals, head.surprisals(features, targets), rtol=0.02, atol=0.1)
    assert found_loss == pytest.approx(loss, rel=0.01)
    for name, gradient in (gradients(head) | {"features": by_features}).items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected[name]).norm() < 0.02 * expected[name].norm(), name


@each_kind
def test_only_the_words_of_a_target_or_a_chosen_part_are_pushed(kind):
    head = make(kind)
    head.backward(torch.randn(9, E).double(), torch.zeros(9, dtype=torch.long))
    assert head.weight.grad[0].any()
    assert not head.weight.grad[NEVER].any()
    assert not head.bias.grad[NEVER]
    if kind == "adaptive":  # no target in a cluster: its words took no part
        assert not head.weight.grad[head.cutoffs[0] :].any()


@given(size=st.integers(2, 5000))
def test_default_cutoffs_rise_from_1_to_below_the_vocabulary(size):
    cutoffs = default_cutoffs(size)
    assert cutoffs
    assert list(cutoffs) == sorted(set(cutoffs))
    assert 1 <= cutoffs[0] <= cutoffs[-1] < size


@pytest.mark.parametrize("cutoffs", [(0, 3), (3, 3), (5, 3), (3, 9), (12,), (-1, 3)])
def test_cutoffs_that_cut_nothing_off_are_refused(cutoffs):
    with pytest.raises(UsageError, match="cutoffs"):
        AdaptiveHead(vocab_size=9, input_size=2, cutoffs=cutoffs)


def test_an_unknown_head_is_refused():
    with pytest.raises(UsageError, match="did you mean 'adaptive'"):
        make_head("adaptiv", vocab_size=9, input_size=2)


@each_kind
def test_a_kind_makes_its_head(kind):
    assert make_head(kind, vocab_size=9, input_size=2).kind == kind


@each_kind
def test_training_finds_a_distribution_that_depends_on_the_features(kind):
    truth = torch.softmax(2 * torch.randn(3, V), dim=-1)
    truth[:, NEVER] = 0
    truth /= truth.sum(-1, keepdim=True)
    head = make_head(kind, vocab_size=V, input_size=3, never=NEVER)
    head.prepare(truth.mean(0))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        functional.kl_div(
            head.logprobs(torch.eye(3)).clamp_min(-1e4), truth, reduction="batchmean"
        ).backward()
        optimizer.step()
    torch.testing.assert_close(head.logprobs(torch.eye(3)).exp(), truth, atol=5e-3, rtol=0)


@each_kind
def test_on_a_gpu(kind, cuda):
    head = make(kind, dtype=torch.float32)
    features, targets = examples(50, torch.float32)
    loss, expected = by_autograd(head, features, targets)
    head.to(cuda)
    found, by_features = head.backward(features.to(cuda), targets.to(cuda))
    assert found == pytest.approx(loss, rel=1e-4)
    torch.testing.assert_close(by_features.cpu(), expected["features"], rtol=1e-3, atol=1e-5)
