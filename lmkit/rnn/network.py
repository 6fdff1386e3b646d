"""The network: embedding, recurrent layers, and a head over the vocabulary.

    h_t = update(h_{t-1}, w_t)          p(w_{t+1} | w_1 ... w_t) = softmax(E h_t + b)

E is the embedding table itself where the weights are tied (Press & Wolf 2017; Inan et al. 2017). `<s>` is never
predicted. Bengio et al. 2003 without the recurrence (`mlp`), Mikolov et al. 2010 with it.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from lmkit.nn.dropout import EmbeddingDropout, LockedDropout
from lmkit.nn.heads import make_head
from lmkit.nn.init import initialize
from lmkit.nn.recurrence import Arrays, State
from lmkit.nn.regularization import Regularization
from lmkit.nn.stack import RecurrentStack
from lmkit.text.vocabulary import BOS

States = tuple[State, ...]


class Network(nn.Module):
    """Token ids (T, B) and a state in, features (T, B, E) and a state out; `output` turns features into words.

    `regularize` says how much noise there is in training; it changes nothing afterwards. `sparse` asks for gradients of
    the embedding's rows that were looked up alone.

    >>> import torch
    >>> network = Network(vocab_size=9, cell="lstm", num_layers=2, hidden_size=4, embedding_size=3)
    >>> features, states = network(torch.zeros(5, 2, dtype=torch.long), network.initial_state(2))
    >>> network.output.logprobs(features).shape
    torch.Size([5, 2, 9])
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        cell: str,
        num_layers: int,
        hidden_size: int,
        embedding_size: int,
        activation: str = "tanh",
        head: str = "full",
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        self.sparse = False
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.embedding_dropout = EmbeddingDropout(rate=0.0)
        self.input_dropout = LockedDropout(rate=0.0)
        self.stack = RecurrentStack(
            kind=cell,
            input_size=embedding_size,
            hidden_size=hidden_size,
            output_size=embedding_size if tie_weights else hidden_size,
            num_layers=num_layers,
            residual=True,
            activation=activation,
        )
        self.output_dropout = LockedDropout(rate=0.0)
        self.output = make_head(head, vocab_size=vocab_size, input_size=self.stack.output_size, never=BOS)
        if tie_weights:
            self.output.weight = self.embedding.weight  # type: ignore[assignment]

    def initialize(self, scheme: str, unigram: Tensor) -> None:
        """Fill the weights; the head starts at the unigram distribution (V,), which it must find."""
        initialize(self, scheme)
        self.output.prepare(unigram)

    def regularize(self, rates: Regularization) -> None:
        """Set the noise of the steps that come."""
        self.embedding_dropout.rate, self.input_dropout.rate = rates.embedding, rates.input
        self.stack.regularize(dropout=rates.hidden, weight_drop=rates.weight)
        self.output_dropout.rate = rates.output

    def tables(self) -> list[nn.Parameter]:
        """Give what has a row or a number for each word: embedding and head, once where they are tied."""
        named = dict(self.named_parameters())  # each once
        return [named[name] for name in ("output.bias", "embedding.weight", "output.weight") if name in named]

    def initial_state(self, batch: int) -> States:
        """Give zeros for every layer."""
        return self.stack.initial_state(batch)

    def forward(self, tokens: Tensor, states: States) -> tuple[Tensor, States]:
        """Read tokens (T, B) from the states on; give features (T, B, E) and the states after them."""
        hidden, states = self.read(tokens, states)
        return self.output_dropout(hidden), states

    def read(self, tokens: Tensor, states: States) -> tuple[Tensor, States]:
        """Do what `forward` does, but the dropout of the features."""
        x = self.embedding_dropout(self.embedding.weight, tokens, sparse=self.sparse)
        hidden: Tensor
        hidden, states = self.stack(self.input_dropout(x), states)
        return hidden, states

    def single_step(
        self, tokens: np.ndarray, states: tuple[Arrays, ...]
    ) -> tuple[np.ndarray, tuple[Arrays, ...]]:
        """Read a token (B,) of each text in evaluation on a CPU, each as if it were alone; give features (B, E)."""
        if len(tokens) and tokens.min() < 0:
            raise IndexError(f"{tokens.min()} is no token")
        return self.stack.single_step(self.embedding.weight.detach().numpy()[tokens], states)
