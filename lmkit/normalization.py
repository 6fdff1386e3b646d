"""Whether a model's distributions sum to one, and say what its scores say: looked at in places of a text.

A number that looks too good is most often one of a model whose probabilities do not sum to one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lmkit.model import LanguageModel
from lmkit.seeds import check_seed
from lmkit.text.corpus import Corpus, PathLike
from lmkit.text.vocabulary import BOS

_TOKENS = 20_000  # from the beginning, within which places are drawn


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What was found.

    Attributes:
        places: how many distributions were looked at.
        deviation: the largest distance of a sum from 1.
        disagreement: the largest distance of a token's score from what the distribution gives it, in nats.
    """

    places: int
    deviation: float
    disagreement: float


def normalization(
    model: LanguageModel,
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    places: int = 100,
    seed: int = 0,
) -> Normalization:
    """Sum the distributions after some places of a text's first 20,000 tokens, drawn by `seed`.

    Raises:
        UsageError: there is no such seed.
        InputError: the text is empty or cannot be read as text.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> found = normalization(UniformModel(tokenizer=ByteTokenizer()), "the old fox")
    >>> found.places, found.deviation < 1e-5
    (12, True)
    """
    corpus = model.tokenizer.reads(Corpus.of(text_or_path), model.tokenizer.specials)
    ids = model.tokenizer.encode_block(next(corpus.blocks()))[:_TOKENS]
    drawn = np.random.default_rng(check_seed(seed)).choice(len(ids), min(places, len(ids)), replace=False)
    scores, _ = model.score_ids(ids)
    state, reached = model.start(), 0
    deviations, disagreements = [0.0], [0.0]
    for place in np.sort(drawn).tolist():
        _, state = model.score_ids(ids[reached:place], state)
        reached = place
        logprobs = model.next_logprobs(state)[0].astype(np.float64)
        logprobs[BOS] = -np.inf  # is never predicted
        deviations.append(abs(float(np.exp(logprobs).sum()) - 1))
        both_never = np.isneginf(logprobs[ids[place]]) and np.isneginf(scores[place])
        disagreements.append(0.0 if both_never else abs(float(logprobs[ids[place]] - scores[place])))
    return Normalization(  # numpy's maximum keeps what is no number
        places=len(drawn), deviation=float(np.max(deviations)), disagreement=float(np.max(disagreements))
    )
