import numpy as np
import pytest
import torch
from torch import nn

from lmkit.errors import ModelFormatError
from lmkit.nn.saving import load_arrays, state_arrays
from lmkit.nn.stack import RecurrentStack


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.decoder = nn.Linear(3, 7)
        self.decoder.weight = self.embedding.weight
        self.register_buffer("count", torch.tensor(5))


def test_round_trip_is_exact():
    first, second = (
        RecurrentStack(kind="lstm", input_size=3, hidden_size=4, num_layers=2, residual=True) for _ in "ab"
    )
    assert load_arrays(second, state_arrays(first)) == []
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(
        first(x, first.initial_state(2)), second(x, second.initial_state(2)), rtol=0, atol=0
    )


def test_arrays_are_copies():
    linear = nn.Linear(2, 3)
    arrays = state_arrays(linear)
    before = arrays["weight"].copy()
    nn.init.zeros_(linear.weight)
    assert np.array_equal(arrays["weight"], before)


def test_tied_parameters_are_saved_once_and_stay_tied():
    first, second = Tied(), Tied()
    arrays = state_arrays(first)
    assert sorted(arrays) == ["count", "decoder.bias", "embedding.weight"]
    load_arrays(second, arrays)
    assert second.decoder.weight is second.embedding.weight
    assert torch.equal(second.decoder.weight, first.embedding.weight)


def test_a_tied_module_takes_both_names_if_they_agree():
    module = Tied()
    arrays = {**state_arrays(module), "decoder.weight": state_arrays(module)["embedding.weight"]}
    assert load_arrays(module, arrays) == []
    arrays["decoder.weight"] = arrays["decoder.weight"] + 1
    with pytest.raises(
        ModelFormatError, match=r"tied here, but different: 'embedding.weight', 'decoder.weight'"
    ):
        load_arrays(module, arrays)


def test_parts_of_one_tensor_are_not_taken_for_tied():
    module, whole = nn.Module(), torch.arange(6.0)
    module.register_buffer("first", whole[:3])
    module.register_buffer("last", whole[3:])
    assert {name: array.tolist() for name, array in state_arrays(module).items()} == {
        "first": [0, 1, 2],
        "last": [3, 4, 5],
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_every_float_type_round_trips(dtype):
    first, second = nn.Linear(3, 3).to(dtype), nn.Linear(3, 3).to(dtype)
    load_arrays(second, state_arrays(first))
    assert torch.equal(first.weight, second.weight)
    assert second.weight.dtype == dtype


def test_read_only_strided_and_foreign_arrays_are_taken():
    linear = nn.Linear(2, 2, bias=False)
    wanted = np.arange(4, dtype=np.float32).reshape(2, 2)
    frozen = wanted.copy()
    frozen.flags.writeable = False
    for array in (
        frozen,
        np.asfortranarray(wanted),
        wanted[::-1].copy()[::-1],
        wanted.astype(">f4"),
        wanted.astype("f8"),
    ):
        nn.init.zeros_(linear.weight)
        load_arrays(linear, {"weight": array})
        assert linear.weight.tolist() == wanted.tolist()


def test_everything_that_does_not_fit_is_listed_at_once_and_nothing_is_written():
    module = Tied()
    before = state_arrays(module)
    arrays = {"embedding.weight": np.ones((8, 3)), "count": np.array(1.5), "scale": np.ones(2)}
    with pytest.raises(ModelFormatError) as caught:
        load_arrays(module, {**arrays, "decoder.bias": np.ones(7)})
    for line in (
        "shape: 'embedding.weight' is (8, 3), the model has (7, 3)",
        "type: 'count' is float64, the model has int64",
        "unexpected: 'scale' (2,)",
    ):
        assert line in str(caught.value)
    with pytest.raises(ModelFormatError, match=r"missing: 'decoder.bias' \(7,\)"):
        load_arrays(module, arrays)
    assert all(np.array_equal(before[name], array) for name, array in state_arrays(module).items())


def test_without_strict_what_fits_is_loaded_and_the_rest_is_told():
    module = Tied()
    told = load_arrays(module, {"decoder.bias": np.ones(7), "count": np.array([1, 2])}, strict=False)
    assert sorted(told) == ["missing: 'embedding.weight' (7, 3)", "shape: 'count' is (2,), the model has ()"]
    assert module.decoder.bias.tolist() == [1] * 7
    assert module.count.item() == 5


def test_objects_and_text_are_refused():
    for array in (np.array([{}, {}], dtype=object), np.array(["a", "b"])):
        with pytest.raises(ModelFormatError, match="type: 'bias'"):
            load_arrays(nn.Linear(1, 2), {"weight": np.ones((2, 1)), "bias": array})


def test_from_a_gpu_and_back(cuda):
    first, second = Tied().to(cuda), Tied()
    load_arrays(second, state_arrays(first))
    assert torch.equal(first.embedding.weight.cpu(), second.decoder.weight)
    load_arrays(first, state_arrays(second))
    assert first.decoder.weight is first.embedding.weight
