"""Keep the lines of a text that a model finds likely: those like the text that it has learnt from.

A line's measure is its perplexity, so that long lines and short ones compare (Wenzek et al. 2020, CCNet).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lmkit.errors import UsageError
from lmkit.model import Context, LanguageModel
from lmkit.reading import scored_blocks
from lmkit.text.corpus import Corpus, PathLike


@dataclass(frozen=True, kw_only=True)
class Parted:
    """Some lines of a text.

    Attributes:
        kept, rest: those that are likely enough, and the others, in their order.
        lines, lines_kept: how many there are, and how many of them are kept.
    """

    kept: bytes
    rest: bytes
    lines: int
    lines_kept: int


def filter_lines(
    model: LanguageModel,
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    max_ppl: float | None = None,
    quantile: float | None = None,
    context: Context | None = "line",
) -> Iterator[Parted]:
    """Part the lines of a text, many at a time; memory does not grow with it, but by 4 bytes a line for `quantile`.

    Args:
        model: Any language model.
        text_or_path: See `Corpus.of`.
        max_ppl: Keep lines of at most this perplexity a token.
        quantile: Or this share of all lines, the likeliest, and those as likely as the last of them. The text is read
            twice.
        context: How far back the model looks; see `perplexity`. If not given, each line is by itself.

    Raises:
        UsageError: neither is given, or both, or one is out of its range.
        InputError: the text is empty or cannot be read as text.

    >>> import lmkit
    >>> model = lmkit.train("the old fox ran .\\n" * 20, order=3, holdout=0)
    >>> parts = list(filter_lines(model, "the old fox ran .\\nran ran the\\n", max_ppl=2))
    >>> parts[0].kept, parts[0].rest
    (b'the old fox ran .\\n', b'ran ran the\\n')
    """
    if (max_ppl is None) == (quantile is None):
        raise UsageError("lines are kept by max_ppl or by quantile: give one of them, such as --quantile 0.3")
    if quantile is not None and not 0 < quantile <= 1:
        raise UsageError(
            f"quantile {quantile}: is the share of lines to keep; give a number above 0 and at most 1"
        )
    if max_ppl is not None and not max_ppl >= 1:
        raise UsageError(f"max_ppl {max_ppl}: no line has a perplexity below 1")
    corpus = Corpus.of(text_or_path)
    blocks = scored_blocks(model, corpus, context=context)
    if max_ppl is not None:
        limit = math.log(max_ppl)
        for block in blocks:
            yield parted(block.text, -block.logprobs / block.tokens <= limit)
        return
    assert quantile is not None
    found = [(-block.logprobs / block.tokens).astype(np.float32) for block in blocks]
    surprisals = np.concatenate(found)
    limit = np.partition(surprisals, last := max(0, math.ceil(round(quantile * len(surprisals), 6)) - 1))[
        last
    ]
    texts = model.tokenizer.reads(corpus, model.tokenizer.specials)
    begin = 0
    for text in texts.blocks():
        end = begin + text.count(b"\n")
        yield parted(text, surprisals[begin:end] <= limit)
        begin = end


def parted(text: bytes, chosen: np.ndarray) -> Parted:
    r"""Part lines by whether they are chosen (L,).

    >>> parted(b"a\nb\nc\n", np.array([True, False, True]))
    Parted(kept=b'a\nc\n', rest=b'b\n', lines=3, lines_kept=2)
    """
    from lmkit.text import kernels

    kept, rest = np.empty(len(text), np.uint8), np.empty(len(text), np.uint8)
    sizes = kernels.part_lines(np.frombuffer(text, np.uint8), chosen, kept, rest)
    return Parted(
        kept=kept[: sizes[0]].tobytes(),
        rest=rest[: sizes[1]].tobytes(),
        lines=len(chosen),
        lines_kept=int(chosen.sum()),
    )
