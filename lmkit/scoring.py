r"""The log-probability of each line, and which of several lines is the likeliest.

log p(line) = sum over its tokens of log p(token | what came before), its end included
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lmkit.errors import UsageError
from lmkit.model import Context, LanguageModel
from lmkit.reading import scored_blocks
from lmkit.text.corpus import NEWLINE, Corpus, PathLike


@dataclass(frozen=True, kw_only=True)
class LineScore:
    """What a model makes of a line.

    Attributes:
        text: the line, without its end.
        logprob: log p of the whole line, in nats; the sum, in float64, of those of its tokens.
        tokens: how many there are, its end included.
        oov: how many of them the model does not know.
    """

    text: str
    logprob: float
    tokens: int
    oov: int

    @property
    def per_token(self) -> float:
        """Mean log p of a token, in nats: what lines of different lengths compare by."""
        return self.logprob / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(-per_token)."""
        return float(np.exp(-self.per_token))


def line_scores(
    model: LanguageModel,
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    context: Context | None = None,
) -> Iterator[LineScore]:
    r"""Give the score of each line of a text, one after the other.

    Args:
        model: Any language model.
        text_or_path: See `Corpus.of`.
        context: `line` scores each line as if it were the first of a text, `document` the first line and each after a
            blank one; `stream` lets a model that remembers read on. If not given, as the model is measured.

    Raises:
        InputError: the text is empty or cannot be read as text.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=ByteTokenizer())
    >>> [(score.text, score.tokens, round(score.logprob, 3)) for score in line_scores(model, "fox\n\n")]
    [('fox', 4, -22.196), ('', 1, -5.549)]
    """
    for block in scored_blocks(model, Corpus.of(text_or_path), context=context):
        lines = block.text.removesuffix(NEWLINE).split(NEWLINE)
        columns = (block.logprobs.tolist(), block.tokens.tolist(), block.oov.tolist())
        for line, logprob, tokens, oov in zip(lines, *columns, strict=True):
            yield LineScore(text=line.decode(errors="replace"), logprob=logprob, tokens=tokens, oov=oov)


def rank(model: LanguageModel, lines: Iterable[str], *, per_token: bool = False) -> list[LineScore]:
    """Give lines by falling probability, each scored as if it were the first of a text; equal ones in their order.

    Args:
        model: Any language model.
        lines: Lines without their ends.
        per_token: Whether to go by the mean of a token: of two lines the longer one is mostly the less likely.

    Raises:
        UsageError: there are none, or one holds a line end.

    >>> import lmkit
    >>> model = lmkit.train("the old fox ran .\\n" * 20, order=3, holdout=0)
    >>> [score.text for score in rank(model, ["fox the ran old .", "the old fox ran ."])]
    ['the old fox ran .', 'fox the ran old .']
    """
    lines = list(lines)
    if not lines or any("\n" in line for line in lines):
        raise UsageError("to rank lines takes one or more, none with a line end in it")
    scores = line_scores(model, Corpus.from_text("".join(f"{line}\n" for line in lines)), context="line")
    return sorted(scores, key=lambda score: -(score.per_token if per_token else score.logprob))
