"""Queries of a trie: in bulk and token by token the same, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmkit
from lmkit.model import LanguageModel
from lmkit.ngram.kernels import bulk, lookup
from lmkit.ngram.queries import Queries
from lmkit.text.vocabulary import BOS, EOS
from tests.conftest import STORY

MODELS = {
    "unigrams": {"order": 1},
    "bigrams": {"order": 2},
    "5-grams": {"order": 5},
    "pruned": {"order": 4, "prune": (0, 1)},
    "characters": {"order": 6, "tokenizer": "char"},
    "quantized": {"order": 5, "quantize": 8},
}
_trained: dict[str, lmkit.NgramModel] = {}


@pytest.fixture(params=MODELS, scope="module")
def model(request: pytest.FixtureRequest) -> lmkit.NgramModel:
    if request.param not in _trained:
        options = {"tokenizer": "word", **MODELS[request.param]}
        _trained[request.param] = lmkit.train(STORY * 3, holdout=0, **options)  # type: ignore[assignment]
    return _trained[request.param]


def both(trie: Queries, ids: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score token by token and in bulk, compare, and give what came of it."""
    results = []
    for kernel in (lookup.score_stream, bulk.score_bulk):
        state, out = nodes.copy(), np.empty(len(ids), np.float32)
        kernel(*trie.columns, state, ids, out)
        results.append((out, state))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])
    return results[0]


def texts(vocab_size: int, length: int) -> st.SearchStrategy[list[int]]:
    """Any tokens, line ends and blank lines often among them."""
    return st.lists(st.sampled_from([EOS, EOS, *range(vocab_size)]), max_size=length)


@given(data=st.data())
@settings(max_examples=60)
def test_bulk_scores_any_text_like_steps(model: lmkit.NgramModel, data: st.DataObject) -> None:
    one, two = (np.array(data.draw(texts(len(model.tokenizer.vocab), 40)), np.int32) for _ in range(2))
    state = model.start().nodes[0]
    first, state = both(model.trie, one, state)
    second, state = both(model.trie, two, state)
    plain, end = LanguageModel.score_ids(model, np.concatenate([one, two]))
    known = np.concatenate([one, two]) != BOS  # never predicted; its score is that of nothing
    assert np.concatenate([first, second])[known] == pytest.approx(plain[known], abs=2e-5)
    assert np.array_equal(end.nodes[0], state)


@pytest.mark.parametrize("line", [1, 7, bulk.PIECE - 1, bulk.PIECE, bulk.PIECE + 1, 3 * bulk.PIECE])
def test_lines_may_end_anywhere_in_a_piece(model: lmkit.NgramModel, line: int) -> None:
    story = model.tokenizer.encode_lines(STORY.split("\n"))
    ids = np.resize(story[story != EOS], 2 * bulk.PIECE + 99)
    ids[np.arange(len(ids)) % line == line - 1] = EOS
    both(model.trie, ids, model.start().nodes[0])
