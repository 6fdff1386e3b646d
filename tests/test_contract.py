"""What every language model promises: one body of tests over every backend."""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lmkit
from lmkit.model import LanguageModel
from lmkit.ngram.arpa import arpa_pieces
from lmkit.text.vocabulary import BOS, EOS, UNK
from tests.conftest import STORY
from tests.ngram import backoff

MODELS = {
    "uniform": {"backend": "uniform"},
    "unigram": {"order": 1},
    "bigram": {"order": 2},
    "5-gram": {"order": 5},
    "pruned": {"order": 3, "prune": (0, 1)},
    "no unigram interpolation": {"order": 3, "interpolate_unigrams": False},
    "rare words unknown": {"order": 3, "min_count": 2},
    "7-gram of characters": {"order": 7, "tokenizer": "char"},
    "4-gram of bytes": {"order": 4, "tokenizer": "byte"},
    "pruned bytes": {"order": 3, "tokenizer": "byte", "prune": (1, 1, 2)},
    "subwords": {"order": 3, "tokenizer": "bpe", "vocab_size": 270},
    "pruned subwords": {"order": 3, "tokenizer": "bpe", "vocab_size": 270, "prune": (1,)},
    "pruned characters": {"order": 4, "tokenizer": "char", "prune": (2, 2, 3)},
    "quantized": {"order": 4, "quantize": 8},
    "quantized unigrams": {"order": 1, "quantize": 8},
    "quantized bigrams": {"order": 2, "quantize": 4},
    "quantized pruned characters": {"order": 5, "tokenizer": "char", "prune": (0, 1), "quantize": 8},
    **{
        f"rnn {cell}": {"backend": "rnn", "cell": cell, "hidden_size": 12, "epochs": 2, "bptt": 8}
        for cell in ("rnn", "gru", "lstm", "sru", "mogrifier", "mlp")
    },
    "rnn adaptive": {"backend": "rnn", "hidden_size": 12, "epochs": 2, "head": "adaptive"},
    "rnn sampled": {"backend": "rnn", "hidden_size": 12, "epochs": 2, "head": "sampled", "samples": 8},
    "rnn untied": {
        "backend": "rnn",
        "hidden_size": 12,
        "embedding_size": 7,
        "tie_weights": False,
        "epochs": 2,
    },
    "rnn of characters": {
        "backend": "rnn",
        "tokenizer": "char",
        "hidden_size": 16,
        "epochs": 1,
        "cell": "gru",
    },
}
PREFIXES = [
    "",
    "the old",
    "the fox sat under",
    "tree tree tree tree tree",
    "a zebra saw",
    "zebra zebra",
    "the fox .\nthe",
]
TINY = {"backend": "rnn", "hidden_size": 12, "epochs": 2, "device": "cpu", "threads": 1}


def tiny(**options: object) -> LanguageModel:
    return lmkit.train(STORY, tokenizer="word", holdout=0, **{**TINY, **options})


def mixed(*options: dict[str, object]) -> LanguageModel:
    parts = [lmkit.train(STORY, tokenizer="word", holdout=0, **of_part) for of_part in options]
    return lmkit.mix(parts, weights=[0.7, 0.3] if len(parts) == 2 else [0.5, 0.3, 0.2])


def cached(model: LanguageModel, order: int, window: int) -> LanguageModel:
    return lmkit.tuned_cache(model, STORY, order=order, window=window)


def read_back(text: str) -> LanguageModel:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.arpa").write_text(text, encoding="utf-8")
        return lmkit.read_arpa(Path(folder, "model.arpa"))


def story_entries(order: int) -> backoff.Entries:
    model = lmkit.train(STORY, order=order, tokenizer="word", holdout=0)
    assert isinstance(model, lmkit.NgramModel)
    return backoff.parse(b"".join(arpa_pieces(model)).decode())


def pruned_elsewhere() -> LanguageModel:
    """Prune as SRILM does: n-grams go that extend no context, though they are suffixes of others."""
    entries = story_entries(4)
    contexts = {gram[:-1] for gram in entries}
    leaves = [gram for gram in entries if 1 < len(gram) < 4 and gram not in contexts]
    assert any(gram[1:] in leaves[::2] for gram in entries)
    return read_back(backoff.write(backoff.without(entries, set(leaves[::2]))))


MADE: dict[str, Callable[[], LanguageModel]] = {
    "mixture of n-grams": lambda: mixed({"order": 4}, {"order": 1}),
    "mixture of vocabularies": lambda: mixed({"order": 3, "min_count": 3}, {"order": 2}),
    "mixture of backends": lambda: mixed(TINY, {"order": 3}, {"backend": "uniform"}),
    "mixture of cached": lambda: lmkit.mix(
        [cached(mixed({"order": 3}, {"order": 2}), 2, 9), mixed({"order": 1}, {"order": 2})],
        weights=[0.8, 0.2],
    ),
    "unigram cache": lambda: cached(lmkit.train(STORY, order=2, tokenizer="word", holdout=0), 1, 30),
    "n-gram cache": lambda: cached(lmkit.train(STORY, tokenizer="word", holdout=0, **TINY), 4, 12),
    "cache of one token": lambda: cached(lmkit.train(STORY, order=2, tokenizer="char", holdout=0), 3, 1),
    "imported from ARPA": lambda: read_back(backoff.write(story_entries(3))),
    "imported from ARPA, suffixes missing": pruned_elsewhere,
    "cache of characters": lambda: cached(lmkit.train(STORY, order=3, tokenizer="char", holdout=0), 6, 200),
    "continuous cache": lambda: lmkit.tuned_neural_cache(tiny(), STORY, window=30),
    "continuous cache of one token": lambda: lmkit.tuned_neural_cache(tiny(), STORY, window=1),
    "dynamic": lambda: lmkit.tuned_dynamic(tiny(), STORY, segment=5),
    "dynamic, a step a token": lambda: lmkit.tuned_dynamic(tiny(cell="gru"), STORY, segment=1),
    "dynamic, adaptive head": lambda: lmkit.tuned_dynamic(tiny(head="adaptive"), STORY, segment=4),
    "continuous cache of dynamic": lambda: lmkit.tuned_neural_cache(
        lmkit.tuned_dynamic(tiny(cell="sru"), STORY, segment=3), STORY
    ),
    "cache of a mixture of all": lambda: cached(
        lmkit.mix(
            [
                lmkit.tuned_neural_cache(lmkit.tuned_dynamic(tiny(), STORY, segment=5), STORY),
                lmkit.train(STORY, order=3, tokenizer="word", holdout=0),
            ],
            weights=[0.6, 0.4],
        ),
        3,
        50,
    ),
}
_trained: dict[str, LanguageModel] = {}


def tolerance(model: LanguageModel) -> float:
    """Probabilities rounded to codes sum to one as nearly as the codes allow."""
    return 1e-5 if "quantize" not in model.signature() else 0.02


@pytest.fixture(params=[*MODELS, *MADE])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    name = request.param
    if name in MADE and name not in _trained:
        _trained[name] = MADE[name]()
    if name in _trained:
        return _trained[name]
    if MODELS[name].get("tokenizer") == "bpe":
        pytest.importorskip("tokenizers", reason="needs the extra: subword")
    options = {"tokenizer": "word", "device": "cpu", "threads": 1, **MODELS[name]}
    if options.get("backend") != "rnn":
        del options["device"], options["threads"]
    _trained[name] = lmkit.train(STORY, holdout=0, **options)
    return _trained[name]


def read(model: LanguageModel, prefix: str) -> np.ndarray:
    lines = prefix.split("\n")
    return np.concatenate([model.tokenizer.encode_lines(lines[:-1]), model.tokenizer.encode(lines[-1])])


def after(model: LanguageModel, prefix: str) -> object:
    state = model.start()
    for token in read(model, prefix):
        state = model.step(state, np.array([token]))
    return state


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_can_follow_sums_to_one(model: LanguageModel, prefix: str) -> None:
    logprobs = model.next_logprobs(after(model, prefix))
    assert logprobs.shape == (1, len(model.tokenizer.vocab))
    assert logprobs.dtype == np.float32
    assert logprobs[0, BOS] == -np.inf
    assert np.exp(logprobs.astype(np.float64)).sum() == pytest.approx(1, abs=tolerance(model))


def test_score_is_the_sum_of_steps(model: LanguageModel) -> None:
    ids = model.tokenizer.encode_lines([*STORY.split("\n")[:-1], "a zebra saw the fox", ""])
    plain, _ = LanguageModel.score_ids(model, ids)  # the definition, a step a token
    fast, _ = model.score_ids(ids)
    assert fast == pytest.approx(plain, abs=2e-5)
    assert fast.dtype == np.float32


def test_a_text_in_two_pieces_scores_the_same(model: LanguageModel) -> None:
    ids = model.tokenizer.encode_lines(["the old fox sat", "the owl ran over a hill ."])
    whole, end = model.score_ids(ids)
    for cut in range(len(ids) + 1):
        first, state = model.score_ids(ids[:cut])
        second, state = model.score_ids(ids[cut:], state)
        assert np.concatenate([first, second]) == pytest.approx(whole, abs=1e-5)
        assert model.next_logprobs(state) == pytest.approx(model.next_logprobs(end), abs=1e-5)


def test_score_gives_one_number_a_token_and_line_end(model: LanguageModel) -> None:
    lines = ["the fox", "", "an owl"]
    assert len(model.score(lines)) == sum(len(model.tokenizer.encode(line)) + 1 for line in lines)
    assert model.score("the fox") == pytest.approx(model.score(["the fox"]))
    assert model.score([]).shape == (0,)


def test_a_step_changes_nothing_that_was_there(model: LanguageModel) -> None:
    state = after(model, "the old")
    before = copy.deepcopy(state)
    model.step(state, np.array([EOS]))
    model.step(state, np.array([UNK]))
    model.score_ids(np.array([3, EOS]), state)
    model.next_logprobs(state)
    assert state == before


def test_the_batch_changes_nothing(model: LanguageModel) -> None:
    singles = [after(model, prefix) for prefix in ("the old", "the fox", "a zebra")]
    tokens = [read(model, "the old"), read(model, "the fox"), read(model, "a zebra")]
    length = min(map(len, tokens))
    state = model.start(3)
    for t in range(length):
        state = model.step(state, np.array([ids[t] for ids in tokens]))
    if all(len(ids) == length for ids in tokens):
        for row, single in enumerate(singles):
            assert model.next_logprobs(state)[row] == pytest.approx(model.next_logprobs(single)[0], abs=1e-5)
    chosen = state.select([2, 0, 0])
    assert len(chosen) == 3
    assert model.next_logprobs(chosen) == pytest.approx(model.next_logprobs(state)[[2, 0, 0]], abs=1e-5)


def test_evenly_spread_points_draw_tokens_by_their_probabilities(model: LanguageModel) -> None:
    points = (np.arange(4000) + 0.5) / 4000
    for prefix in PREFIXES:
        state = after(model, prefix)
        logprobs = model.next_logprobs(state)[0]
        tokens, drawn = model.draw(state.select([0] * 4000), points)
        expected = np.exp(logprobs.astype(np.float64)) / np.exp(logprobs.astype(np.float64)).sum() * 4000
        chance = 5 * np.sqrt(expected) if model.backend == "rnn" else 0.0  # it throws some draws away
        assert (np.abs(np.bincount(tokens, minlength=len(expected)) - expected) < chance + 2).all()
        assert np.bincount(tokens, minlength=len(expected))[expected == 0].sum() == 0
        assert drawn == pytest.approx(logprobs[tokens], abs=1e-5)
        assert np.isfinite(drawn).all()


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_a_temperature_draws_by_powers_of_the_probabilities(model: LanguageModel, temperature: float) -> None:
    points = (np.arange(1000) + 0.5) / 1000
    state = after(model, "the old")
    logprobs = model.next_logprobs(state)[0].astype(np.float64)
    tokens, drawn = model.draw(state.select([0] * 1000), points, temperature=temperature)
    shaped = np.exp((logprobs - logprobs.max()) / temperature)
    expected = shaped / shaped.sum() * 1000
    chance = 5 * np.sqrt(expected) if model.backend == "rnn" else 0.0
    assert (np.abs(np.bincount(tokens, minlength=len(expected)) - expected) < chance + 2).all()
    assert drawn == pytest.approx(logprobs[tokens], abs=1e-5)


def test_states_are_joined(model: LanguageModel) -> None:
    states = [after(model, prefix) for prefix in PREFIXES[:3]]
    joined = states[0].join(*states[1:])
    assert len(joined) == 3
    assert len(joined.join()) == 3
    for row, state in enumerate(states):
        assert model.next_logprobs(joined)[row] == pytest.approx(model.next_logprobs(state)[0], abs=1e-5)
    doubled = joined.join(joined.select([2, 0]))
    assert len(doubled) == 5
    after_one = model.step(doubled, np.array([EOS, 3, 4, 4, EOS]))
    assert model.next_logprobs(after_one)[[0, 2]] == pytest.approx(
        model.next_logprobs(after_one)[[4, 3]], abs=1e-5
    )


def test_the_same_seed_gives_the_same_text(model: LanguageModel) -> None:
    options = {"max_tokens": 20, "seed": 5, "lines": 0}
    one = lmkit.generate(model, "the", samples=1, **options)
    many = lmkit.generate(model, "the", samples=4, **options)
    assert one[0].text == many[0].text == lmkit.generate(model, "the", samples=2, **options)[0].text
    assert one[0].text.startswith("the")
    assert len(many) == 4


def test_a_saved_model_scores_bit_for_bit_the_same(model: LanguageModel, tmp_path: Path) -> None:
    lmkit.save(model, tmp_path / "model")
    loaded = lmkit.load(tmp_path / "model", verify=True)
    ids = model.tokenizer.encode_lines([*STORY.split("\n"), "a zebra"])
    assert np.array_equal(loaded.tokenizer.encode_lines([*STORY.split("\n"), "a zebra"]), ids)
    assert np.array_equal(loaded.score_ids(ids)[0], model.score_ids(ids)[0])
    assert loaded.signature() == model.signature()
    assert type(loaded) is type(model)


def test_evaluation_is_the_sum_of_scores(model: LanguageModel) -> None:
    text = "the old fox sat .\nthe zebra ran\n\n"
    result = lmkit.perplexity(model, text)
    scores = model.score(text.split("\n")[:-1]).astype(np.float64)
    assert result.logprob == pytest.approx(scores.sum(), rel=1e-6)
    assert result.perplexity == pytest.approx(np.exp(-scores.mean()), rel=1e-5)
    assert result.tokens == len(scores)
    assert result.lines == 3


ALPHABET_TEXT = "ab\nabc\ncab\n\naab\nbca\n" * 3


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "uniform"},
        {"order": 1},
        {"order": 3},
        {"order": 6},
        {"order": 4, "quantize": 8},
        {"backend": "rnn", "hidden_size": 6, "epochs": 3, "device": "cpu"},
        {"backend": "rnn", "hidden_size": 6, "epochs": 3, "device": "cpu", "cell": "mlp"},
    ],
    ids=str,
)
def test_all_strings_and_their_continuations_sum_to_one(options: dict[str, object]) -> None:
    check_all_strings(lmkit.train(ALPHABET_TEXT, tokenizer="char", holdout=0, **options))


@pytest.mark.parametrize("kind", ["mixture", "cache", "continuous cache", "dynamic", "all"])
def test_all_strings_of_models_made_of_models_sum_to_one(kind: str) -> None:
    options = {"backend": "rnn", "hidden_size": 6, "epochs": 3, "device": "cpu"}
    network = lmkit.train(ALPHABET_TEXT, tokenizer="char", holdout=0, **options)
    ngram = lmkit.train(ALPHABET_TEXT, tokenizer="char", holdout=0, order=3)
    made: dict[str, Callable[[], LanguageModel]] = {
        "mixture": lambda: lmkit.mix([network, ngram], weights=[0.6, 0.4]),
        "cache": lambda: lmkit.tuned_cache(ngram, ALPHABET_TEXT, order=3, window=3),
        "continuous cache": lambda: lmkit.tuned_neural_cache(network, ALPHABET_TEXT, window=3),
        "dynamic": lambda: lmkit.tuned_dynamic(network, ALPHABET_TEXT, segment=2),
        "all": lambda: lmkit.adapted(
            lmkit.mix([network, ngram], weights=[0.6, 0.4]), ALPHABET_TEXT, dynamic=True
        ),
    }
    check_all_strings(made[kind]())


def check_all_strings(model: LanguageModel) -> None:
    letters = [UNK, *range(3, len(model.tokenizer.vocab))]
    state, mass, total = model.start(), np.zeros(1), 0.0
    for _ in range(5):  # strings of length 0 to 4
        logprobs = model.next_logprobs(state).astype(np.float64)
        total += np.exp(mass + logprobs[:, EOS]).sum()
        rows, tokens = zip(*itertools.product(range(len(mass)), letters), strict=True)
        mass = mass[list(rows)] + logprobs[list(rows), list(tokens)]
        state = model.step(state.select(list(rows)), np.array(tokens))
    assert total + np.exp(mass).sum() == pytest.approx(1, abs=tolerance(model))


@pytest.mark.parametrize("ids", [[3, 1000], [-1], [[3, 4]]])
def test_ids_that_are_no_tokens_are_refused(ids: list[int]) -> None:
    model = lmkit.train(STORY, order=3, tokenizer="word", holdout=0)
    for call in (
        lambda: model.score_ids(np.array(ids)),
        lambda: model.step(model.start(len(ids)), np.array(ids)),
    ):
        with pytest.raises(lmkit.UsageError, match="token ids"):
            call()


def test_a_line_with_a_line_end_in_it_is_refused() -> None:
    model = lmkit.train(STORY, order=3, tokenizer="char", holdout=0)
    with pytest.raises(lmkit.UsageError, match="splitlines"):
        model.score("the\nfox")
