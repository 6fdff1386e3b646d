r"""Models in the language-model evaluation harness (extra `eval`): log-likelihoods, rolling ones, and continuations.

    import lm_eval
    from lmkit.integrations.lm_eval import harness_model

    lm_eval.simple_evaluate(model=harness_model("my-model"), tasks=["lambada_openai"])

The harness thinks in documents, lmkit in lines. A document is its lines, one after the other from the start of a text:
``\n`` is the line end `</s>`, which is predicted, and a document that does not end in one is given one, as every text
is. A model of `context:line` forgets at each, one of `context:stream` reads on up to the end of the document.

So the log-likelihood of a document is the sum that `lmkit ppl` finds in it, and the harness' perplexities are those of
`lmkit ppl` where both count alike. The harness counts the bytes of a document as it is: byte perplexity and bits per
byte agree where documents end in a line end (without it lmkit counts one more byte). It counts words by the white space
between them, and one more where a document begins or ends in it: word perplexity (2 to the bits per word) agrees
where documents do not end in a line end, or where a task counts words itself, as that of WikiText does.

Unknown words are scored as `<unk>`; a model with many of them only seems good (see the perplexity without OOV).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from lmkit.bundle import load
from lmkit.errors import UsageError, missing_package
from lmkit.evaluation import perplexity
from lmkit.generation import generate
from lmkit.model import LanguageModel
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.vocabulary import UNK

MAX_TOKENS = 256  # of a continuation, where a task does not say


def harness_model(model: LanguageModel | PathLike, *, seed: int = 0) -> Any:
    """Give a model as the harness wants one: an object of a subclass of `lm_eval.api.model.LM`.

    Args:
        model: Any language model, or its folder.
        seed: Of the draws, for tasks that want continuations drawn.

    Raises:
        ResourceError: the harness is not installed.
        UsageError, ModelFormatError: see `lmkit.load`.
    """
    adapter = _adapter()
    return adapter(model if isinstance(model, LanguageModel) else load(model), seed)


def rolling_log_likelihood(model: LanguageModel, document: str) -> float:
    r"""Give log p of a document, every line end predicted: the sum that `lmkit ppl` finds in it, in nats.

    Raises:
        InputError: it is no text, or holds a literal `<s>` or `</s>`.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=ByteTokenizer())
    >>> [round(rolling_log_likelihood(model, text), 2) for text in ("ab\nc\n", "ab\nc", "")]
    [-27.75, -27.75, 0.0]
    """
    return perplexity(model, Corpus.from_text(document, "<document>")).logprob if document else 0.0


def log_likelihood(model: LanguageModel, context: str, continuation: str) -> tuple[float, bool]:
    """Give log p of a continuation after a context, in nats, and whether it is what the model itself would write.

    Where the continuation goes on with the last token of the context (half a word), that token is a part of it.
    `<unk>` is never what a model would write.

    >>> import lmkit
    >>> model = lmkit.train("the fox ran .\\nthe owl sat .\\n" * 9 + "the fox sat .\\n", order=3, holdout=0)
    >>> likely, unlikely = log_likelihood(model, "the fox", " ran"), log_likelihood(model, "the fox", " sat")
    >>> likely[0] > unlikely[0], likely[1], unlikely[1]
    (True, True, False)
    """
    before, whole = _ids(model, context), _ids(model, context + continuation)
    same = before == whole[: len(before)] if len(before) <= len(whole) else before[: len(whole)] == whole
    shared = len(same) if same.all() else int(same.argmin())
    state = model.score_ids(whole[:shared])[1] if shared else model.start()
    total, greedy = 0.0, True
    for token in whole[shared:]:
        logprobs = model.next_logprobs(state)[0]
        total += float(logprobs[token])
        greedy = greedy and token != UNK and bool(logprobs.argmax() == token)
        state = model.step(state, np.array([token]))
    return total, greedy


def continuation(model: LanguageModel, context: str, wanted: Mapping[str, Any], *, seed: int = 0) -> str:
    r"""Continue a context up to the first of some strings, which is left out.

    Args:
        model: Any language model.
        context: The text to go on from.
        wanted: What a task asks for: `until` (a string or several), `max_gen_toks`, and with `do_sample` also
            `temperature`, `top_k` and `top_p`; without it the likeliest token is taken each time.
        seed: Of the draws.

    Raises:
        UsageError: a number is out of its range.

    >>> import lmkit
    >>> model = lmkit.train("the fox ran .\nthe owl sat .\n" * 9, order=3, holdout=0)
    >>> continuation(model, "the owl", {"until": [" .", "\n"], "max_gen_toks": 9})
    ' sat'
    """
    until = wanted.get("until") or []
    stops = [until] if isinstance(until, str) else [stop for stop in until if stop]
    drawn = bool(wanted.get("do_sample", False))
    try:
        options: dict[str, Any] = {
            "max_tokens": int(wanted.get("max_gen_toks", MAX_TOKENS)),
            "temperature": float(wanted.get("temperature", 1.0)) if drawn else 0.0,
            "top_k": int(wanted.get("top_k", 0)) if drawn else 0,
            "top_p": float(wanted.get("top_p", 1.0)) if drawn else 1.0,
        }
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the task asks for continuations that cannot be, {dict(wanted)}: {error}"
        ) from error
    sample = generate(
        model,
        context,
        lines=1 if "\n" in stops else 0,
        stop=tuple(stop for stop in stops if stop != "\n"),
        raw=True,  # as the task's own texts are cut into words
        seed=seed,
        **options,
    )[0]
    text = sample.text.removeprefix(context)
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def _ids(model: LanguageModel, text: str) -> np.ndarray:
    """Give the ids of a text whose last line has not ended."""
    *whole, rest = text.replace("\r\n", "\n").split("\n")
    return np.concatenate([model.tokenizer.encode_lines(whole), model.tokenizer.encode(rest)])


@cache
def _adapter() -> type[Any]:
    """Make the class, once the harness is there."""
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise missing_package("lm_eval", "eval", "a model for the evaluation harness") from None

    class HarnessModel(LM):  # type: ignore[misc]
        """A model of lmkit."""

        def __init__(self, model: LanguageModel, seed: int) -> None:
            super().__init__()
            self.model = model
            self.seed = seed

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            """Answer requests of a context and a continuation each."""
            return [log_likelihood(self.model, *request.args) for request in requests]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            """Answer requests of a document each."""
            return [rolling_log_likelihood(self.model, *request.args) for request in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """Answer requests of a context and what is wanted of its continuation."""
            return [continuation(self.model, *request.args, seed=self.seed) for request in requests]

    return HarnessModel
