"""The half-lives and weights under which a cache suits a text best."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lmkit.errors import UsageError
from lmkit.mixture.cache import WINDOW, Cached, decay, mix_shares, recalled_shares
from lmkit.mixture.em import best_weights
from lmkit.model import LanguageModel
from lmkit.search import climb
from lmkit.text.corpus import Corpus, PathLike

ORDER = 4  # of the longest n-gram that is remembered
_FIRST, _FIRST_OF_MATCHES = 512.0, 4096.0  # half-lives to begin with
_LEAST, _MOST = 16.0, 65536.0
_SEARCHED = 1 << 17  # tokens of the text that half-lives are compared on
_PRIOR = 50.0  # tokens that the weights of shorter matches count for
_TRUST = 0.1  # weight of a cache before it has shown that it helps
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
    return fitted_cache(model, ids, model.score_ids(ids)[0], order=order, window=window)


def fitted_cache(
    model: LanguageModel, ids: np.ndarray, logprobs: np.ndarray, *, order: int = ORDER, window: int = WINDOW
) -> Cached:
    """Put a cache on a model that gives the tokens (T,) of a text these log-probabilities (T,)."""
    vocab_size = len(model.tokenizer.vocab)

    def fitted(half_lives: list[float], tokens: int) -> tuple[float, np.ndarray]:
        """Give log p of so many tokens with the best weights, and those."""
        powers = decay(half_lives, window)
        shares, longest = recalled_shares(ids[:tokens], 0, powers=powers, vocab_size=vocab_size)
        weights = _weights(logprobs[:tokens], shares, longest)
        mixed = mix_shares(logprobs[:tokens], shares, longest, weights)
        return float(mixed.sum(dtype=np.float64)), weights

    best = [_FIRST, *[_FIRST_OF_MATCHES] * (order - 1)]
    for _ in range(_ROUNDS):
        for m in range(order):
            best[m], _ = climb(
                lambda tokens, m=m: fitted([*best[:m], tokens, *best[m + 1 :]], _SEARCHED)[0],  # type: ignore[misc]
                best[m],
                factor=2.0,
                least=_LEAST,
                most=_MOST,
            )
    return Cached(model=model, half_lives=best, weights=fitted(best, len(ids))[1], window=window)


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
            before[:2] = 1 - _TRUST, _TRUST
        here = logs[: m + 2, longest == m]
        weights[m + 1, : m + 2] = best_weights(here, prior=_PRIOR * before[: m + 2])
    return weights
