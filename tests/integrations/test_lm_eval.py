"""The evaluation harness and `lmkit ppl` say the same of the same text."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit.integrations.lm_eval import continuation, harness_model, log_likelihood, rolling_log_likelihood
from tests.cli.test_imports import modules_after
from tests.conftest import STORY

MODELS: dict[str, dict[str, object]] = {
    "words": {"order": 3, "tokenizer": "word"},
    "characters": {"order": 5, "tokenizer": "char"},
    "bytes": {"order": 4, "tokenizer": "byte"},
    "network": {
        "backend": "rnn",
        "tokenizer": "word",
        "hidden_size": 12,
        "epochs": 2,
        "device": "cpu",
        "threads": 1,
    },
}
DOCUMENTS = ["the old fox sat .\nthe zebra ran\n", "an owl\n\nunder the tree .\n", "the hill was high\n"]
_trained: dict[str, lmkit.LanguageModel] = {}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> lmkit.LanguageModel:
    if request.param not in _trained:
        _trained[request.param] = lmkit.train(STORY, holdout=0, **MODELS[request.param])  # type: ignore[arg-type]
    return _trained[request.param]


def run(model: lmkit.LanguageModel, documents: list[Any], **config: Any) -> dict[str, float]:
    """Let the harness measure a model on documents, by a task of its own."""
    pytest.importorskip("lm_eval", reason="needs the extra: eval")
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate

    rows = [row if isinstance(row, dict) else {"page": row} for row in documents]
    task = ConfigurableTask(
        config={
            "task": "ours",
            "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
            "test_split": "test",
            "metadata": {"version": 1},
            **config,
        }
    )
    results = evaluate(harness_model(model), {"ours": task}, bootstrap_iters=0)["results"]["ours"]
    return {name.removesuffix(",none"): value for name, value in results.items()}


def rolling(
    model: lmkit.LanguageModel, documents: list[str], count: Callable[..., Any] | None = None
) -> dict[str, float]:
    names = ("word_perplexity", "byte_perplexity", "bits_per_byte")
    config: dict[str, Any] = {"metric_list": [{"metric": name} for name in names]}
    if count is not None:
        config["process_results"] = count
    return run(
        model,
        documents,
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{page}}",
        **config,
    )


@pytest.mark.filterwarnings("ignore")  # of the harness and what it imports
def test_byte_perplexity_and_bits_per_byte_are_those_of_lmkit(model: lmkit.LanguageModel) -> None:
    documents = ["".join(DOCUMENTS)] if model.context == "stream" else DOCUMENTS
    expected = lmkit.perplexity(model, "".join(DOCUMENTS))
    found = rolling(model, documents)
    bits = expected.bits_per_token * expected.tokens / expected.bytes
    assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-6)
    assert found["byte_perplexity"] == pytest.approx(2**bits, rel=1e-6)
    if expected.bits_per_byte is not None:
        assert found["bits_per_byte"] == pytest.approx(expected.bits_per_byte, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_word_perplexity_is_that_of_lmkit_where_words_are_counted_alike(model: lmkit.LanguageModel) -> None:
    lines = ["the old fox sat .", "the zebra ran"]
    documents = ["\n".join(lines)] if model.context == "stream" else lines  # no line end behind the last
    expected = lmkit.perplexity(model, "\n".join(lines) + "\n")
    found = rolling(model, documents)
    assert found["word_perplexity"] == pytest.approx(2**expected.bits_per_word, rel=1e-6)

    def count(doc: dict[str, str], results: list[float]) -> dict[str, tuple[float, int]]:
        words, size = len(doc["page"].split()), len(doc["page"].encode())
        (found,) = results
        return {
            "word_perplexity": (found, words),
            "byte_perplexity": (found, size),
            "bits_per_byte": (found, size),
        }

    expected, found = lmkit.perplexity(model, DOCUMENTS[0]), rolling(model, DOCUMENTS[:1], count)
    assert found["word_perplexity"] == pytest.approx(2**expected.bits_per_word, rel=1e-6)
    assert found["bits_per_byte"] * expected.bytes == pytest.approx(-expected.logprob / math.log(2), rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_the_harness_chooses_and_writes() -> None:
    model = lmkit.train("the fox ran .\nthe owl sat .\n" * 20, order=3, holdout=0)
    chosen = run(
        model,
        [{"page": "the fox", "right": 0}, {"page": "the owl", "right": 1}],
        output_type="multiple_choice",
        doc_to_text="{{page}}",
        doc_to_choice=["ran .", "sat ."],
        doc_to_target="right",
        metric_list=[{"metric": "acc"}],
    )
    assert chosen["acc"] == 1
    written = run(
        model,
        [{"page": "the fox", "end": " ran"}],
        output_type="generate_until",
        doc_to_text="{{page}}",
        doc_to_target="{{end}}",
        generation_kwargs={"until": [" ."], "max_gen_toks": 20},
        metric_list=[{"metric": "exact_match"}],
    )
    assert written["exact_match"] == 1


@given(context=st.text("ab \n", max_size=8), rest=st.text("ab \n", max_size=8))
def test_a_text_is_as_likely_as_its_two_parts(context: str, rest: str) -> None:
    if "tiny" not in _trained:
        _trained["tiny"] = lmkit.train("ab a b\nba b\n\nb\n" * 9, tokenizer="char", order=3, holdout=0)
    model = _trained["tiny"]
    first, _ = log_likelihood(model, "", context)
    second, _ = log_likelihood(model, context, rest)
    whole, _ = log_likelihood(model, "", context + rest)
    assert first + second == pytest.approx(whole, abs=1e-5)
    assert log_likelihood(model, "", f"{context}\n")[0] == pytest.approx(
        rolling_log_likelihood(model, f"{context}\n"), abs=1e-5
    )


def test_greedy_is_what_the_model_writes(model: lmkit.LanguageModel) -> None:
    context = "the old"
    written = continuation(model, context, {"max_gen_toks": 4})
    total, greedy = log_likelihood(model, context, written)
    assert greedy
    assert total < 0
    assert not log_likelihood(model, context, " zebra zebra")[1]
    assert log_likelihood(model, context, "") == (0.0, True)
    one, two = (
        continuation(model, context, {"do_sample": True, "max_gen_toks": 9}, seed=3) for _ in range(2)
    )
    assert one == two


def test_half_a_word_is_scored_whole() -> None:
    model = lmkit.train("the fox ran .\n" * 20, order=2, holdout=0)
    assert log_likelihood(model, "the f", "ox") == pytest.approx(log_likelihood(model, "the", " fox"))


def test_continuations_that_cannot_be_are_refused() -> None:
    model = lmkit.train("the fox ran .\n" * 20, order=2, holdout=0)
    for wanted in ({"max_gen_toks": -1}, {"max_gen_toks": "many"}, {"do_sample": True, "temperature": "hot"}):
        with pytest.raises(lmkit.UsageError):
            continuation(model, "the", wanted)
    assert continuation(model, "the", {"until": " ran"}) == " fox"
    assert np.isfinite(rolling_log_likelihood(model, "a zebra"))


def test_the_harness_is_imported_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = modules_after("import lmkit.integrations.lm_eval")
    assert not {"lm_eval", "torch"} & loaded
    from lmkit.integrations import lm_eval as ours

    ours._adapter.cache_clear()
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(lmkit.ResourceError, match=r"pip install 'lmkit\[eval\]'"):
        harness_model(lmkit.train("the fox ran .\n" * 20, order=2, holdout=0))
