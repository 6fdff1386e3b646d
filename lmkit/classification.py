"""Which of several models a line is most likely of: its language, its author, its kind.

    p(k | line) ~ p(k) p_k(line)

Bayes' rule with a model for each class (a generative classifier). The models may have different tokenizers: each gives
the whole line a probability. What a model does not know costs it no more than its `<unk>`; models of bytes and subwords
know all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lmkit.errors import UsageError
from lmkit.model import Context, LanguageModel
from lmkit.scoring import line_scores
from lmkit.text.corpus import Corpus, PathLike


@dataclass(frozen=True, kw_only=True)
class Classified:
    """A line, and where it belongs.

    Attributes:
        text: the line, without its end.
        label: the likeliest class; the first of equals.
        probability: of that class, given the line; as before it, where no class can have such a line.
        logprobs: by class, log p of the line under its model, in nats.
        oov: by class, how many tokens its model does not know.
    """

    text: str
    label: str
    probability: float
    logprobs: dict[str, float]
    oov: dict[str, int]


def classify(
    models: Mapping[str, LanguageModel],
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    prior: Mapping[str, float] | None = None,
    context: Context | None = "line",
) -> Iterator[Classified]:
    """Say of each line of a text which model it is most likely of.

    Args:
        models: By the name of the class, two or more.
        text_or_path: See `Corpus.of`.
        prior: How frequent each class is, as numbers above 0; equally if not given.
        context: How far back the models look; see `perplexity`. If not given, each line is by itself.

    Raises:
        UsageError: there are not two models, or the prior is not one of these classes.
        InputError: the text is empty or cannot be read as text.

    >>> import lmkit
    >>> texts = {"fox": "the fox ran .\\n" * 20, "owl": "the owl sat .\\n" * 20}
    >>> models = {name: lmkit.train(text, tokenizer="char", order=3, holdout=0) for name, text in texts.items()}
    >>> [line.label for line in classify(models, "an owl .\\na fox .\\n")]
    ['owl', 'fox']
    """
    if len(models) < 2:
        raise UsageError("to say which class a line is of takes two models or more")
    names = list(models)
    shares = dict.fromkeys(names, 1.0) if prior is None else dict(prior)
    if shares.keys() != models.keys() or not all(0 < share < np.inf for share in shares.values()):
        raise UsageError(f"the prior must give each class a number above 0: {', '.join(names)}")
    log_prior = np.log([shares[name] for name in names])
    corpus = Corpus.of(text_or_path)
    scores = [line_scores(model, corpus, context=context) for model in models.values()]
    for of_line in zip(*scores, strict=True):
        logprobs = np.array([score.logprob for score in of_line])
        possible = np.isfinite(logprobs).any()
        weighed = logprobs + log_prior if possible else log_prior  # a line that no class has says nothing
        best = int(weighed.argmax())
        yield Classified(
            text=of_line[0].text,
            label=names[best],
            probability=float(1 / np.exp(weighed - weighed[best]).sum()),
            logprobs=dict(zip(names, logprobs.tolist(), strict=True)),
            oov={name: score.oov for name, score in zip(names, of_line, strict=True)},
        )
