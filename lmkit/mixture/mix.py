"""Put trained models together, with the weights that suit a text best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lmkit.errors import UsageError
from lmkit.mixture.em import best_weights
from lmkit.mixture.linear import Mixture, checked_weights
from lmkit.mixture.widened import Widened, joint_tokenizer
from lmkit.model import LanguageModel
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.tokenizer import Tokenizer


def mix(
    models: Sequence[LanguageModel],
    *,
    tune: str | PathLike | Iterable[PathLike] | Corpus | None = None,
    weights: Sequence[float] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Mixture:
    """Make a mixture of models.

    Their vocabularies may differ, if their tokenizers do not: the mixture's holds the words of all, and a model gives
    the probability 0 to a word that it does not know.

    Args:
        models: Two or more.
        tune: A text that none of them has learnt from; the weights are those that make it most likely.
        weights: The weights themselves, in place of a text.
        report: Receives lines for the user: what each model and the mixture make of the text.

    Raises:
        UsageError: there are not two models, their tokenizers differ, or the weights are none.
        InputError: the text is empty or cannot be read as text.

    >>> import lmkit
    >>> bigram, unigram = (lmkit.train("the fox ran .\\nthe owl sat .\\n" * 9, order=n, holdout=0) for n in (2, 1))
    >>> both = mix([bigram, unigram], tune="the fox sat .\\nthe owl ran .\\n")
    >>> both.weights.round(2).tolist()
    [0.96, 0.04]
    """
    if len(models) < 2:
        raise UsageError("a mixture needs two models or more")
    if (tune is None) == (weights is None):
        raise UsageError("a mixture needs a text to find its weights on (tune), or the weights themselves")
    tokenizer = joint_tokenizer([model.tokenizer for model in models])
    parts = [model if _same(model.tokenizer, tokenizer) else Widened.of(model, tokenizer) for model in models]
    if weights is not None:
        return Mixture(models=parts, weights=checked_weights(weights, len(parts)))
    assert tune is not None
    corpus = tokenizer.reads(Corpus.of(tune), tokenizer.specials)
    even = Mixture(models=parts, weights=np.full(len(parts), 1 / len(parts)))
    logprobs, _ = even.score_parts(tokenizer.encode_corpus(corpus))
    mixture = Mixture(models=parts, weights=best_weights(logprobs))
    for model, weight, of_model in zip(models, mixture.weights, logprobs, strict=True):
        known = np.isfinite(of_model)
        unknown = "" if known.all() else f" ({(~known).sum():,} words that only others know left out)"
        report(
            f"{model.backend:8} weight {weight:.4f}, perplexity {_perplexity(of_model[known]):.2f}{unknown}"
        )
    report(f"mixture  perplexity {_perplexity(mixture.average(logprobs)):.2f} ({logprobs.shape[1]:,} tokens)")
    return mixture


def _same(one: Tokenizer, other: Tokenizer) -> bool:
    return one.vocab == other.vocab and one.settings() == other.settings()


def _perplexity(logprobs: np.ndarray) -> float:
    return float(np.exp(-logprobs.mean(dtype=np.float64))) if len(logprobs) else np.inf
