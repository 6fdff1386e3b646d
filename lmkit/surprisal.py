r"""The surprisal of every token, or of every word: how unexpected it was where it stood.

    s(w_t) = -log p(w_t | w_1 ... w_{t-1})

It predicts how long people look at a word (Hale 2001; Levy 2008). Words are what white space separates. A model of
characters, bytes or subwords gives each word the sum over its tokens; the space behind a word is the word's, since
only there it is known to be over (Pimentel and Meister 2024), unless a subword that begins with it carries it into the
next. Line ends stand alone, so that every tokenizer gives the same words and the same number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmkit.model import Context, LanguageModel, State
from lmkit.reading import context_of, cuts, pieces, score_in_pieces
from lmkit.text.corpus import NEWLINE, Corpus, PathLike
from lmkit.text.vocabulary import EOS, SPACES

_FIELDS = ("logprob", "oov", "rank", "entropy")


@dataclass(frozen=True, kw_only=True)
class TokenScore:
    """A token, or a word, and what a model makes of it.

    Attributes:
        line: the line that it is in, from 1 on.
        start, end: the characters of the line that it is, `end` not included; the line end is behind the last.
        text: these characters; `</s>` for the line end.
        logprob: log p, in nats.
        oov: whether the model does not know it; of a word, whether there is something in it that it does not know.
        evidence: what the probability rests on, by name; see `LanguageModel.evidence`. Of a single token only.
        rank: how many tokens were likelier, plus one. Where distributions are asked for, of a single token only.
        entropy: of the distribution that it was drawn from, in nats; the same.
    """

    line: int
    start: int
    end: int
    text: str
    logprob: float
    oov: bool
    evidence: dict[str, float]
    rank: int | None = None
    entropy: float | None = None

    @property
    def nats(self) -> float:
        """Surprisal in nats."""
        return -self.logprob

    @property
    def bits(self) -> float:
        """Surprisal in bits."""
        return -self.logprob / math.log(2)

    @property
    def entropy_bits(self) -> float | None:
        """Entropy in bits."""
        return None if self.entropy is None else self.entropy / math.log(2)


def token_scores(
    model: LanguageModel,
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    context: Context | None = None,
    distributions: bool = False,
) -> Iterator[TokenScore]:
    """Give the score of each token of a text, one after the other.

    Args:
        model: Any language model.
        text_or_path: See `Corpus.of`.
        context: How far back the model looks; see `perplexity`.
        distributions: Whether to look at all that could have followed, too, for ranks and entropies: a step a token.

    Raises:
        InputError: the text is empty or cannot be read as text.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=ByteTokenizer())
    >>> [(score.text, round(score.bits, 2)) for score in token_scores(model, "ox")]
    [('o', 8.01), ('x', 8.01), ('</s>', 8.01)]
    """
    for _, tokens in _scored_lines(
        model, text_or_path, context=context, evidence=True, distributions=distributions
    ):
        yield from tokens


def word_scores(
    model: LanguageModel,
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    context: Context | None = None,
) -> Iterator[TokenScore]:
    r"""Give the score of each word and each line end of a text, whatever the tokens of the model are.

    A line of nothing but spaces has no word; they are its end's. The arguments are those of `token_scores`.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=ByteTokenizer())
    >>> [(score.text, round(score.bits, 2)) for score in word_scores(model, "an ox")]
    [('an', 24.02), ('ox', 16.01), ('</s>', 8.01)]
    """
    for text, tokens in _scored_lines(model, text_or_path, context=context):
        *inside, line_end = tokens
        words: list[list[TokenScore]] = [[]]
        over = False  # whether the word at hand is
        for token in inside:
            if token.text.strip(SPACES):
                apart = words[-1] and token.start > words[-1][-1].end  # by spaces that are no tokens
                if (over or apart or token.text[0] in SPACES) and _seen(words[-1]):
                    words.append([])
                over = token.text[-1] in SPACES
            else:
                over = True
            words[-1].append(token)
        spaces = [] if _seen(words[-1]) else words.pop()  # a line of nothing else: they are its end's
        yield from (_joined(parts, text) for parts in words)
        yield replace(line_end, logprob=math.fsum(part.logprob for part in (*spaces, line_end)))


def _seen(parts: list[TokenScore]) -> bool:
    """Whether there is anything but spaces."""
    return any(part.text.strip(SPACES) for part in parts)


def _joined(parts: list[TokenScore], line: str) -> TokenScore:
    start, end = parts[0].start, max(part.end for part in parts)
    said = line[start:end]
    start += len(said) - len(said.lstrip(SPACES))
    return TokenScore(
        line=parts[0].line,
        start=start,
        end=start + len(said.strip(SPACES)),
        text=said.strip(SPACES),
        logprob=math.fsum(part.logprob for part in parts),
        oov=any(part.oov for part in parts),
        evidence={},
    )


def _scored_lines(
    model: LanguageModel,
    text_or_path: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    context: Context | None,
    evidence: bool = False,
    distributions: bool = False,
) -> Iterator[tuple[str, list[TokenScore]]]:
    """Give each line with its tokens."""
    corpus = model.tokenizer.reads(Corpus.of(text_or_path), model.tokenizer.specials)
    looks_back = context_of(model, context)
    state: State | None = None
    number = 0
    for block in corpus.blocks():
        ids = model.tokenizer.encode_block(block, oov=-1)
        known = np.maximum(ids, 0)
        anew = cuts(model, block, ids, looks_back)
        columns = _columns(model, known, state, anew, evidence=evidence, distributions=distributions)
        columns["logprob"], state = score_in_pieces(model, known, state, anew)
        columns["oov"] = ids < 0
        begin = 0
        ends = (np.flatnonzero(ids == EOS) + 1).tolist()
        for line, end in zip(block.removesuffix(NEWLINE).split(NEWLINE), ends, strict=True):
            number += 1
            text = line.decode(errors="surrogateescape")
            here = {name: column[begin:end] for name, column in columns.items()}
            yield text, list(_rows(model, number, text, here))
            begin = end


def _columns(
    model: LanguageModel,
    ids: np.ndarray,
    state: State | None,
    ends: list[int],
    *,
    evidence: bool,
    distributions: bool,
) -> dict[str, np.ndarray]:
    """Give what there is to say of each token (T,) beside its probability."""
    columns: dict[str, np.ndarray] = {}
    if distributions:
        columns = {"rank": np.empty(len(ids), np.int64), "entropy": np.empty(len(ids))}
    for piece, before in pieces(len(ids), ends, state):
        now: Any = model.start() if before is None else before
        found = model.evidence(ids[piece], now) if evidence else None
        if found is not None:
            columns.setdefault(found[0], np.empty(len(ids), found[1].dtype))[piece] = found[1]
        for t in range(piece.start, piece.stop if distributions else piece.start):
            logprobs = model.next_logprobs(now)[0].astype(np.float64)
            columns["rank"][t] = 1 + (logprobs > logprobs[ids[t]]).sum()
            possible = logprobs[np.isfinite(logprobs)]
            columns["entropy"][t] = -(np.exp(possible) * possible).sum()
            now = model.step(now, ids[t : t + 1])
    return columns


def _rows(
    model: LanguageModel, number: int, text: str, columns: dict[str, np.ndarray]
) -> Iterator[TokenScore]:
    spans = [*model.tokenizer.spans(text), (len(text), len(text))]
    names = [name for name in columns if name not in _FIELDS]
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    for (start, end), row in zip(spans, values, strict=True):
        facts = dict(zip(columns, row, strict=True))
        evidence = {name: facts.pop(name) for name in names}
        shown = "</s>" if start == len(text) else text[start:end]
        yield TokenScore(line=number, start=start, end=end, text=shown, evidence=evidence, **facts)
