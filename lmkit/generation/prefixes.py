"""What a text is to go on from: any prefix, ending after a word, within one, or after a space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lmkit.errors import InputError
from lmkit.model import LanguageModel, State
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS, SEPARATORS, SPECIALS, UNK

_TOKENS = 8  # of subwords, that the last word may be cut into


@dataclass(frozen=True, eq=False)
class Prefix:
    """A prefix as a model reads it.

    Attributes:
        text: as it was written.
        ids: (T,) int32, the tokens that are certain.
        typed: the bytes behind them, which the next tokens have to spell; empty if those may be any.
    """

    text: str
    ids: np.ndarray
    typed: bytes = b""


def read_prefix(tokenizer: Tokenizer, text: str, *, complete: bool = False) -> Prefix:
    r"""Cut a prefix into tokens; where its last word may be a part of one, it is left open.

    Subwords cut a text where its last word ends, but where more letters follow they would cut elsewhere, and a space
    at the end belongs to the next word: so the last word is left to any subwords that spell it. Of words, the last one
    is completed if it is not known and some known word begins with it; a space behind it says that it is whole.

    Args:
        tokenizer: Of the model.
        text: Any text, of several lines if it likes.
        complete: Whether the last word is to be completed even if it is known.

    Raises:
        InputError: the text is not UTF-8.

    >>> from lmkit.text.vocabulary import Vocabulary
    >>> from lmkit.text.word import WordTokenizer
    >>> prefix = read_prefix(WordTokenizer(vocab=Vocabulary.from_tokens(["the", "fox", "four"])), "the fo")
    >>> prefix.ids.tolist(), prefix.typed
    ([3], b'fo')
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"the prefix {text!r} is not UTF-8 text") from None
    *whole, rest = text.split("\n")
    ids = np.concatenate([tokenizer.encode_lines(whole), tokenizer.encode(rest)]).astype(np.int32)
    if tokenizer.kind in ("char", "byte") or not rest:  # no token is longer than what was typed
        return Prefix(text, ids)
    if tokenizer.joiner:
        word = SEPARATORS.split(rest)[-1]  # empty behind a space
        if word and (complete or (ids[-1] == UNK and word != SPECIALS[UNK])):
            typed = word.encode()
            return (
                Prefix(text, ids[:-1], typed)
                if Spelling(tokenizer).allowed(typed).any()
                else Prefix(text, ids)
            )
        return Prefix(text, ids)
    count = 0
    for token in ids[: -_TOKENS - 1 : -1].tolist():
        if token <= EOS:
            break
        count += 1
        if tokenizer.bytes_of(token).startswith(b" "):
            break
    typed = b"".join(tokenizer.bytes_of(token) for token in ids[len(ids) - count :].tolist())
    return Prefix(text, ids[: len(ids) - count], typed)


class Spelling:
    """Which tokens can spell what was typed, one after another.

    >>> from lmkit.text.vocabulary import Vocabulary
    >>> from lmkit.text.word import WordTokenizer
    >>> spelling = Spelling(WordTokenizer(vocab=Vocabulary.from_tokens(["the", "fox", "four"])))
    >>> np.flatnonzero(spelling.allowed(b"fo")).tolist()
    [4, 5]
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._found: dict[bytes, np.ndarray] = {}

    def allowed(self, typed: bytes) -> np.ndarray:
        """Mark the tokens (V,) that begin with what was typed, and, of subwords, those that it begins with."""
        if typed not in self._found:
            tokenizer, size = self.tokenizer, len(self.tokenizer.vocab)
            if tokenizer.joiner:
                begun = typed.decode("utf-8", errors="surrogateescape")
                fits = [token.startswith(begun) for token in tokenizer.vocab.tokens]
            else:
                pieces = (tokenizer.bytes_of(index) for index in range(size))
                fits = [
                    piece.startswith(typed) or (piece != b"" and typed.startswith(piece)) for piece in pieces
                ]
            fits[: len(SPECIALS)] = [False] * len(SPECIALS)
            self._found[typed] = np.array(fits)
        return self._found[typed]

    def rest(self, typed: bytes, token: int) -> bytes:
        """Give what is still to be spelt after a token."""
        return b"" if self.tokenizer.joiner else typed[len(self.tokenizer.bytes_of(token)) :]


class Reader:
    """Reads texts with a model, and keeps the state of the last one: a longer text goes on from there.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> reader = Reader(UniformModel(tokenizer=ByteTokenizer()))
    >>> len(reader.state(np.array([70, 71])))
    1
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.ids = np.empty(0, np.int32)
        self.last: Any = None

    def state(self, ids: np.ndarray) -> State:
        """Give the state after tokens (T,)."""
        known = len(self.ids)
        if self.last is None or not np.array_equal(self.ids, ids[:known]):
            known, self.last = 0, self.model.start()
        if len(ids) > known:
            self.last = self.model.score_ids(ids[known:], self.last)[1]
        self.ids = ids
        found: State = self.last
        return found
