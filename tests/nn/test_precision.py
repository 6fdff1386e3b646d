"""What training multiplies in, and the scale that keeps small gradients alive."""

from __future__ import annotations

import pytest
import torch

from lmkit.errors import UsageError
from lmkit.nn import precision
from lmkit.nn.precision import Precision, fastest

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("name", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_network_is_read_in_that_precision_and_nothing_outside(name, expected):
    a = torch.ones(2, 2)
    with Precision(name, CPU).step(), Precision(name, CPU).forwards():
        assert (a @ a).dtype == expected
    assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize(("name", "device"), [("float16", "cpu"), ("tf32", "mps"), ("float8", "cuda")])
def test_a_precision_that_the_device_has_not_is_refused_with_those_it_has(name, device):
    with pytest.raises(UsageError, match=f"'{name}' is no precision of {device}.*float32"):
        Precision(name, torch.device(device))


@pytest.mark.parametrize(("name", "allowed"), [("float32", False), ("tf32", True), ("float16", False)])
def test_float32_is_rounded_to_tf32_only_where_asked_for(name, allowed):
    parts = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [part.allow_tf32 for part in parts]
    with Precision(name, CUDA).step():
        assert [part.allow_tf32 for part in parts] == [allowed, allowed]
    assert [part.allow_tf32 for part in parts] == before


def test_a_scale_falls_by_half_with_each_overflow_and_rises_after_many_good_steps():
    half = Precision("float16", CUDA)
    begin = half.scale
    assert half.adapt(finite=False)
    assert half.scale == begin / 2
    for _ in range(1999):
        assert not half.adapt(finite=True)
    assert half.scale == begin / 2
    half.adapt(finite=True)
    assert half.scale == begin


def test_a_scale_of_one_is_no_cure():
    half = Precision("float16", CUDA)
    cures = [half.adapt(finite=False) for _ in range(20)]
    assert (sum(cures), half.scale) == (16, 1.0)
    assert not Precision("bfloat16", CPU).adapt(finite=False)


def test_gradients_of_a_scaled_loss_come_back_to_their_size():
    half = Precision("float16", CUDA)
    dense, rows, without = (torch.zeros(3, requires_grad=True) for _ in range(3))
    dense.grad = half.scale * torch.tensor([1.0, 2.0, 3.0])
    rows.grad = torch.sparse_coo_tensor(
        [[1, 1]], half.scale * torch.tensor([4.0, 5.0]), (3,), check_invariants=True
    )
    half.unscale([dense, rows, without])
    assert dense.grad.tolist() == [1.0, 2.0, 3.0]
    assert rows.grad.to_dense().tolist() == [0.0, 9.0, 0.0]


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"float32": 1.0, "tf32": 0.2, "bfloat16": 0.1, "float16": 0.1}, "bfloat16"),
        ({"float32": 1.0, "tf32": 1.0, "bfloat16": 3.0, "float16": 0.2}, "float16"),
        ({"float32": 1.0, "tf32": 0.5, "bfloat16": 0.45, "float16": 0.45}, "tf32"),
        ({"float32": 1.0, "tf32": 0.9, "bfloat16": 0.9, "float16": 0.9}, "float32"),
    ],
)
def test_a_narrower_precision_must_be_worth_it(monkeypatch, seconds, chosen):
    monkeypatch.setattr(precision, "_seconds", lambda tried, rows: 3000 + rows * seconds[tried.name])
    assert fastest(CUDA) == chosen


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_what_takes_long_to_begin_may_still_be_the_fastest(monkeypatch, device):
    def seconds(precision: Precision, rows: int) -> float:
        return rows if precision.name == "float32" else 50 + rows / 3

    monkeypatch.setattr(precision, "_seconds", seconds)
    assert fastest(device) == ("tf32" if device == CUDA else "bfloat16")


def test_what_is_hopeless_with_a_few_rows_is_not_tried_with_many(monkeypatch):
    tried = []

    def seconds(precision: Precision, rows: int) -> float:
        tried.append((precision.name, rows))
        return rows * {"float32": 1.0, "bfloat16": 300.0}[precision.name]

    monkeypatch.setattr(precision, "_seconds", seconds)
    assert fastest(CPU) == "float32"
    few, many = precision._ROWS["cpu"]
    assert few < many
    assert set(tried) == {
        ("float32", few),
        ("bfloat16", few),
    }  # and who is left alone need not be measured again


def test_what_disturbs_a_measurement_decides_nothing(monkeypatch):
    def seconds(precision: Precision, rows: int) -> float:
        undisturbed = rows * {"float32": 1.0, "bfloat16": 0.5}[precision.name]
        disturbed.append(precision.name)
        return 4 * undisturbed if disturbed.count(precision.name) % 3 else undisturbed

    monkeypatch.setattr(precision, "_seconds", seconds)
    for before in ([], ["bfloat16"], ["float32"], ["float32", "float32"]):
        disturbed = before
        assert fastest(CPU) == "bfloat16"


def test_the_fastest_is_one_that_the_device_has():
    assert fastest(CPU) in ("float32", "bfloat16")
    assert fastest(torch.device("mps")) == "float32"


def test_a_gpu_measures_strictly_unless_told_otherwise(cuda):
    precision_of = Precision("tf32", cuda)
    a = torch.rand(512, 512, device=cuda)
    exact = a.double() @ a.double()
    with precision_of.step():
        rounded = a @ a
    assert (a @ a - exact).abs().max() < (rounded - exact).abs().max()
