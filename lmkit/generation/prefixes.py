"""What a text is to go on from: any prefix, ending after a word, within one, or after a space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lmkit.errors import InputError
from lmkit.model import LanguageModel, State
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS, SPECIALS, UNK


@dataclass(frozen=True, eq=False)
class Prefix:
    """A prefix as a model reads it.

    Attributes:
        text: as it was written.
        ids: (T,) int32, the tokens that are certain.
        typed: what was written of the token that comes next; empty if that is any.
        allowed: (V,) the tokens that begin with `typed`; None if that is any.
    """

    text: str
    ids: np.ndarray
    typed: bytes = b""
    allowed: np.ndarray | None = None


def read_prefix(tokenizer: Tokenizer, text: str, *, complete: bool = False) -> Prefix:
    r"""Cut a prefix into tokens; where its last token may be a part of one, it is left open.

    Subwords cut a text where its last word ends, but where more letters follow they would cut elsewhere, and a space
    at the end belongs to the next word: so the last subword may become any that begins with it. Of words, the last one
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
    >>> prefix.ids.tolist(), prefix.typed, np.flatnonzero(prefix.allowed).tolist()
    ([3], b'fo', [4, 5])
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"the prefix {text!r} is not UTF-8 text") from None
    *whole, rest = text.split("\n")
    ids = np.concatenate([tokenizer.encode_lines(whole), tokenizer.encode(rest)]).astype(np.int32)
    if not len(ids) or ids[-1] == EOS or (tokenizer.joiner and rest[-1:].isspace()):
        return Prefix(text, ids)
    if tokenizer.joiner:
        open_end = complete or ids[-1] == UNK
        typed = rest[rest.rfind(tokenizer.joiner) + 1 :].encode()
    else:
        typed = tokenizer.bytes_of(int(ids[-1]))
        open_end = ids[-1] != UNK and tokenizer.kind not in ("char", "byte")  # those have nothing longer
    if not open_end or typed == SPECIALS[UNK].encode():
        return Prefix(text, ids)
    allowed = beginning_with(tokenizer, typed)
    others = allowed.sum() > (0 if tokenizer.joiner else 1)
    return Prefix(text, ids[:-1], typed, allowed) if others else Prefix(text, ids)


def beginning_with(tokenizer: Tokenizer, typed: bytes) -> np.ndarray:
    """Mark the tokens (V,) that begin with some bytes, no special ones."""
    found = np.zeros(len(tokenizer.vocab), bool)
    if tokenizer.joiner:
        begin = typed.decode("utf-8", errors="surrogateescape")
        found[[i for i, token in enumerate(tokenizer.vocab.tokens) if token.startswith(begin)]] = True
    else:
        found[[i for i in range(len(found)) if tokenizer.bytes_of(i).startswith(typed)]] = True
    found[: len(SPECIALS)] = False
    return found


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
