"""Let a model take up the text that it reads: a memory of it in every place that has use for one, and learning from it.

What comes out is a model, whose perplexities are to be called adaptive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from lmkit.backends import BACKENDS
from lmkit.errors import UsageError
from lmkit.mixture.cache import mix_shares, recalled_shares
from lmkit.mixture.cache_tuning import fitted_cache
from lmkit.mixture.em import best_weights
from lmkit.mixture.linear import Mixture
from lmkit.mixture.neural_cache_tuning import tuned_neural_cache
from lmkit.mixture.widened import Widened
from lmkit.model import FeatureModel, LanguageModel
from lmkit.text.corpus import Corpus, PathLike

_TOKENS = 1 << 15  # of the text that weights are fitted on, where a recurrent model reads it


def adapted(
    model: LanguageModel,
    tune: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    cache: bool = True,
    dynamic: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> LanguageModel:
    """Give a model that takes up what it reads, fitted to a text.

    Args:
        model: Any language model; of a mixture, what is recurrent in it is adapted, and then its weights are found anew
            (those of mixtures inside it stay).
        tune: A text that it has not learnt from, such as those that it is to read; lines in their natural order.
        cache: Whether it remembers the text: a continuous cache for what is recurrent, one of n-grams for the whole,
            which is left out where it does not make the text likelier, so that the model itself may come back.
        dynamic: Whether what is recurrent in it learns from the text.
        report: Receives lines for the user: what each step makes of the text.

    Raises:
        UsageError: there is nothing to do, nothing that could learn, or the model adapts already.
        InputError: the text is empty or cannot be read as text.

    >>> import lmkit
    >>> model = lmkit.train("the fox ran .\\nthe owl sat .\\n" * 9, order=2, holdout=0)
    >>> cached = adapted(model, "a fox sat .\\na fox ran .\\n" * 5)
    >>> text = "an owl sat .\\nan owl ran .\\n" * 5
    >>> lmkit.perplexity(cached, text).perplexity < lmkit.perplexity(model, text).perplexity
    True
    """
    *_, (_, last) = adaptations(model, tune, cache=cache, dynamic=dynamic, report=report)
    return last


def adaptations(
    model: LanguageModel,
    tune: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    cache: bool = True,
    dynamic: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[str, LanguageModel]]:
    """Give the name of each step of `adapted`, whose arguments it takes, and the model after it, first as it is."""
    if not (cache or dynamic):
        raise UsageError("there is nothing to adapt by; let the model have a cache, or be dynamic")
    if model.adaptive:
        raise UsageError("the model takes up what it reads already; adapt the one that it was made of")
    recurrent = _recurrent(model)
    if dynamic and not recurrent:
        raise UsageError(
            f"dynamic evaluation is for recurrent models; there is none in a model of kind {model.backend}"
        )
    corpus = Corpus.of(tune)
    ids = model.tokenizer.encode_corpus(model.tokenizer.reads(corpus, model.tokenizer.specials))
    ids = ids[:_TOKENS] if recurrent else ids
    logprobs = model.score_ids(ids)[0]

    def say(name: str, logprobs: np.ndarray) -> None:
        report(f"{name:18} perplexity {float(np.exp(-logprobs.mean(dtype=np.float64))):.2f}")

    report(f"fitted to the first {len(ids):,} tokens")
    say("as it is", logprobs)
    yield "as it is", model
    changes: dict[str, Callable[[LanguageModel], LanguageModel]] = {}
    if dynamic:
        changes["learning"] = partial(_learning, corpus=corpus)
    if recurrent and cache:
        changes["continuous cache"] = partial(tuned_neural_cache, tune=corpus)
    for name, change in changes.items():
        model = _changed(model, change)
        if isinstance(model, Mixture):
            parts, _ = model.score_parts(ids)
            model = Mixture(models=model.models, weights=best_weights(parts))
            logprobs = model.average(parts)
        else:
            logprobs, _ = model.score_ids(ids)
        say(name, logprobs)
        yield name, model
    if cache:
        cached = fitted_cache(model, ids, logprobs)
        shares = recalled_shares(ids, 0, powers=cached.powers, vocab_size=len(model.tokenizer.vocab))
        mixed = mix_shares(logprobs, *shares, cached.weights)
        if mixed.sum(dtype=np.float64) > logprobs.sum(dtype=np.float64):
            say("cache of n-grams", mixed)
            yield "cache of n-grams", cached
        else:
            report("cache of n-grams   left out: it makes the text no likelier")


def _learning(model: LanguageModel, corpus: Corpus) -> LanguageModel:
    return BACKENDS[model.backend].dynamic(model, corpus)


def _recurrent(model: LanguageModel) -> bool:
    """Whether a model is recurrent, or has a part that is."""
    match model:
        case Mixture():
            return any(map(_recurrent, model.models))
        case Widened():
            return _recurrent(model.model)
    return isinstance(model, FeatureModel)


def _changed(model: LanguageModel, change: Callable[[LanguageModel], LanguageModel]) -> LanguageModel:
    """Give a model in which every recurrent part is what `change` makes of it."""
    match model:
        case FeatureModel():
            return change(model)
        case Mixture():
            return Mixture(models=[_changed(part, change) for part in model.models], weights=model.weights)
        case Widened():
            inner = _changed(model.model, change)
            return Widened(tokenizer=model.tokenizer, model=inner, tokens=model.tokens)
    return model
