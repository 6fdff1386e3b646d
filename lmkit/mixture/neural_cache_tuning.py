"""The theta and the weight under which a continuous cache suits a text best."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lmkit.errors import UsageError
from lmkit.mixture.em import best_weights
from lmkit.mixture.neural_cache import (
    LARGEST_WINDOW,
    SHARPEST,
    WINDOW,
    NeuralCache,
    directions,
    recalled_shares,
)
from lmkit.model import FeatureModel, LanguageModel
from lmkit.search import climb
from lmkit.text.corpus import Corpus, PathLike

_FIRST, _FACTOR = 16.0, 1.5  # of the search for theta
_SEARCHED = 1 << 15  # tokens of the text that it is searched on


def tuned_neural_cache(
    model: LanguageModel, tune: str | PathLike | Iterable[PathLike] | Corpus, *, window: int = WINDOW
) -> NeuralCache:
    """Put a continuous cache on a model, with the theta and the weight under which it finds a text most likely.

    Args:
        model: One that has features: a recurrent one.
        tune: A text that it has not learnt from, such as those that it is to read; lines in their natural order. Its
            first 32,768 tokens are read.
        window: How many tokens are looked back on.

    Raises:
        UsageError: the model has no features, or the window is out of its range.
        InputError: the text is empty or cannot be read as text.

    >>> import lmkit
    >>> model = lmkit.train("the fox ran .\\nthe owl sat .\\n" * 9, backend="rnn", hidden_size=8, epochs=1, holdout=0)
    >>> cached = tuned_neural_cache(model, "a fox sat .\\na fox ran .\\n" * 9)
    >>> text = "an owl sat .\\nan owl ran .\\n" * 9
    >>> lmkit.perplexity(cached, text).perplexity < lmkit.perplexity(model, text).perplexity
    True
    """
    if not isinstance(model, FeatureModel):
        raise UsageError(
            f"a continuous cache remembers the states of a recurrent network; a model of kind {model.backend} has none"
        )
    if not 1 <= window <= LARGEST_WINDOW:
        raise UsageError(f"a cache has a window of 1 to {LARGEST_WINDOW} tokens, not {window}")
    corpus = model.tokenizer.reads(Corpus.of(tune), model.tokenizer.specials)
    ids = model.tokenizer.encode_corpus(corpus)[:_SEARCHED]
    logprobs, features, _ = model.score_features(ids)
    keys = directions(features)

    def fitted(theta: float) -> tuple[float, float]:
        """Give log p of the text under the best weight, and that."""
        with np.errstate(divide="ignore"):
            logs = np.stack([logprobs, np.log(recalled_shares(ids, keys, 0, theta=theta, window=window))])
            weights = best_weights(logs, prior=np.array([1.0, 0.0]))
            mixed = np.logaddexp(*(np.log(weights)[:, None] + logs))
        return float(mixed.sum()), float(weights[1])

    theta, _ = climb(lambda theta: fitted(theta)[0], _FIRST, factor=_FACTOR, least=1, most=SHARPEST)
    return NeuralCache(model=model, theta=theta, weight=fitted(theta)[1], window=window)
