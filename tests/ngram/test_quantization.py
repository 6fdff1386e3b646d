"""Quantisation: compact columns against plain ones, rounding against its definition, files against hostile hands."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmkit
from lmkit.errors import ModelFormatError, UsageError
from lmkit.model import LanguageModel
from lmkit.ngram import quantization
from lmkit.ngram.kernels import packing
from lmkit.ngram.kernels.packing import Packed, Unary
from lmkit.ngram.quantization import QuantizedTrie, deviation, quantize
from lmkit.ngram.trie import Trie
from tests.conftest import STORY

OPTIONS = {
    "unigrams": {"order": 1},
    "bigrams": {"order": 2},
    "trigrams": {"order": 3},
    "5-grams": {"order": 5},
    "pruned": {"order": 4, "prune": (0, 1)},
    "characters": {"order": 6, "tokenizer": "char"},
    "bytes": {"order": 3, "tokenizer": "byte"},
}
_trained: dict[str, lmkit.NgramModel] = {}


@pytest.fixture(params=OPTIONS, scope="module")
def model(request: pytest.FixtureRequest) -> lmkit.NgramModel:
    if request.param not in _trained:
        options = {"tokenizer": "word", **OPTIONS[request.param]}
        _trained[request.param] = lmkit.train(STORY * 3, holdout=0, **options)  # type: ignore[assignment]
    return _trained[request.param]


def entries(column: object, size: int, dtype: type) -> np.ndarray:
    out = np.empty(size, dtype)
    packing.entries(column, 0, out)
    return out


def decoded(trie: QuantizedTrie) -> Trie:
    """Unpack everything: the plain form of the same numbers."""
    nodes, contexts = int(trie.level[-1]), int(trie.level[-2])
    word, prob, backoff, first = trie.columns
    return Trie(
        level=trie.level,
        word=entries(word, nodes, np.int32),
        log10_prob=entries(prob, nodes, np.float32),
        log10_backoff=entries(backoff, contexts, np.float32),
        first=entries(first, contexts + 1, np.uint32),
    )


@given(width=st.integers(1, 32), data=st.data())
@settings(max_examples=60)
def test_packed_numbers_are_read_as_they_were_written(width: int, data: st.DataObject) -> None:
    values = np.array(data.draw(st.lists(st.integers(0, 2**width - 1), max_size=300)), np.int64)
    bits = np.zeros((len(values) * width + 63) // 64 + 1, np.uint64)
    for begin in range(0, len(values), 128):
        packing.pack(bits, width, begin, values[begin : begin + 128])
    assert np.array_equal(entries(Packed(bits, width), len(values), np.int64), values)


@given(
    children=st.lists(st.sampled_from([0, 1, 1, 2, 5, 70, 600, 5000]), max_size=400),
    exact=st.integers(0, 400),
)
@settings(max_examples=60)
def test_ascending_numbers_are_found_in_unary(children: list[int], exact: int) -> None:
    numbers = (17 + np.cumsum([0, *children])).astype(np.uint32)
    exact = min(exact, len(children))
    counted = numbers[exact:]
    blocks = (int(counted[-1] - counted[0]) + len(counted)) // packing.BLOCK + 1
    tree, ranks = np.zeros(blocks * packing.WORDS, np.uint64), np.empty(blocks, np.uint32)
    hints = np.empty((len(counted) - 1) // packing.HINT + 2, np.uint32)
    packing.mark(tree, counted)
    assert packing.count_ones(tree, ranks, hints) == len(counted)
    column = Unary(numbers[: exact + 1], tree, ranks, hints)
    assert np.array_equal(entries(column, len(numbers), np.uint32), numbers)
    pairs = np.empty((len(children), 2), np.int64)
    packing.pairs(column, pairs)
    assert np.array_equal(pairs, np.stack([numbers[:-1], numbers[1:]], axis=1))


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_the_tree_is_the_same_and_numbers_are_near(model: lmkit.NgramModel, bits: int) -> None:
    trie = model.trie
    packed = quantize(trie, bits)
    plain = decoded(packed)
    assert np.array_equal(plain.word, trie.word)
    assert np.array_equal(plain.first, trie.first)
    assert np.array_equal(packed._words(), trie.word)
    assert [packed._begin(g) for g in range(len(trie.first))] == trie.first.tolist()
    assert np.array_equal(plain.log10_prob[: trie.level[1]], trie.log10_prob[: trie.level[1]])
    if bits == 16:  # more codes than numbers
        assert plain.log10_prob == pytest.approx(trie.log10_prob, abs=2e-3)
        assert plain.log10_backoff == pytest.approx(trie.log10_backoff, abs=2e-2)
    else:
        for begin, end in zip(trie.level[1:-1], trie.level[2:], strict=True):
            assert len(np.unique(plain.log10_prob[begin:end])) <= 2**bits


@given(data=st.data())
@settings(max_examples=30)
def test_scores_are_those_of_the_numbers_unpacked(model: lmkit.NgramModel, data: st.DataObject) -> None:
    trie = quantize(model.trie, 8)
    packed = lmkit.NgramModel(tokenizer=model.tokenizer, trie=trie)
    plain = lmkit.NgramModel(tokenizer=model.tokenizer, trie=decoded(trie))
    tokens = st.sampled_from([0, *range(2, len(model.tokenizer.vocab)), 2])
    ids = np.array(data.draw(st.lists(tokens, max_size=200)), np.int32)
    found, state = packed.score_ids(ids)
    expected, same = plain.score_ids(ids)
    assert np.array_equal(found, expected)
    assert state == same
    assert np.array_equal(packed.next_logprobs(state), plain.next_logprobs(state))
    assert found == pytest.approx(LanguageModel.score_ids(packed, ids)[0], abs=2e-5)


def test_every_context_sums_nearly_to_one(model: lmkit.NgramModel) -> None:
    trie = quantize(model.trie, 8)
    packed = lmkit.NgramModel(tokenizer=model.tokenizer, trie=trie)
    state, largest = packed.start(), 0.0
    for token in model.tokenizer.encode_lines(STORY.split("\n")):
        largest = max(largest, abs(np.exp(packed.next_logprobs(state).astype(np.float64)).sum() - 1))
        state = packed.step(state, np.array([token]))
    assert largest <= deviation(trie) + 1e-5
    assert deviation(trie) < 0.02


def test_quantisation_is_deterministic_and_works_in_pieces(
    model: lmkit.NgramModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = quantize(model.trie, 8).arrays()
    made: list[int] = []

    def empty(size: int, dtype: type) -> np.ndarray:
        made.append(size)
        return np.full(size, 77, dtype)  # whatever was there before

    monkeypatch.setattr(quantization, "_CHUNK", 64)
    two = quantize(model.trie, 8, empty=empty).arrays()
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert made


def test_a_quantised_model_is_saved_named_and_exported(model: lmkit.NgramModel) -> None:
    packed = lmkit.NgramModel(tokenizer=model.tokenizer, trie=quantize(model.trie, 8))
    assert "|quantize:8|" in packed.signature()
    lmkit.save(packed, "m")
    loaded = lmkit.load("m", verify=True)
    assert loaded.signature() == packed.signature()
    lmkit.write_arpa(packed, "packed.arpa")
    lmkit.write_arpa(lmkit.NgramModel(tokenizer=model.tokenizer, trie=decoded(packed.trie)), "plain.arpa")  # type: ignore[arg-type]
    with open("packed.arpa", "rb") as one, open("plain.arpa", "rb") as two:
        assert one.read() == two.read()


def test_a_file_that_does_not_fit_is_refused_or_harmless(model: lmkit.NgramModel) -> None:
    vocab_size = len(model.tokenizer.vocab)
    arrays = quantize(model.trie, 8).arrays()
    rng = random.Random(3)
    ids = np.resize(model.tokenizer.encode_lines(STORY.split("\n")), 200)
    for name, array in arrays.items():
        for wrong in (array[:-1], array.astype(np.float64), array[None]):
            if len(array) or wrong.ndim != array.ndim:
                with pytest.raises(ModelFormatError):
                    QuantizedTrie.from_arrays({**arrays, name: wrong}, vocab_size, 8)
        for _ in range(40 if array.size else 0):
            broken = array.copy()
            data = broken.view(np.uint8).reshape(-1)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            try:
                trie = QuantizedTrie.from_arrays({**arrays, name: broken}, vocab_size, 8)
            except ModelFormatError:
                continue
            hurt = lmkit.NgramModel(tokenizer=model.tokenizer, trie=trie)
            _, state = hurt.score_ids(ids)
            with np.errstate(all="ignore"):
                hurt.next_logprobs(state)
    with pytest.raises(ModelFormatError):
        QuantizedTrie.from_arrays(arrays, vocab_size + 1, 8)
    with pytest.raises(ModelFormatError):
        QuantizedTrie.from_arrays(arrays, vocab_size, 7)


@pytest.mark.parametrize("bits", [0, 1, 17, "8x"])
def test_impossible_codes_are_refused(bits: object) -> None:
    with pytest.raises(UsageError, match="quantize"):
        lmkit.train(STORY, holdout=0, tokenizer="word", quantize=bits)


def test_training_quantises_and_says_so(tmp_path: Path) -> None:
    text = "the old fox ran .\nthe old owl sat .\n" * 60
    model = lmkit.train(text, holdout=0, quantize=8, output=tmp_path / "free")
    assert "|quantize:8|" in model.signature()
    lmkit.train(text, holdout=0, quantize=8, output=tmp_path / "bounded", memory="4G", temp=str(tmp_path))
    for name in ("model.safetensors", "vocab.txt"):
        assert (tmp_path / "free" / name).read_bytes() == (tmp_path / "bounded" / name).read_bytes()
    assert lmkit.load(tmp_path / "free").signature() == model.signature()
    with pytest.raises(lmkit.UsageError, match="quantize"):
        lmkit.train(text, quantize=1)
