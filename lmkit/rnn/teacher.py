"""A model that a network learns from, beside the text: it reads the same streams, and says what it expects."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmkit.model import LanguageModel
from lmkit.nn.distillation import distilled
from lmkit.nn.head import Head
from lmkit.rnn.batches import Window


class Teacher:
    """Any language model, read along with the windows of a training.

    Attributes:
        state: of the streams of this process; None where it must first read what came before.
    """

    def __init__(self, model: LanguageModel, *, kind: str, share: float) -> None:
        self.model = model
        self.kind = kind
        self.share = share
        self.state: Any = None

    def read(self, window: Window, columns: slice) -> Tensor:
        """Give log p of every word at each step of some streams (T, B, V).

        In the middle of a pass over the text, as after a break, what came before is read again: the state of any model
        is what it has read.
        """
        inputs = window.inputs[:, columns]
        if window.first or self.state is None:
            self.state = self.model.start(inputs.shape[1])
            for tokens in window.before[:, columns]:
                self.state = self.model.step(self.state, tokens)
        taught = np.empty((*inputs.shape, len(self.model.tokenizer.vocab)), np.float32)
        for t, tokens in enumerate(inputs):
            self.state = self.model.step(self.state, tokens)
            taught[t] = self.model.next_logprobs(self.state)
        return torch.from_numpy(taught)

    def loss(self, head: Head, features: Tensor, targets: Tensor, taught: Tensor) -> Tensor:
        """Give the loss (N,) after features (N, E), with targets (N,) and what was taught (N, V)."""
        return distilled(head.logprobs(features), taught, targets, kind=self.kind, share=self.share)
