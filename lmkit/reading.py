"""Reading a text with a model: block after block, looking back as far as is wanted.

A model that forgets at line ends (`model.context` is `line`) looks no further whatever is asked, and reads on all
cores. One that reads on can be made to begin anew: at each line, or after each blank line, which separates documents.
A line of nothing but spaces is blank, whatever the tokens of the model are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmkit.model import Context, LanguageModel, State
from lmkit.text.corpus import NEWLINE, Corpus
from lmkit.text.vocabulary import EOS, SPACES
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
        logprobs, state = score_in_pieces(
            model, np.maximum(ids, 0), state, cuts(model, text, ids, looks_back)
        )
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


def cuts(model: LanguageModel, text: bytes, ids: np.ndarray, context: Context) -> list[int]:
    """Give the places in the ids (T,) of whole lines, behind which a model begins anew: lines, or documents, are over.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=ByteTokenizer())
    >>> model.context = "stream"
    >>> text = b"a\\n \\nb\\n"
    >>> [cuts(model, text, model.tokenizer.encode_block(text), context) for context in ("line", "document", "stream")]
    [[2, 4, 6], [4], []]
    """
    if context == "stream" or model.context == "line":
        return []
    ends = np.flatnonzero(ids == EOS) + 1
    return (ends[_blank_lines(text)] if context == "document" else ends).tolist()


def pieces(length: int, ends: list[int], state: State | None) -> Iterator[tuple[slice, State | None]]:
    """Cut so many tokens where a model begins anew; give each piece and the state before it, None at a start."""
    begin = 0
    for end in ends:
        yield slice(begin, end), state
        begin, state = end, None
    if begin < length:
        yield slice(begin, length), state


def score_in_pieces(
    model: LanguageModel, ids: np.ndarray, state: State | None, ends: list[int]
) -> tuple[np.ndarray, State | None]:
    """Give log p of each token (T,) of whole lines, and the state after them, to go on from.

    Args:
        model: Any language model.
        ids: (T,) whole lines, a `</s>` at each end.
        state: After the lines before; None is the start of a text, and is given back where the model is to begin anew.
        ends: Where it is to; see `cuts`.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> model = UniformModel(tokenizer=ByteTokenizer())
    >>> score_in_pieces(model, model.tokenizer.encode_block(b"a\\n\\n"), None, [])[0].shape
    (3,)
    """
    scores = [np.empty(0, np.float32)]
    after = state
    for piece, before in pieces(len(ids), ends, state):
        of_piece, after = model.score_ids(ids[piece], before)
        scores.append(of_piece)
    return np.concatenate(scores), None if ends and ends[-1] == len(ids) else after


def _blank_lines(text: bytes) -> np.ndarray:
    """Say of each line (L,) whether there is nothing in it but what separates words."""
    data = np.frombuffer(text, np.uint8)
    solid = ~np.isin(data, np.frombuffer(SPACES.encode(), np.uint8))
    ends = np.flatnonzero(data == NEWLINE[0]) + 1
    return np.add.reduceat(solid, np.append(0, ends[:-1]), dtype=np.int64) == 0
