"""How far back a model looks while it reads: to the beginning of the line, of the document, or of all text.

A model that forgets at line ends (`model.context` is `line`) looks no further whatever is asked. One that reads on can
be made to begin anew: at each line, or after each blank line, which separates documents.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmkit.model import Context, LanguageModel, State
from lmkit.text.vocabulary import EOS


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
    >>> score_in_context(model, model.tokenizer.encode_block(b"a\\n\\n"), None, "line")[0].round(2).tolist()
    [-5.55, -5.55, -5.55]
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
