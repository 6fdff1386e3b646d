"""Windows of text: nothing lost, nothing twice, targets one step ahead of inputs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmkit.rnn.batches import hide_singletons, streams, windows
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
