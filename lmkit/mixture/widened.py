"""A model in a vocabulary larger than its own, so that it can be mixed with one that knows other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from lmkit.errors import ModelFormatError, UsageError
from lmkit.mixture.parts import arrays_of, configs_of, unpack
from lmkit.model import LanguageModel, State
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import SPECIALS, UNK, Vocabulary


class Widened(LanguageModel):
    """Gives the words that its model does not know the probability 0, and reads them as `<unk>`.

    Every other word keeps its probability, `<unk>` included, so that all still sum to one. Alone it would find a text
    with such a word impossible; in a mixture the word is left to the models that know it.

    >>> from lmkit.text.character import CharTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> small, large = (CharTokenizer(vocab=Vocabulary.from_tokens(letters)) for letters in ("b", "ab"))
    >>> model = Widened.of(UniformModel(tokenizer=small), large)
    >>> [round(float(p), 2) for p in np.exp(model.next_logprobs(model.start())[0])]  # <unk>, <s>, </s>, a, b
    [0.33, 0.0, 0.33, 0.0, 0.33]
    """

    backend = "widened"

    def __init__(self, *, tokenizer: Tokenizer, model: LanguageModel, tokens: np.ndarray) -> None:
        """Store them; `tokens` (V_model,) int32 are the ids, in the larger vocabulary, of the model's own tokens."""
        self.tokenizer = tokenizer
        self.model = model
        self.tokens = tokens
        self.context = model.context
        self._own = np.full(len(tokenizer.vocab), UNK, np.int32)  # (V,) the model's id of each token
        self._own[tokens] = np.arange(len(tokens))

    @classmethod
    def of(cls, model: LanguageModel, tokenizer: Tokenizer) -> Self:
        """Put a model into the vocabulary of a tokenizer, which holds all of its tokens."""
        return cls(tokenizer=tokenizer, model=model, tokens=tokenizer.ids_of(model.tokenizer.vocab))

    def start(self, batch_size: int = 1) -> State:
        """Give the state of the model at the start of a text."""
        return self.model.start(batch_size)

    def step(self, state: Any, tokens: np.ndarray) -> State:
        """Give the state after one more token (B,), `<unk>` where the model does not know it."""
        return self.model.step(state, self._own[tokens])

    def next_logprobs(self, state: Any) -> np.ndarray:
        """Give log p of every token (B, V)."""
        logprobs = np.full((len(state), len(self._own)), -np.inf, np.float32)
        logprobs[:, self.tokens] = self.model.next_logprobs(state)
        return logprobs

    def score_ids(self, ids: np.ndarray, state: Any | None = None) -> tuple[np.ndarray, State]:
        """Give log p of each token (T,), and the state after them, the way the model does it."""
        own = self._own[ids]
        logprobs, state = self.model.score_ids(own, state)
        return np.where((own == UNK) & (np.asarray(ids) != UNK), np.float32(-np.inf), logprobs), state

    @property
    def adaptive(self) -> bool:
        """Whether its model is."""
        return self.model.adaptive

    def capacity(self) -> int:
        """Count as the model does."""
        return self.model.capacity()

    def protocol(self) -> dict[str, str]:
        """Name the model, and how many tokens it knows."""
        return {"of": self.model.described(), "known": str(len(self.tokens))}

    def config(self) -> dict[str, Any]:
        """Give what the model is, and what its tokenizer is beside its vocabulary."""
        return {"settings": self.model.tokenizer.settings(), "models": configs_of([self.model])}

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the ids of the model's tokens, and its arrays."""
        return {"tokens": self.tokens, **arrays_of([self.model])}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
    ) -> Self:
        """Make it again, the model's tokenizer from the larger one.

        Raises:
            ModelFormatError: the parts do not fit together.
        """
        tokens = arrays.get("tokens", np.empty(0))
        vocab_size, specials = len(tokenizer.vocab), np.arange(len(SPECIALS))
        if (
            tokens.dtype != np.int32
            or tokens.ndim != 1
            or not np.array_equal(tokens[: len(SPECIALS)], specials)
            or tokens.max() >= vocab_size
            or tokens.min() < 0
            or len(np.unique(tokens)) != len(tokens)
        ):
            raise ModelFormatError(f"model.safetensors: 'tokens' are no ids of a vocabulary of {vocab_size}")
        words = [tokenizer.vocab.tokens[index] for index in tokens[len(SPECIALS) :].tolist()]
        try:
            own = type(tokenizer).from_settings(dict(config["settings"]), Vocabulary.from_tokens(words))
            models = unpack(config["models"], arrays, own)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFormatError(f"config.json: describes no widened model: {error}") from None
        if len(models) != 1:
            raise ModelFormatError(f"config.json: a widened model holds one model, not {len(models)}")
        return cls(tokenizer=tokenizer, model=models[0], tokens=np.asarray(tokens))


def joint_tokenizer(tokenizers: Sequence[Tokenizer]) -> Tokenizer:
    """Give one whose vocabulary holds the tokens of all: those of the first, and behind them what each one adds.

    Raises:
        UsageError: they cut a text into tokens in different ways.

    >>> from lmkit.text.word import WordTokenizer
    >>> both = [WordTokenizer(vocab=Vocabulary.from_tokens(words)) for words in (["the", "fox"], ["owl", "the"])]
    >>> joint_tokenizer(both).vocab.tokens[3:]
    ['the', 'fox', 'owl']
    """
    first = tokenizers[0]
    settings = first.settings()
    if any(tokenizer.unk == "word" for tokenizer in tokenizers):
        settings["unk"] = "word"
    same_cut = all(
        tokenizer.kind == first.kind and {**tokenizer.settings(), "unk": ""} == {**settings, "unk": ""}
        for tokenizer in tokenizers
    )
    same_words = all(tokenizer.vocab == first.vocab for tokenizer in tokenizers)
    if not same_cut or not (same_words or first.extends):
        kinds = ", ".join(tokenizer.kind for tokenizer in tokenizers)
        raise UsageError(
            f"the models cut a text into tokens in different ways (tokenizers: {kinds}), so that their probabilities "
            "are of different things; train them with one tokenizer"
        )
    words = dict.fromkeys(
        token for tokenizer in tokenizers for token in tokenizer.vocab.tokens[len(SPECIALS) :]
    )
    vocab = first.vocab if same_words else Vocabulary.from_tokens(words)
    return type(first).from_settings(settings, vocab)
