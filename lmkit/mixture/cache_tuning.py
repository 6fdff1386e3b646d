"""The half-lives and weights under which a cache suits a text best."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lmkit.errors import UsageError
from lmkit.mixture.cache import WINDOW, Cached, decay, mix_shares, recalled_shares
from lmkit.mixture.em import best_weights
from lmkit.model import LanguageModel
from lmkit.text.corpus import Corpus, PathLike

ORDER = 4  # of the longest n-gram that is remembered
_HALF_LIVES = tuple(float(2**power) for power in range(6, 16))
_FIRST = 512.0
_PRIOR = 50.0  # tokens that the weights of shorter matches count for
_ROUNDS = 2


def tuned_cache(
    model: LanguageModel,
    tune: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    order: int = ORDER,
    window: int = WINDOW,
) -> Cached:
    """Put a cache on a model.

    Args:
        model: Any language model.
        tune: A text that it has not learnt from, such as those that it is to read; lines in their natural order.
        order: The longest n-gram that is remembered; 1 remembers words alone.
        window: How many tokens are looked back on.

    Raises:
        UsageError: order or window is out of its range.
        InputError: the text is empty or cannot be read as text.

    >>> import lmkit
    >>> model = lmkit.train("the fox ran .\\nthe owl sat .\\n" * 9, order=2, holdout=0)
    >>> cached = tuned_cache(model, "a fox sat .\\na fox ran .\\n" * 5, window=64)
    >>> text = "an owl sat .\\nan owl ran .\\n" * 5
    >>> lmkit.perplexity(cached, text).perplexity < lmkit.perplexity(model, text).perplexity
    True
    """
    if not 1 <= order <= 16 or window < 1:
        raise UsageError(
            f"a cache has an order of 1 to 16 and a window of at least 1, not {order} and {window}"
        )
    ids = model.tokenizer.encode_corpus(model.tokenizer.reads(Corpus.of(tune), model.tokenizer.specials))
    logprobs, _ = model.score_ids(ids)
    vocab_size = len(model.tokenizer.vocab)

    def fitted(half_lives: list[float]) -> tuple[float, np.ndarray]:
        shares, longest = recalled_shares(ids, 0, powers=decay(half_lives, window), vocab_size=vocab_size)
        weights = _weights(logprobs, shares, longest)
        return float(mix_shares(logprobs, shares, longest, weights).sum(dtype=np.float64)), weights

    best = [_FIRST] * order
    likeliest, weights = fitted(best)
    for _ in range(_ROUNDS):
        for m in range(order):
            for half_life in _HALF_LIVES:
                tried = [*best[:m], half_life, *best[m + 1 :]]
                found, its_weights = fitted(tried)
                if found > likeliest:
                    likeliest, weights, best = found, its_weights, tried
    return Cached(model=model, half_lives=best, weights=weights, window=window)


def _weights(logprobs: np.ndarray, shares: np.ndarray, longest: np.ndarray) -> np.ndarray:
    """Give the weights (M + 2, M + 2) for each longest match, drawn to those of the match before where few have it."""
    size = len(shares) + 1
    weights = np.zeros((size, size))
    weights[0, 0] = 1.0
    with np.errstate(divide="ignore"):
        logs = np.concatenate([logprobs[None], np.log(shares)])
    for m in range(size - 1):
        before = weights[m].copy()
        if m == 0:
            before[:2] = 0.5
        here = logs[: m + 2, longest == m]
        weights[m + 1, : m + 2] = best_weights(here, prior=_PRIOR * before[: m + 2])
    return weights
