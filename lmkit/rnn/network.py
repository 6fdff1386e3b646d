"""The network: embedding, recurrent layers, and an output layer over the vocabulary.

    h_t = update(h_{t-1}, w_t)          p(w_{t+1} | w_1 ... w_t) = softmax(E h_t + b)

E is the embedding table itself where the weights are tied (Press & Wolf 2017; Inan et al. 2017). `<s>` is never
predicted. Bengio et al. 2003 without the recurrence (`mlp`), Mikolov et al. 2010 with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmkit.nn.cells import State
from lmkit.nn.dropout import LockedDropout
from lmkit.nn.init import initialize
from lmkit.nn.stack import RecurrentStack
from lmkit.text.vocabulary import BOS

_CHUNK_LOGITS = 1 << 22  # logits held at once in training: a few rows at a time stay in the cache


class Network(nn.Module):
    """Token ids (T, B) and a state in, features (T, B, E) and a state out; `logits` turns features into (..., V).

    >>> network = Network(vocab_size=9, cell="lstm", num_layers=2, hidden_size=4, embedding_size=3)
    >>> features, states = network(torch.zeros(5, 2, dtype=torch.long), network.initial_state(2))
    >>> network.logits(features).shape
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
        dropout: float = 0.0,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.stack = RecurrentStack(
            kind=cell,
            input_size=embedding_size,
            hidden_size=hidden_size,
            output_size=embedding_size if tie_weights else hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            residual=True,
            activation=activation,
        )
        self.dropout = LockedDropout(rate=dropout)
        self.output = nn.Linear(self.stack.output_size, vocab_size)
        if tie_weights:
            self.output.weight = self.embedding.weight

    def initialize(self, scheme: str, unigram: Tensor) -> None:
        """Fill the weights; the output bias starts at the log unigram distribution (V,), which it must find."""
        initialize(self, scheme)
        with torch.no_grad():
            self.output.bias.copy_(unigram.clamp_min(1e-7).log())

    def initial_state(self, batch: int) -> tuple[State, ...]:
        """Give zeros for every layer."""
        return self.stack.initial_state(batch)

    def forward(self, tokens: Tensor, states: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        """Read tokens (T, B) from the states on; give features (T, B, E) and the states after them."""
        x = self.dropout(self.embedding(tokens))
        y, states = self.stack(x, states)
        return self.dropout(y), states

    def logits(self, features: Tensor) -> Tensor:
        """Give unnormalised log-probabilities (..., V) of the next token."""
        logits: Tensor = self.output(features)
        logits[..., BOS] = -torch.inf
        return logits

    def backward(self, features: Tensor, targets: Tensor) -> float:
        """Back-propagate the mean cross-entropy of targets (T, B) after features (T, B, E); give it in nats.

        Some rows at a time, so that the logits of the whole window never exist together.
        """
        rows = features.detach().flatten(0, 1).requires_grad_()  # (T B, E)
        flat = targets.flatten()
        total = 0.0
        step = max(1, _CHUNK_LOGITS // self.output.out_features)
        for begin in range(0, len(rows), step):
            part = slice(begin, begin + step)
            loss = functional.cross_entropy(self.logits(rows[part]), flat[part], reduction="sum") / len(rows)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        assert rows.grad is not None
        features.backward(rows.grad.view_as(features))  # type: ignore[no-untyped-call]
        return total
