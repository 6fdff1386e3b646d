r"""The contract that every language model keeps, whatever it is made of.

A language model gives a text a probability, token after token (the chain rule):

    log p(w_1 ... w_T) = sum over t of log p(w_t | w_1 ... w_{t-1})

Two simplifications make that tractable. The Markov assumption keeps the last n - 1 tokens (the n-gram model); a
latent state h_t = update(h_{t-1}, w_t) stands for all of them (the recurrent network). Both are the same to a caller:
`step` takes a state and a token to the next state, `next_logprobs` predicts from a state.

>>> import numpy as np
>>> from lmkit.text.character import CharTokenizer
>>> from lmkit.text.vocabulary import Vocabulary
>>> from lmkit.uniform import UniformModel
>>> model = UniformModel(tokenizer=CharTokenizer(vocab=Vocabulary.from_tokens("ab")))
>>> state = model.start()
>>> np.exp(model.next_logprobs(state)).round(2).tolist()  # <unk>, <s>, </s>, a, b
[[0.25, 0.0, 0.25, 0.25, 0.25]]
>>> round(float(model.score(["ab", ""]).sum()), 4)  # four tokens: a b </s> </s>
-5.5452
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np

from lmkit.nn.inversion import inverted, tempered
from lmkit.text.tokenizer import Tokenizer
from lmkit.version import __version__

Context = Literal["line", "document", "stream"]
_TIMED_TOKENS = 512
_DISTRIBUTIONS = 1 << 22  # log-probabilities that are held at once where many are drawn from


class State(Protocol):
    """What a model remembers at B positions: a plain value that nothing changes in place."""

    def __len__(self) -> int:
        """Give B."""
        ...

    def select(self, rows: Sequence[int] | np.ndarray) -> Self:
        """Give the state of some of the positions, in the order given, repetitions allowed."""
        ...

    def join(self, *others: Self) -> Self:
        """Give the positions of this state and of others of the same model, one after another."""
        ...


class LanguageModel(ABC):
    """Probabilities of texts: arrays are numpy, log-probabilities natural logarithms in float32.

    Attributes:
        backend: the name under which models of this kind are saved.
        context: how far the model looks back by default: `line` forgets at a line end, `stream` remembers.
            Where it forgets, lines may be scored in any order and by several threads.
        tokenizer: text to ids and back; V is the size of its vocabulary.
    """

    backend: ClassVar[str]
    context: Context
    tokenizer: Tokenizer

    @abstractmethod
    def start(self, batch_size: int = 1) -> State:
        """Give the state at the start of a text, B times."""

    @abstractmethod
    def step(self, state: Any, tokens: np.ndarray) -> State:
        """Give the state after one more token (B,) at each position; `state` stays as it was.

        After `</s>` (2) it is the state at the start of the next line.
        """

    @abstractmethod
    def next_logprobs(self, state: Any) -> np.ndarray:
        """Give log p of every token (B, V) after a state; `<s>` has minus infinity, exp sums to one."""

    def draw(
        self, state: Any, points: np.ndarray, *, temperature: float = 1.0, logprobs: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a token (B,) at each position, and give log p of each (B,) with it.

        This is the plain definition, the inversion of each distribution; models have faster ways to draw from the same.

        Args:
            state: At B positions.
            points: (B,) independent uniform numbers in [0, 1), which settle the tokens.
            temperature: T above 0; tokens are drawn in proportion to p^(1/T).
            logprobs: Whether log p is wanted, which is that of T = 1; if not, it may be NaN.
        """
        tokens, found = np.empty(len(points), np.int64), np.empty(len(points), np.float32)
        for rows, part in self.few(state):
            distributions = self.next_logprobs(part)
            shaped = distributions if temperature == 1 else tempered(distributions, temperature)
            tokens[rows] = inverted(np.exp(shaped), points[rows])
            found[rows] = distributions[np.arange(len(distributions)), tokens[rows]]
        return tokens, found

    def few(self, state: Any) -> Iterator[tuple[slice, Any]]:
        """Cut a state into parts whose distributions fit into little memory; give which positions each has, and it."""
        count, at_once = len(state), max(1, _DISTRIBUTIONS // len(self.tokenizer.vocab))
        for begin in range(0, count, at_once):
            rows = slice(begin, min(begin + at_once, count))
            yield rows, state if count <= at_once else state.select(range(rows.start, rows.stop))

    def score_ids(self, ids: np.ndarray, state: Any | None = None) -> tuple[np.ndarray, State]:
        """Give log p of each token (T,) of a text, and the state after it, to go on from.

        This is the plain definition, a step a token; models have faster ones that agree with it.
        """
        state = self.start() if state is None else state
        logprobs = np.empty(len(ids), np.float32)
        for t, token in enumerate(ids):
            logprobs[t] = self.next_logprobs(state)[0, token]
            state = self.step(state, np.array([token]))
        return logprobs, state

    def seconds_per_token(self, ids: np.ndarray) -> float:
        """Measure how long scoring takes here, on the first tokens of a text (T,)."""
        ids = ids[:_TIMED_TOKENS]
        self.score_ids(ids)  # the first call sets things up
        began = time.perf_counter()
        self.score_ids(ids)
        return (time.perf_counter() - began) / len(ids)

    def score(self, lines: str | Iterable[str], state: Any | None = None) -> np.ndarray:
        """Give log p of each token (T,) of some lines, the `</s>` of each line included.

        Args:
            lines: Lines without their ends, or one line.
            state: Where to begin; the start of a text if not given.
        """
        lines = [lines] if isinstance(lines, str) else lines
        return self.score_ids(self.tokenizer.encode_lines(lines), state)[0]

    def capacity(self) -> int:
        """Count what the model can keep of a text: its parameters, or its n-grams."""
        return sum(array.size for array in self.arrays().values())

    def protocol(self) -> dict[str, str]:
        """Give what the signature of a number must say about this kind of model beside the common fields."""
        return {}

    def evidence(self, ids: np.ndarray, state: Any | None = None) -> tuple[str, np.ndarray] | None:
        """Give what the probability of each token (T,) rests on, and its name; None where there is nothing to say."""
        return None

    def described(self) -> str:
        """Give kind and protocol in brackets, for the signature of a model that this one is a part of.

        >>> from lmkit.text.byte import ByteTokenizer
        >>> from lmkit.uniform import UniformModel
        >>> UniformModel(tokenizer=ByteTokenizer()).described()
        '(uniform)'
        """
        return (
            "("
            + ",".join([self.backend, *(f"{name}={value}" for name, value in self.protocol().items())])
            + ")"
        )

    @property
    def adaptive(self) -> bool:
        """Whether it learns from the text that it reads, so that its numbers do not compare with those of others."""
        return False

    def signature(self, context: Context | None = None) -> str:
        """Give the line that pins how a number was made: version, model, tokens, unknown words, context.

        Args:
            context: How far the model looked back; as far as it does by itself if not given.

        >>> from lmkit.text.byte import ByteTokenizer
        >>> from lmkit.uniform import UniformModel
        >>> UniformModel(tokenizer=ByteTokenizer()).signature()
        'lmkit:...|backend:uniform|tok:byte|vocab:258|unk:none|context:line|eos:yes'
        """
        pinned = {
            "lmkit": __version__,
            "backend": self.backend,
            **self.protocol(),
            "tok": self.tokenizer.kind,
            "vocab": str(len(self.tokenizer.vocab)),
            "unk": self.tokenizer.unk,
            "context": context or self.context,
            "eos": "yes",
        }
        return "|".join(f"{name}:{value}" for name, value in pinned.items())

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Give what is needed beside arrays and tokenizer to make this model again, as JSON values."""

    @abstractmethod
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Give every array of the model by name."""

    @classmethod
    @abstractmethod
    def from_arrays(
        cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
    ) -> Self:
        """Make a model of what `config` and `arrays` gave.

        Raises:
            ModelFormatError: they do not fit together.
        """


class FeatureModel(LanguageModel):
    """A model that predicts each token from a vector f(h), its features: log p(w | h) = log softmax(E f(h) + b)."""

    @abstractmethod
    def features(self, state: Any) -> np.ndarray:
        """Give the features (B, E) float32 that the next token is predicted from."""

    @abstractmethod
    def score_features(
        self, ids: np.ndarray, state: Any | None = None
    ) -> tuple[np.ndarray, np.ndarray, State]:
        """Give log p of each token (T,), the features (T, E) that it was predicted from, and the state after them."""
