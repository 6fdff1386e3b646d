import pytest
import torch
from torch import nn

from lmkit.nn.row_rmsprop import RowRmsProp, move_rows

V, E = 40, 6
SHAPES = [(V, E), (V,), (V, 1), (V, 2, 3)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw(shape: tuple[int, ...], rows: int, dtype: torch.dtype = torch.float32):
    """Some rows, in order, and a gradient for each."""
    ids = torch.randperm(shape[0])[:rows].sort().values
    return ids, torch.randn(rows, *shape[1:], dtype=dtype)


def sparse(ids: torch.Tensor, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.sparse_coo_tensor(ids[None], values, shape, check_invariants=True).coalesce()


def step(optimizer: RowRmsProp, parameter: nn.Parameter, ids: torch.Tensor, values: torch.Tensor) -> None:
    parameter.grad = sparse(ids, values, tuple(parameter.shape))
    optimizer.step()


def rmsprop(weights: list[list[float]], steps, lr: float, beta: float) -> list[list[float]]:
    """The formulas, number by number; a row without a gradient is left as it is."""
    square = [[0.0] * len(row) for row in weights]
    for t, (ids, values) in enumerate(steps, 1):
        for i, gradient in zip(ids, values, strict=True):
            for j, g in enumerate(gradient):
                square[i][j] = beta * square[i][j] + (1 - beta) * g * g
                weights[i][j] -= lr * g / ((square[i][j] / (1 - beta**t)) ** 0.5 + 1e-8)
    return weights


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["operations", "compiled"]
)
@pytest.mark.parametrize("beta", [0.999, 0.95, 0.5], ids=str)
def test_is_rmsprop_on_the_rows_that_have_a_gradient(dtype, tolerance, beta):
    table = nn.Parameter(torch.randn(V, E, dtype=dtype))
    steps = [draw((V, E), rows, dtype) for rows in (5, 40, 1, 12, 12, 30)]
    expected = rmsprop(table.tolist(), [(ids.tolist(), values.tolist()) for ids, values in steps], 0.05, beta)
    optimizer = RowRmsProp([table], lr=0.05, beta=beta)
    for ids, values in steps:
        step(optimizer, table, ids, values)
    torch.testing.assert_close(
        table.detach(), torch.tensor(expected, dtype=dtype), rtol=tolerance, atol=tolerance
    )


@each_shape
def test_the_compiled_loop_equals_its_plain_twin(shape):
    table = nn.Parameter(torch.randn(shape))
    optimizer = RowRmsProp([table], lr=0.03)
    weight, square = table.detach().clone(), torch.zeros(shape)
    for t in range(1, 8):
        ids, values = draw(shape, 4 * t)
        move_rows(weight, square, ids, values, 0.03, (1 - 0.99**t) ** 0.5, 0.99)
        step(optimizer, table, ids, values)
        torch.testing.assert_close(table.detach(), weight)
        torch.testing.assert_close(optimizer.state[table]["square"], square)


@each_shape
def test_equals_the_adam_of_torch_where_every_row_has_a_gradient(shape):
    table = nn.Parameter(torch.randn(shape))
    other = nn.Parameter(table.detach().clone())
    optimizer = RowRmsProp([table], lr=0.01)
    reference = torch.optim.Adam([other], lr=0.01, betas=(0.0, 0.99))
    for _ in range(10):
        gradient = torch.randn(shape)
        step(optimizer, table, torch.arange(V), gradient)
        other.grad = gradient
        reference.step()
    torch.testing.assert_close(table, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "operations"])
@each_shape
def test_rows_without_a_gradient_are_untouched(shape, dtype):
    table = nn.Parameter(torch.randn(shape, dtype=dtype))
    optimizer = RowRmsProp([table], lr=0.1)
    step(optimizer, table, *draw(shape, V, dtype))  # every row has a mean square
    memory = optimizer.state[table]
    for _ in range(3):
        before = [tensor.detach().clone() for tensor in (table, memory["square"])]
        ids, values = draw(shape, 7, dtype)
        step(optimizer, table, ids, values)
        rest = torch.ones(V, dtype=torch.bool).index_fill_(0, ids, False)
        for old, new in zip(before, (table, memory["square"]), strict=True):
            assert torch.equal(old[rest], new[rest])
            assert torch.all(old[ids] != new[ids])


def test_the_first_step_is_the_rate_in_the_direction_of_the_sign():
    table = nn.Parameter(torch.zeros(3, 2))
    step(
        RowRmsProp([table], lr=0.5), table, torch.tensor([0, 2]), torch.tensor([[1e-3, -4.0], [90.0, -1e-3]])
    )
    torch.testing.assert_close(
        table.detach(), torch.tensor([[-0.5, 0.5], [0, 0], [-0.5, 0.5]]), rtol=1e-4, atol=0
    )


def test_a_gradient_of_zeros_moves_nothing_at_first():
    table = nn.Parameter(torch.ones(3, 2))
    step(RowRmsProp([table], lr=0.5), table, torch.tensor([1]), torch.zeros(1, 2))
    assert torch.equal(table.detach(), torch.ones(3, 2))


@pytest.mark.parametrize("shape", [(V, E), (V,)], ids=str)
def test_a_gradient_without_rows_moves_nothing(shape):
    table = nn.Parameter(torch.randn(shape))
    before = table.detach().clone()
    optimizer = RowRmsProp([table], lr=0.1)
    step(optimizer, table, torch.zeros(0, dtype=torch.long), torch.zeros(0, *shape[1:]))
    assert torch.equal(table.detach(), before)


def test_a_parameter_without_a_gradient_is_passed_over():
    table, other = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(4))
    optimizer = RowRmsProp([table, other], lr=0.1)
    step(optimizer, table, torch.tensor([1]), torch.ones(1, 2))
    assert torch.equal(other.detach(), torch.ones(4))


def test_tables_and_groups_are_moved_each_at_its_own_rate():
    first, second = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(5))
    optimizer = RowRmsProp([{"params": [first]}, {"params": [second], "lr": 0.25}], lr=0.5)
    second.grad = sparse(torch.tensor([4]), torch.tensor([-1.0]), (5,))
    step(optimizer, first, torch.tensor([1]), torch.ones(1, 2))
    torch.testing.assert_close(first.detach(), torch.tensor([[0, 0], [-0.5, -0.5], [0, 0]]))
    torch.testing.assert_close(second.detach(), torch.tensor([0, 0, 0, 0, 0.25]))


def test_the_rate_of_a_step_is_that_of_its_group():
    table = nn.Parameter(torch.zeros(3, 2))
    optimizer = RowRmsProp([table], lr=0.5)
    optimizer.param_groups[0]["lr"] = 0.0
    step(optimizer, table, torch.tensor([1]), torch.ones(1, 2))
    assert not table.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "operations"])
def test_is_deterministic(dtype):
    start = torch.randn(V, E, dtype=dtype)
    steps = [draw((V, E), 9, dtype) for _ in range(5)]

    def run() -> torch.Tensor:
        table = nn.Parameter(start.clone())
        optimizer = RowRmsProp([table], lr=0.02)
        for ids, values in steps:
            step(optimizer, table, ids, values)
        return table.detach()

    assert torch.equal(run(), run())


def test_it_takes_what_an_embedding_gives_once_it_is_coalesced():
    table = nn.Embedding(V, E, sparse=True)
    dense = nn.Embedding(V, E, _weight=table.weight.detach().clone())
    tokens = torch.tensor([3, 7, 3, 3, 12])
    target = torch.randn(5, E)
    for embedding in (table, dense):
        (embedding(tokens) - target).square().sum().backward()
    table.weight.grad = table.weight.grad.coalesce()
    RowRmsProp(table.parameters(), lr=0.1).step()
    torch.optim.Adam(dense.parameters(), lr=0.1, betas=(0.0, 0.99)).step()
    torch.testing.assert_close(table.weight, dense.weight)


def test_finds_a_minimum():
    table, truth = nn.Parameter(torch.zeros(V, E)), torch.randn(V, E)
    optimizer = RowRmsProp([table], lr=0.1)
    for number in range(400):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - number / 400)
        ids = torch.randperm(V)[:20].sort().values
        step(optimizer, table, ids, table.detach()[ids] - truth[ids])
    torch.testing.assert_close(table.detach(), truth, atol=1e-2, rtol=0)


def test_on_a_gpu(cuda):
    table = nn.Parameter(torch.randn(V, E))
    other = nn.Parameter(table.detach().to(cuda))
    here, there = RowRmsProp([table], lr=0.1), RowRmsProp([other], lr=0.1)
    for _ in range(3):
        ids, values = draw((V, E), 9)
        step(here, table, ids, values)
        step(there, other, ids.to(cuda), values.to(cuda))
    torch.testing.assert_close(other.detach().cpu(), table.detach(), rtol=1e-4, atol=1e-6)


def test_what_was_made_of_a_table_can_tell_that_it_has_moved():
    table = nn.Parameter(torch.randn(V, E))
    before = table._version
    step(RowRmsProp([table], lr=0.03), table, *draw((V, E), 4))
    assert table._version > before
