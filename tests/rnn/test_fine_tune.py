"""Beginning from a trained network: what is kept to the bit, and what new words begin as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lmkit
from lmkit.config import RnnConfig, TextConfig
from lmkit.errors import UsageError
from lmkit.rnn.fine_tune import log_mean_unknown, settled
from lmkit.rnn.train import train
from lmkit.text.vocabulary import BOS, UNK
from lmkit.text.word import WordTokenizer

OLD = "".join(
    f"the {a} fox{i} saw the {b} owl\n" for i in range(30) for a, b in (("old", "red"), ("red", "old"))
)
NEW = "the old wolf saw the red owl\nthe red wolf saw the elk\n" * 20
STILL: dict[str, Any] = {"learning_rate": 0.0, "epochs": 0.01}  # the shortest training, which changes nothing
SMALL: dict[str, Any] = {"hidden_size": 12, "num_layers": 1, "dropout": 0.0, "device": "cpu", "threads": 1}


def fit(**options: Any) -> lmkit.RnnModel:
    model = lmkit.train(OLD, backend="rnn", tokenizer="word", holdout=0, **{**SMALL, "epochs": 10, **options})
    assert isinstance(model, lmkit.RnnModel)
    return model


def tuned(
    initial: lmkit.RnnModel, text: str = NEW, *, extend: bool = False, **options: Any
) -> lmkit.RnnModel:
    tokenizer, corpus = initial.tokenizer, lmkit.Corpus.from_text(text)
    ids = tokenizer.encode_corpus(corpus)
    if extend:
        tokenizer, ids = tokenizer.extended(corpus, options=TextConfig())
    report = options.pop("report", None)
    config = RnnConfig(**{"device": "cpu", "threads": 1, "dropout": 0.0, **options})
    return train(ids, tokenizer=tokenizer, config=config, initial=initial, report=report)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def initial(request: pytest.FixtureRequest) -> lmkit.RnnModel:
    return fit(tie_weights=request.param)


def test_without_new_words_it_begins_as_the_initial_model(initial: lmkit.RnnModel) -> None:
    model = tuned(initial, **STILL)
    before, after = initial.arrays(), model.arrays()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert model.config() == initial.config()
    assert np.array_equal(model.score(NEW.splitlines()), initial.score(NEW.splitlines()))


def test_the_initial_model_stays_as_it_is(initial: lmkit.RnnModel) -> None:
    before = {name: array.copy() for name, array in initial.arrays().items()}
    model = tuned(initial, extend=True, epochs=5)
    assert len(model.tokenizer.vocab) > len(initial.tokenizer.vocab)
    assert all(np.array_equal(array, before[name]) for name, array in initial.arrays().items())


def test_old_words_keep_their_shares_of_what_new_words_leave(initial: lmkit.RnnModel) -> None:
    model = tuned(initial, extend=True, **STILL)
    old = initial.start()
    new = model.start()
    known = np.delete(np.arange(len(initial.tokenizer.vocab)), BOS)
    for token in initial.tokenizer.encode("the old fox1 saw the"):
        old, new = initial.step(old, np.array([token])), model.step(new, np.array([token]))
        logprobs = model.next_logprobs(new)[0]
        assert np.exp(logprobs.astype(float)).sum() == pytest.approx(1.0, abs=1e-5)
        assert np.ptp(logprobs[known] - initial.next_logprobs(old)[0, known]) < 1e-4


def test_new_words_begin_about_as_likely_as_they_are_frequent(initial: lmkit.RnnModel) -> None:
    model = tuned(initial, extend=True, **STILL)
    ids = model.tokenizer.encode_corpus(lmkit.Corpus.from_text(NEW))
    mean: np.ndarray = np.zeros(len(model.tokenizer.vocab))
    state = model.start()
    for token in ids:
        mean += np.exp(model.next_logprobs(state)[0]) / len(ids)
        state = model.step(state, np.array([token]))
    for word in ("wolf", "elk"):
        i = model.tokenizer.vocab.id(word)
        assert 0.4 < mean[i] / (ids == i).mean() < 1.5
        rows = model.arrays()["embedding.weight"]
        assert np.abs(rows[i] - rows[UNK]).max() < 0.1 * rows.std()


def test_the_mean_probability_of_an_unknown_word(initial: lmkit.RnnModel) -> None:
    ids = initial.tokenizer.encode("the old")  # after </s>, the, old
    state = initial.start()
    found = [initial.next_logprobs(state)[0, UNK]]
    for token in ids:
        state = initial.step(state, np.array([token]))
        found.append(initial.next_logprobs(state)[0, UNK])
    texts = log_mean_unknown(initial, np.asarray(ids))
    assert min(found) - 1e-5 <= texts <= max(found) + 1e-5


def test_it_learns_the_new_words(initial: lmkit.RnnModel) -> None:
    model = tuned(initial, extend=True, epochs=60, learning_rate=0.02, bptt=8)
    assert lmkit.perplexity(model, NEW).perplexity < 2.0
    assert lmkit.perplexity(model, NEW).oov == 0


def test_the_same_seed_gives_the_same_weights(initial: lmkit.RnnModel) -> None:
    one, other = (tuned(initial, extend=True, epochs=1).arrays() for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("cell", ["rnn", "gru", "mlp"])
def test_every_cell(cell: str) -> None:
    activation = "relu" if cell == "mlp" else "tanh"
    model = fit(cell=cell, activation=activation, num_layers=2, embedding_size=6, epochs=1)
    still = tuned(model, **STILL)
    assert still.config() == model.config()
    assert np.array_equal(still.score(["the fox"]), model.score(["the fox"]))


def test_options_of_the_network_are_those_of_the_initial_model(initial: lmkit.RnnModel) -> None:
    config = settled(RnnConfig(dropout=0.2, epochs=3), initial=initial, given=["dropout", "epochs"])
    assert (config.hidden_size, config.num_layers, config.embedding_size) == (12, 1, 12)
    assert config.tie_weights == initial.settings["tie_weights"]
    assert (config.dropout, config.epochs) == (0.2, 3)
    for cell in ("lstm", "auto"):
        same = settled(RnnConfig(hidden_size=12, cell=cell), initial=initial, given=["hidden_size", "cell"])
        assert (same.hidden_size, same.cell) == (12, "lstm")
    for given in ({"cell": "gru"}, {"hidden_size": 99}, {"embedding_size": 3}):
        name, value = next(iter(given.items()))
        with pytest.raises(UsageError, match=rf"{name} is {initial.settings[name]} .*{value} was asked for"):
            settled(RnnConfig(**given), initial=initial, given=given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="init says"):
        settled(RnnConfig(init="normal"), initial=initial, given=["init"])
    with pytest.raises(UsageError, match="size large"):
        settled(RnnConfig(size="large"), initial=initial, given=["size"])


def test_layers_may_be_put_on_top(initial: lmkit.RnnModel) -> None:
    said: list[str] = []
    deeper = tuned(initial, num_layers=2, report=said.append, **STILL)
    assert [line.split(":")[0] for line in said].count("missing") == 4  # weights and biases of one LSTM
    assert any("'stack.cells.1.layer.weight_ih_l0'" in line for line in said)
    before, after = initial.arrays(), deeper.arrays()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    shallower = RnnConfig(num_layers=1)
    with pytest.raises(UsageError, match=r"num_layers is 2 .*1 was asked for"):
        settled(shallower, initial=deeper, given=["num_layers"])


def test_layers_of_another_size_cannot_be_put_on_top() -> None:
    model = fit(embedding_size=8, epochs=1)
    with pytest.raises(UsageError, match="only grow where all layers are of one size"):
        settled(RnnConfig(num_layers=2), initial=model, given=["num_layers"])


def test_the_vocabulary_of_a_tuned_model_is_of_words(initial: lmkit.RnnModel) -> None:
    assert isinstance(tuned(initial, **STILL).tokenizer, WordTokenizer)
