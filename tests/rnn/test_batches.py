"""Windows of text: nothing lost, nothing twice, targets one step ahead of inputs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmkit.rnn.batches import Reader, cuts, hide_singletons, streams, windows
from lmkit.text.vocabulary import EOS, UNK


@given(length=st.integers(1, 60), batch_size=st.integers(1, 9), bptt=st.integers(1, 9))
def test_windows_cover_the_text_once(length: int, batch_size: int, bptt: int) -> None:
    ids = np.arange(3, 3 + length)
    columns = streams(ids, batch_size)
    pieces = list(windows(columns, bptt))
    targets = np.concatenate([piece.targets for piece in pieces])
    inputs = np.concatenate([piece.inputs for piece in pieces])
    assert all(len(piece.inputs) < 2 * bptt and piece.inputs.shape == piece.targets.shape for piece in pieces)
    assert [piece.first for piece in pieces] == [True, *[False] * (len(pieces) - 1)]
    read = targets.T.flatten().tolist()  # stream after stream
    assert read == ids[: len(read)].tolist()
    assert length - len(read) < columns.shape[1]
    assert inputs[0, 0] == EOS  # before the text
    assert np.array_equal(inputs[1:], targets[:-1])
    assert inputs[0, 1:].tolist() == targets[-1, :-1].tolist()  # a stream begins where the one before it ends


def test_words_met_once_are_sometimes_unknown() -> None:
    ids = np.array([5, 6, 5, 7, EOS, 8, EOS])
    hidden = np.array([hide_singletons(ids, 9, np.random.default_rng(i)) for i in range(400)])
    share = (hidden == UNK).mean(axis=0)
    assert (share[[0, 2, 4, 6]] == 0).all()
    assert ((share[[1, 3, 5]] > 0.4) & (share[[1, 3, 5]] < 0.6)).all()
    with_unk = np.array([5, UNK, 7, EOS])
    assert np.array_equal(hide_singletons(with_unk, 9, np.random.default_rng(0)), with_unk)


def test_words_that_a_model_knows_are_never_hidden() -> None:
    ids = np.array([5, 6, 7, 8, EOS])
    hidden = np.array([hide_singletons(ids, 9, np.random.default_rng(i), known=7) for i in range(100)])
    assert (hidden[:, :2] == ids[:2]).all()
    assert (hidden[:, 2:4] == UNK).any(axis=0).all()


@given(length=st.integers(1, 400), bptt=st.integers(1, 40), seed=st.integers(0, 9) | st.none())
def test_cuts_go_from_end_to_end(length: int, bptt: int, seed: int | None) -> None:
    edges = cuts(length, bptt, None if seed is None else np.random.default_rng(seed))
    assert (edges[0], edges[-1]) == (0, length)
    sizes = np.diff(edges)
    assert (sizes > 0).all()
    assert (sizes < 2 * bptt + bptt / 2 + 8).all()


def test_varied_windows_vary() -> None:
    sizes = np.diff(cuts(70_000, 70, np.random.default_rng(0)))
    assert 66 < np.median(sizes) < 74
    assert 0.02 < (sizes < 45).mean() < 0.09
    assert len(set(sizes.tolist())) > 10


@given(
    length=st.integers(20, 300),
    batch_size=st.integers(1, 5),
    bptt=st.integers(2, 20),
    vary=st.booleans(),
    steps=st.integers(0, 60),
)
def test_a_reader_goes_on_from_any_window(
    length: int, batch_size: int, bptt: int, vary: bool, steps: int
) -> None:
    ids = np.random.default_rng(1).integers(3, 30, length)
    options = {"vocab_size": 30, "batch_size": batch_size, "bptt": bptt, "seed": 7, "vary": vary}
    one, other = Reader(ids, **options), Reader(ids, **options)
    for _ in range(steps):
        next(one)
    other.seek(one.epoch, one.window)
    for _ in range(5):
        left, right = next(one), next(other)
        assert np.array_equal(left.inputs, right.inputs)
        assert np.array_equal(left.targets, right.targets)
        assert left.first == right.first


def test_each_pass_is_cut_elsewhere() -> None:
    reader = Reader(np.arange(3, 1003), vocab_size=1003, batch_size=1, bptt=50)
    firsts = set()
    for epoch in range(8):
        reader.seek(epoch, 0)
        firsts.add(int(next(reader).targets[0, 0]))
    assert len(firsts) > 4
