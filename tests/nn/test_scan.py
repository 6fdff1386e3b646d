import pytest
import torch

from lmkit.nn.scan import scan


def plain(forget, update, first):
    h, out = first, []
    for f, u in zip(forget, update, strict=True):
        h = f * h + u
        out.append(h)
    return torch.stack(out)


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equals_the_recurrence_written_out_and_its_gradients(length, dtype):
    shapes = [(length, 3, 4), (length, 3, 4), (3, 4)]
    ours = [torch.rand(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    weight = torch.randn(length, 3, 4).to(dtype)
    (scan(*ours) * weight).sum().backward()
    (plain(*theirs) * weight).sum().backward()
    loose = {"rtol": 0.05, "atol": 0.05} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(scan(*ours), plain(*theirs), **loose)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, **loose)


def test_views_are_taken_as_they_are_read():
    gates = torch.rand(5, 2, 6).chunk(2, dim=-1)
    torch.testing.assert_close(scan(*gates, torch.zeros(2, 3)), plain(*gates, torch.zeros(2, 3)))


def test_gradcheck():
    inputs = [
        torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 2, 3), (4, 2, 3), (2, 3))
    ]
    assert torch.autograd.gradcheck(scan, inputs)
