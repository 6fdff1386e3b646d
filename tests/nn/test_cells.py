import copy

import numpy as np
import pytest
import torch

from lmkit.errors import UsageError
from lmkit.nn.cells import CELLS, make_cell

T, B, E, H = 6, 3, 4, 5
KINDS = [
    ("rnn", "tanh"),
    ("rnn", "relu"),
    ("gru", "tanh"),
    ("lstm", "tanh"),
    ("sru", "tanh"),
    ("mogrifier", "tanh"),
    ("mlp", "tanh"),
    ("mlp", "sigmoid"),
]
each_kind = pytest.mark.parametrize(("kind", "activation"), KINDS)


def make(kind, activation="tanh", dtype=torch.float32):
    cell = make_cell(kind, input_size=E, hidden_size=H, activation=activation).to(dtype)
    state = tuple(torch.randn_like(part) for part in cell.initial_state(B))
    return cell, torch.randn(T, B, E, dtype=dtype), state


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


PHI = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": sigmoid}


def oracle(kind, activation, cell, x, state):
    """The textbook equations, one step at a time, in numpy."""
    weights = [p.detach().numpy() for p in cell.parameters()]
    state = [part.numpy() for part in state]
    outputs = []
    for x_t in x.numpy():
        if kind == "sru":
            w, b, w_skip = weights
            z, f, r = np.split(x_t @ w.T + b, 3, axis=1)
            c = sigmoid(f + 1) * state[0] + (1 - sigmoid(f + 1)) * z
            h = sigmoid(r) * np.tanh(c) + (1 - sigmoid(r)) * (x_t @ w_skip.T)
            state = [c]
        elif kind == "mogrifier":
            h, gated = state[0], x_t
            for number, gate in enumerate(cell.rounds):
                down, up, bias = [p.detach().numpy() for p in gate.parameters()]
                if number % 2:
                    h = 2 * sigmoid(gated @ down.T @ up.T + bias) * h
                else:
                    gated = 2 * sigmoid(h @ down.T @ up.T + bias) * gated
            w_x, w_h, b_x, b_h = [p.detach().numpy() for p in cell.cell.parameters()]
            i, f, g, o = np.split(gated @ w_x.T + b_x + h @ w_h.T + b_h, 4, axis=1)
            c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            state = [h, c]
        elif kind == "mlp":
            w, b = weights
            h = PHI[activation](x_t @ w.T + b)
        else:
            w_x, w_h, b_x, b_h = weights
            h = state[0]
            from_x, from_h = x_t @ w_x.T + b_x, h @ w_h.T + b_h
        if kind == "rnn":
            h = PHI[activation](from_x + from_h)
            state = [h]
        elif kind == "lstm":
            i, f, g, o = np.split(from_x + from_h, 4, axis=1)
            c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            state = [h, c]
        elif kind == "gru":
            (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(from_x, 3, axis=1), np.split(from_h, 3, axis=1)
            z = sigmoid(z_x + z_h)
            h = (1 - z) * np.tanh(n_x + sigmoid(r_x + r_h) * n_h) + z * h
            state = [h]
        outputs.append(h)
    return np.stack(outputs), state


def test_every_kind_is_tested_here():
    assert {kind for kind, _ in KINDS} == set(CELLS)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("length", [T, 1])
def test_equals_the_textbook_equations(kind, activation, dtype, gradients, length):
    cell, x, state = make(kind, activation, dtype)
    with torch.set_grad_enabled(gradients):
        y, after = cell(x[:length], state)
    expected, expected_after = oracle(kind, activation, cell, x[:length], state)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=tolerance, atol=tolerance)
    assert len(after) == len(state)
    for got, want in zip(after, expected_after, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=tolerance, atol=tolerance)


@each_kind
def test_in_bulk_equals_step_by_step_and_any_split(kind, activation):
    cell, x, state = make(kind, activation)
    with torch.no_grad():
        whole, last = cell(x, state)
        for pieces in ([1] * T, [2, 1, 3], [5, 1]):
            carried, outputs = state, []
            for piece in x.split(pieces):
                y, carried = cell(piece, carried)
                outputs.append(y)
            torch.testing.assert_close(torch.cat(outputs), whole)
            for got, want in zip(carried, last, strict=True):
                torch.testing.assert_close(got, want)


@each_kind
def test_rows_of_a_batch_do_not_know_of_each_other(kind, activation):
    cell, x, state = make(kind, activation)
    whole, _ = cell(x, state)
    for row in range(B):
        alone, _ = cell(x[:, row : row + 1], tuple(part[row : row + 1] for part in state))
        torch.testing.assert_close(alone, whole[:, row : row + 1])


@each_kind
def test_the_state_given_is_not_changed(kind, activation):
    cell, x, state = make(kind, activation)
    before = tuple(part.clone() for part in state)
    with torch.no_grad():
        cell(x[:1], state)
        cell(x, state)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))


@each_kind
def test_gradient_equals_finite_differences(kind, activation, central_difference):
    cell, x, state = make(kind, activation, torch.float64)

    def scalar(x, *state):
        y, after = cell(x, state)
        return (y * y).sum() + sum(part.sum() for part in after)

    x.requires_grad_()
    scalar(x, *state).backward()
    measured = central_difference(lambda p: scalar(p, *state).detach(), x.detach())
    torch.testing.assert_close(x.grad, measured, rtol=1e-5, atol=1e-7)
    assert torch.autograd.gradcheck(
        scalar, (x[:2].detach().requires_grad_(), *(s.requires_grad_() for s in state))
    )


def test_only_the_mlp_has_no_memory():
    for kind in CELLS:
        cell, x, state = make(kind)
        changed = x.clone()
        changed[0] += 1
        later, later_changed = (cell(sequence, state)[0][-1] for sequence in (x, changed))
        assert torch.equal(later, later_changed) == (kind == "mlp")


def test_an_rnn_without_its_recurrent_term_is_the_mlp():
    rnn, x, state = make("rnn")
    mlp = make_cell("mlp", input_size=E, hidden_size=H)
    with torch.no_grad():
        rnn.layer.weight_hh_l0.zero_()
        mlp.layer.weight.copy_(rnn.layer.weight_ih_l0)
        mlp.layer.bias.copy_(rnn.layer.bias_ih_l0 + rnn.layer.bias_hh_l0)
    torch.testing.assert_close(rnn(x, state)[0], mlp(x, ())[0])


@pytest.mark.parametrize(
    ("kind", "count"), [("rnn", 1), ("gru", 1), ("lstm", 2), ("sru", 1), ("mogrifier", 2), ("mlp", 0)]
)
def test_initial_state_is_zeros_of_the_type_of_the_weights(kind, count):
    cell, _, _ = make(kind, dtype=torch.float64)
    state = cell.initial_state(7)
    assert len(state) == count
    assert all(part.shape == (7, H) and part.dtype == torch.float64 and not part.any() for part in state)


@each_kind
def test_a_copy_is_a_cell_of_its_own(kind, activation):
    cell, x, state = make(kind, activation)
    other = copy.deepcopy(cell)
    with torch.no_grad():
        torch.testing.assert_close(other(x, state)[0], cell(x, state)[0])
        next(other.parameters()).add_(1)
        for length in (1, T):
            assert not torch.allclose(other(x[:length], state)[0], cell(x[:length], state)[0])


def test_masked_weights_reach_the_bulk_and_the_single_step():
    cell, x, state = make("lstm")
    dropped = {"layer.weight_hh_l0": torch.zeros_like(cell.layer.weight_hh_l0)}
    bare = copy.deepcopy(cell)
    with torch.no_grad():
        bare.layer.weight_hh_l0.zero_()
        for length in (1, T):
            got, _ = torch.func.functional_call(cell, dropped, (x[:length], state))
            torch.testing.assert_close(got, bare(x[:length], state)[0])


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="unknown cell 'lsmt'; did you mean 'lstm'"):
        make("lsmt")
    with pytest.raises(
        UsageError, match="the cell rnn cannot have the activation 'sigmoid'; use relu or tanh"
    ):
        make("rnn", "sigmoid")
    for kind in ("gru", "lstm"):
        with pytest.raises(UsageError, match="cannot have the activation 'relu'"):
            make(kind, "relu")
    with pytest.raises(UsageError, match="unknown activation"):
        make("mlp", "swoosh")


@each_kind
def test_a_gpu_gives_what_the_cpu_gives(kind, activation, cuda):
    cell, x, state = make(kind, activation, torch.float64)
    with torch.no_grad():
        expected, _ = cell(x, state)
        cell.to(cuda)
        for length in (1, T):
            y, after = cell(x[:length].to(cuda), tuple(part.to(cuda) for part in state))
            torch.testing.assert_close(y.cpu(), expected[:length])
            assert all(part.device == cuda for part in after)
