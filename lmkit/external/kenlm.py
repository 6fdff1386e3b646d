"""A binary file of KenLM as a model (extra `kenlm`): queried by KenLM itself, through its Python binding.

The binding looks up one word after one state and lists no words. A binary file holds them, though, unless it was built
with `build_binary -v`: they are its end, each followed by a NUL, in the order of KenLM's numbers, `<unk>` first. So the
distribution over all words is known (a look-up for each), and such a model can be measured, sampled and mixed.

What is not possible: keeping it in a model folder, which holds arrays. Import the ARPA file for that, and for speed:
every look-up here is a call from Python.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from lmkit.errors import ModelFormatError, UsageError, missing_package
from lmkit.model import LanguageModel
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS, EOS, SPECIALS, Vocabulary
from lmkit.text.word import WordTokenizer

MAGIC = b"mmap lm http://kheafield.com/code"
_LN10 = math.log(10)
_FIXED, _SIZES = 88, 108  # where the header says what the file holds, and how many n-grams of each order


@dataclass(frozen=True, eq=False)
class KenlmState:
    """States of KenLM at B positions, which are plain values: the words that can still matter."""

    states: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.states)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KenlmState) and self.states == other.states

    __hash__ = None  # type: ignore[assignment]

    def select(self, rows: Sequence[int] | np.ndarray) -> KenlmState:
        """Give the state of some of the positions."""
        return KenlmState(tuple(self.states[int(row)] for row in rows))

    def join(self, *others: KenlmState) -> KenlmState:
        """Give the positions of this state and of others, one after another."""
        return KenlmState(sum((other.states for other in others), self.states))


class KenlmModel(LanguageModel):
    """A model that KenLM holds.

    Words are numbered as in an imported ARPA file: by falling probability, equal ones by their characters.
    """

    backend = "kenlm"
    context = "line"

    def __init__(self, *, model: Any, tokenizer: Tokenizer) -> None:
        """Store a `kenlm.Model` and the tokenizer of its words."""
        self.model = model
        self.tokenizer = tokenizer
        self._new = _library("a model of KenLM").State
        self._begin = self._new()
        model.BeginSentenceWrite(self._begin)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a binary file; KenLM trusts what it holds, so it should come from where you trust it.

        Raises:
            ResourceError: the package kenlm is not installed.
            UsageError: it was built without its words.
            ModelFormatError: it is damaged, or of another version of KenLM.
        """
        library = _library(f"{path}: a binary file of KenLM")
        words = _words(Path(path))
        try:
            model = library.Model(os.fspath(path))
        except (OSError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise ModelFormatError(f"{path}: KenLM cannot open it: {said}") from None
        nothing, after = library.State(), library.State()
        model.NullContextWrite(nothing)
        others = [word for word in words if word not in SPECIALS]
        others.sort(key=lambda word: (-model.BaseScore(nothing, word, after), word))
        return cls(model=model, tokenizer=WordTokenizer(vocab=Vocabulary.from_tokens(others)))

    def start(self, batch_size: int = 1) -> KenlmState:
        """Give the state after `<s>`."""
        return KenlmState((self._begin,) * batch_size)

    def step(self, state: KenlmState, tokens: np.ndarray) -> KenlmState:
        """Give the state after one more token (B,) at each position."""
        return KenlmState(
            tuple(
                self._after(before, int(token))
                for before, token in zip(state.states, self._checked(tokens, len(state)), strict=True)
            )
        )

    def next_logprobs(self, state: KenlmState) -> np.ndarray:
        """Give log p of every token (B, V): a look-up for each."""
        words, score, after = self.tokenizer.vocab.tokens, self.model.BaseScore, self._new()
        out = np.array([[score(before, word, after) for word in words] for before in state.states])
        out = out.reshape(len(state), len(words)) * _LN10
        out[:, BOS] = -np.inf
        return out.astype(np.float32)

    def score_ids(self, ids: np.ndarray, state: KenlmState | None = None) -> tuple[np.ndarray, KenlmState]:
        """Give log p of each token (T,), and the state after them."""
        words, score = self.tokenizer.vocab.tokens, self.model.BaseScore
        before = self._begin if state is None else state.states[0]
        out = np.empty(len(ids))
        for t, token in enumerate(self._checked(ids, len(ids)).tolist()):
            after = self._new()
            out[t] = score(before, words[token], after)
            before = self._begin if token == EOS else after
        return (out * _LN10).astype(np.float32), KenlmState((before,))

    def _after(self, before: Any, token: int) -> Any:
        if token == EOS:
            return self._begin
        after = self._new()
        self.model.BaseScore(before, self.tokenizer.vocab.tokens[token], after)
        return after

    def _checked(self, ids: np.ndarray, count: int) -> np.ndarray:
        ids = np.asarray(ids)
        if ids.shape != (count,) or (count and not 0 <= ids.min() <= ids.max() < len(self.tokenizer.vocab)):
            raise UsageError(f"token ids must be {count} numbers from 0 to {len(self.tokenizer.vocab) - 1}")
        return ids

    def capacity(self) -> NoReturn:
        """Refuse: KenLM does not say how many n-grams it holds."""
        _refuse()

    def protocol(self) -> dict[str, str]:
        """Name the order."""
        return {"order": str(self.model.order)}

    def config(self) -> NoReturn:
        """Refuse: a model folder holds arrays."""
        _refuse()

    def arrays(self) -> NoReturn:
        """Refuse: a model folder holds arrays."""
        _refuse()

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
    ) -> NoReturn:
        """Refuse: there is no such folder.

        Raises:
            ModelFormatError: always.
        """
        raise ModelFormatError("config.json: a model of KenLM is a file of its own, and in no model folder")


def is_binary(path: Path) -> bool:
    """Say whether a file is a binary file of KenLM."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _words(path: Path) -> list[str]:
    """Read the words at the end of a binary file.

    Raises:
        UsageError: it does not hold them.
        ModelFormatError: it is damaged, or its words are not UTF-8.
    """
    damaged = ModelFormatError(
        f"{path}: is no whole binary file of KenLM; build it again (build_binary model.arpa {path.name})"
    )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if len(data) < _SIZES + 8:
            raise damaged
        holds_words = struct.unpack_from("<?", data, _FIXED + 12)[0]
        (size,) = struct.unpack_from("<Q", data, _SIZES)
        if not holds_words:
            raise UsageError(
                f"{path}: was built without its words (build_binary -v), so that nothing can be said of all words; "
                "build it again without -v, or import the ARPA file: lmkit import model.arpa"
            )
        place, found = len(data), list[bytes]()
        while len(found) < size:
            place = data.rfind(b"<unk>\0", 0, place)
            if (
                place < 0 or len(found := data[place:].split(b"\0")[:-1]) > size + 1
            ):  # `<unk>` may be KenLM's own
                raise damaged
    try:
        words = [word.decode("utf-8") for word in found]
    except UnicodeDecodeError as error:
        raise ModelFormatError(
            f"{path}: its words are not UTF-8 ({error}); convert the ARPA file (iconv -f LATIN1 -t UTF-8, say) and "
            "build it again"
        ) from None
    if not set(SPECIALS) <= set(words):
        raise damaged
    return words


def _refuse() -> NoReturn:
    raise UsageError(
        "a binary file of KenLM does not give its n-grams away, so that it cannot be kept in a model folder; import "
        "the ARPA file that it was made from: lmkit import model.arpa"
    )


def _library(what: str) -> Any:
    try:
        import kenlm
    except ImportError:
        raise missing_package("kenlm", "kenlm", what) from None
    return kenlm
