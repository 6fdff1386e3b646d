import math

import pytest
import torch

from lmkit.errors import UsageError
from lmkit.nn.dropout import Dropout, EmbeddingDropout, LockedDropout, bernoulli_mask

RATES = [0.1, 0.5, 0.9]


@pytest.mark.parametrize("rate", RATES)
def test_the_expectation_is_kept(rate):
    draws = 200_000
    mask = bernoulli_mask((draws,), rate, like=torch.ones(1, dtype=torch.float64))
    deviation = math.sqrt(rate / (1 - rate) / draws)  # of the mean: the variance of one draw is p / (1 - p)
    assert mask.mean().item() == pytest.approx(1, abs=5 * deviation)
    assert (mask == 0).double().mean().item() == pytest.approx(rate, abs=0.01)
    torch.testing.assert_close(mask.unique(), torch.tensor([0, 1 / (1 - rate)]).double())


def test_a_generator_repeats_its_masks_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    first, again = (
        bernoulli_mask((50,), 0.5, like=torch.ones(1), generator=torch.Generator().manual_seed(3))
        for _ in "ab"
    )
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())


def test_the_mask_has_the_type_of_its_model_and_no_gradient():
    mask = bernoulli_mask((2, 3), 0.5, like=torch.ones(1, dtype=torch.float64, requires_grad=True))
    assert (mask.dtype, mask.shape, mask.requires_grad) == (torch.float64, (2, 3), False)


@pytest.mark.parametrize("kind", [Dropout, LockedDropout])
def test_identity_in_evaluation_and_at_rate_zero(kind):
    x = torch.randn(4, 2, 3)
    assert kind(rate=0.5).eval()(x) is x
    assert kind(rate=0.0).train()(x) is x


def test_plain_dropout_draws_each_element_on_its_own():
    x = torch.randn(50, 4, 25)
    y = Dropout(rate=0.4)(x)
    assert torch.all((y == 0) | torch.isclose(y, x / 0.6))
    assert not torch.equal(y[0] == 0, y[1] == 0)


def test_locked_dropout_shares_a_mask_over_time_and_not_over_rows():
    x = torch.randn(30, 4, 50)  # (T, B, H)
    dropped = LockedDropout(rate=0.4)(x) == 0
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert not torch.equal(dropped[0, 0], dropped[0, 1])


@pytest.mark.parametrize("rate", RATES)
def test_locked_dropout_keeps_the_expectation(rate):
    layer = LockedDropout(rate=rate)
    mean = torch.stack([layer(torch.ones(1, 20, 50)).mean() for _ in range(200)]).mean()
    assert mean.item() == pytest.approx(1, abs=5 * math.sqrt(rate / (1 - rate) / 200_000))


def test_embedding_dropout_drops_whole_words():
    table, tokens = torch.randn(20, 6), torch.randint(20, (40, 3))
    y = EmbeddingDropout(rate=0.5)(table, tokens)
    for word in range(20):
        rows = y[tokens == word]
        assert torch.equal(rows, torch.zeros_like(rows)) or torch.allclose(
            rows, 2 * table[word].expand_as(rows)
        )
    assert 0 < (y == 0).float().mean() < 1


def test_embedding_dropout_is_a_lookup_in_evaluation_and_at_rate_zero():
    table, tokens = torch.randn(20, 6), torch.randint(20, (40, 3))
    assert torch.equal(EmbeddingDropout(rate=0.5).eval()(table, tokens), table[tokens])
    assert torch.equal(EmbeddingDropout(rate=0.0)(table, tokens), table[tokens])


def test_dropped_units_get_no_gradient_and_kept_ones_the_scaled_one():
    x = torch.ones(5, 2, 8, requires_grad=True)
    y = LockedDropout(rate=0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan])
def test_rate_outside_its_range_is_refused(rate):
    for make in (Dropout, LockedDropout, EmbeddingDropout):
        with pytest.raises(UsageError, match="dropout rate"):
            make(rate=rate)
    with pytest.raises(UsageError, match="dropout rate"):
        bernoulli_mask((1,), rate, like=torch.ones(1))
