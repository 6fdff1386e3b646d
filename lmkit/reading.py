"""Reading a text with a model: block after block, looking back as far as is wanted.

A model that forgets at line ends (`model.context` is `line`) looks no further whatever is asked, and reads on all
cores. One that reads on can be made to begin anew: at each line, or after each blank line, which separates documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmkit.model import Context, LanguageModel, State
from lmkit.text.corpus import Corpus
from lmkit.text.vocabulary import EOS
from lmkit.threads import in_order

_LINES_BYTES = 1 << 17  # of text that one thread reads at a time: it stays in a core's cache


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some lines of a text, and what a model makes of each of the L of them.

    Attributes:
        source: the number of the file that they are of.
        text: the lines, as they were read.
        words, characters: how many there are, line ends counted among the characters.
        logprobs_known, logprobs_oov: (L,) float64, log p of the known words of each line, and of the unknown, in nats.
        tokens, oov: (L,) int64, how many tokens each has, its end included, and how many of them are unknown.
    """

    source: int
    text: bytes
    words: int
    characters: int
    logprobs_known: np.ndarray
    logprobs_oov: np.ndarray
    tokens: np.ndarray
    oov: np.ndarray

    @property
    def logprobs(self) -> np.ndarray:
        """(L,) float64, log p of each line."""
        return self.logprobs_known + self.logprobs_oov


def scored_blocks(model: LanguageModel, corpus: Corpus, *, context: Context | None = None) -> Iterator[Block]:
    """Give a text with its scores, many lines at a time.

    Args:
        model: Any language model.
        corpus: Read under the rules of the model's tokenizer.
        context: How far back the model looks; as far as it can if not given.

    Raises:
        InputError: the text is empty or cannot be read as text.
    """
    from lmkit.text import kernels

    corpus = model.tokenizer.reads(corpus, model.tokenizer.specials)
    looks_back = context_of(model, context)

    def scored(source: int, text: bytes, state: State | None) -> tuple[Block, State | None]:
        lines, words, characters = kernels.count_text(np.frombuffer(text, np.uint8))
        ids = model.tokenizer.encode_block(text, oov=-1)
        logprobs, state = score_in_context(model, np.maximum(ids, 0), state, looks_back)
        sums, counts = np.empty((2, lines)), np.empty((2, lines), np.int64)
        kernels.tally_lines(ids, logprobs, *sums, *counts)
        block = Block(
            source=source,
            text=text,
            words=words,
            characters=characters,
            logprobs_known=sums[0],
            logprobs_oov=sums[1],
            tokens=counts[0],
            oov=counts[1],
        )
        return block, state

    if model.context == "line":
        yield from in_order(lambda item: scored(*item, None)[0], corpus.numbered_blocks(_LINES_BYTES))
        return
    state = None
    for source, text in corpus.numbered_blocks():
        block, state = scored(source, text, state)
        yield block


def context_of(model: LanguageModel, asked: Context | None) -> Context:
    """Give how far back a model looks, where so much is asked for; None is as far as it can."""
    return model.context if model.context == "line" or asked is None else asked


def pieces(
    model: LanguageModel, ids: np.ndarray, state: State | None, context: Context
) -> Iterator[tuple[slice, State | None]]:
    """Cut whole lines (T,) where the model begins anew; give each piece and the state before it, None at a start."""
    if context == "stream" or model.context == "line":
        yield slice(0, len(ids)), state
        return
    begin = 0
    for end in _ends(ids, context):
        yield slice(begin, end), state
        begin, state = end, None
    if begin < len(ids):
        yield slice(begin, len(ids)), state


def score_in_context(
    model: LanguageModel, ids: np.ndarray, state: State | None, context: Context
) -> tuple[np.ndarray, State | None]:
    """Give log p of each token (T,) of whole lines, and the state after them, to go on from.

    Args:
        model: Any language model.
        ids: (T,) whole lines, a `</s>` at each end.
        state: After the lines before; None is the start of a text, and is given back where the model is to begin anew.
        context: How far back it looks; see `context_of`.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=ByteTokenizer())
    >>> score_in_context(model, model.tokenizer.encode_block(b"a\\n\\n"), None, "line")[0].shape
    (3,)
    """
    scores = [np.empty(0, np.float32)]
    after = state
    for piece, before in pieces(model, ids, state, context):
        of_piece, after = model.score_ids(ids[piece], before)
        scores.append(of_piece)
    begins_anew = context != "stream" and model.context != "line" and len(ids) in _ends(ids, context)
    return np.concatenate(scores), None if begins_anew else after


def _ends(ids: np.ndarray, context: Context) -> list[int]:
    """Give the places behind which a line is over, or a blank line, with which a document is."""
    ends = np.flatnonzero(np.asarray(ids) == EOS)
    if context == "document":
        ends = ends[(ends == 0) | (ids[ends - 1] == EOS)]
    return (ends + 1).tolist()
