import pytest
import torch
from torch import nn

from lmkit.nn.averaging import WeightAverage


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.decoder = nn.Linear(3, 5)
        self.decoder.weight = self.embedding.weight


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def wander(module: nn.Module, average: WeightAverage, steps: int) -> list[dict[str, torch.Tensor]]:
    """Take some steps, each into the average; give the weights after each."""
    path = []
    for _ in range(steps):
        for parameter in module.parameters():
            nn.init.normal_(parameter)
        average.update()
        path.append(weights(module))
    return path


def averaged(average: WeightAverage, module: nn.Module) -> dict[str, torch.Tensor]:
    with average.in_place():
        return weights(module)


def weighted(path: list[dict[str, torch.Tensor]], shares: list[float]) -> dict[str, torch.Tensor]:
    assert sum(shares) == pytest.approx(1)
    return {
        name: sum(share * step[name] for share, step in zip(shares, path, strict=True)) for name in path[0]
    }


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_the_mean_of_all_counts_all_alike(steps):
    module = Tied().double()
    average = WeightAverage(module)
    path = wander(module, average, steps)
    torch.testing.assert_close(averaged(average, module), weighted(path, [1 / steps] * steps))


def test_the_weights_before_the_first_update_do_not_count():
    module = nn.Linear(2, 2)
    average = WeightAverage(module)
    (only,) = wander(module, average, 1)
    torch.testing.assert_close(averaged(average, module), only, rtol=0, atol=0)


def test_the_mean_of_equal_weights_is_these_weights():
    module = nn.Linear(3, 3)
    average, before = WeightAverage(module), weights(module)
    for _ in range(9):
        average.update()
    torch.testing.assert_close(averaged(average, module), before, rtol=0, atol=0)


def test_the_weights_come_back_exactly():
    module = Tied()
    average = WeightAverage(module)
    *_, last = wander(module, average, 5)
    for _ in range(3):
        mean = averaged(average, module)
        assert not torch.equal(mean["decoder.bias"], last["decoder.bias"])
        torch.testing.assert_close(weights(module), last, rtol=0, atol=0)
        torch.testing.assert_close(averaged(average, module), mean, rtol=0, atol=0)  # nor is the mean changed


def test_the_weights_come_back_after_an_error():
    module = Tied()
    average = WeightAverage(module)
    *_, last = wander(module, average, 5)
    mean = averaged(average, module)
    with pytest.raises(ZeroDivisionError), average.in_place():
        raise ZeroDivisionError
    torch.testing.assert_close(weights(module), last, rtol=0, atol=0)
    torch.testing.assert_close(averaged(average, module), mean, rtol=0, atol=0)


def test_averaging_goes_on_after_it_was_looked_at():
    module = Tied().double()
    average = WeightAverage(module)
    path = wander(module, average, 3)
    averaged(average, module)
    path += wander(module, average, 2)
    torch.testing.assert_close(averaged(average, module), weighted(path, [0.2] * 5))


def test_without_an_update_the_weights_are_their_own_mean():
    module = Tied()
    average, before = WeightAverage(module), weights(module)
    torch.testing.assert_close(averaged(average, module), before, rtol=0, atol=0)
    average.take()
    torch.testing.assert_close(weights(module), before, rtol=0, atol=0)


def test_taking_the_mean_leaves_it_as_the_weights():
    module = Tied()
    average = WeightAverage(module)
    wander(module, average, 4)
    mean = averaged(average, module)
    average.take()
    torch.testing.assert_close(weights(module), mean, rtol=0, atol=0)


def test_tied_weights_are_averaged_once_and_stay_tied():
    module = Tied().double()
    average = WeightAverage(module)
    assert sum(mean.numel() for mean in average.means) == 5 * 3 + 5
    path = wander(module, average, 3)
    with average.in_place():
        assert module.decoder.weight is module.embedding.weight
        torch.testing.assert_close(weights(module), weighted(path, [1 / 3] * 3))
    assert module.decoder.weight is module.embedding.weight


def test_the_parameters_stay_themselves_with_their_gradients():
    module = Tied()
    average = WeightAverage(module)
    wander(module, average, 2)
    before = list(module.parameters())
    places = [parameter.data_ptr() for parameter in before]
    module.embedding.weight.sum().backward()
    with average.in_place():
        assert [parameter.data_ptr() for parameter in module.parameters()] == places
        assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(now is then for now, then in zip(module.parameters(), before, strict=True))
    assert torch.equal(module.embedding.weight.grad, torch.ones(5, 3))
    assert not any(mean.requires_grad for mean in average.means)


def test_the_mean_of_a_noisy_descent_is_better_than_where_it_ends():
    layer, truth = nn.Linear(8, 1, bias=False), torch.randn(1, 8)
    average = WeightAverage(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    for step in range(600):
        optimizer.zero_grad()
        x = torch.randn(4, 8)
        (layer(x) - x @ truth.T - torch.randn(4, 1)).square().mean().backward()
        optimizer.step()
        if step >= 100:
            average.update()
    last = (layer.weight - truth).norm().item()
    with average.in_place():
        assert (layer.weight - truth).norm().item() < 0.5 * last


@pytest.mark.parametrize(("emphasis", "rising"), [(0, [1, 1, 1, 1]), (1, [1, 2, 3, 4]), (2, [1, 3, 6, 10])])
def test_an_emphasis_lets_later_weights_count_more(emphasis, rising):
    module = Tied().double()
    average = WeightAverage(module, emphasis=emphasis)
    path = wander(module, average, 4)
    torch.testing.assert_close(averaged(average, module), weighted(path, [x / sum(rising) for x in rising]))


@pytest.mark.parametrize(("emphasis", "share"), [(0, 1 / 2), (2, 1 / 5), (8, 1 / 13)])
@pytest.mark.parametrize("steps", [300, 3000])
def test_half_of_a_mean_is_of_the_same_share_however_long_it_is(emphasis, share, steps):
    module = nn.Linear(1, 1, bias=False).double()
    average = WeightAverage(module, emphasis=emphasis)
    for step in range(steps):
        module.weight.data.fill_(step >= steps * (1 - share))
        average.update()
    with average.in_place():
        assert module.weight.item() == pytest.approx(0.5, abs=0.02)
