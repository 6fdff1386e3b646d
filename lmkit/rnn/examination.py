"""A model's diagnostics on a text: what one step of training would see, without noise and without moving anything."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmkit.errors import InputError
from lmkit.nn.diagnostics import Examination, examine
from lmkit.nn.regularization import Regularization
from lmkit.nn.softmax import confidence
from lmkit.rnn.assembly import unigram
from lmkit.rnn.batches import streams
from lmkit.rnn.model import RnnModel
from lmkit.text.corpus import Corpus

_STREAMS, _STEPS = 16, 70


@dataclass(frozen=True)
class Calibration:
    """Whether a model knows how sure it can be.

    Attributes:
        tokens: how many it has been asked for.
        confidence: mean probability of the word predicted, the likeliest one.
        accuracy: how often that word came.
        frequencies: loss of the output biases alone, in nats: of who knows how frequent words are, and no more.
    """

    tokens: int
    confidence: float
    accuracy: float
    frequencies: float


def examination(model: RnnModel, text: Corpus, *, init: str | None = None) -> tuple[Examination, Calibration]:
    """Read the first steps of 16 streams of the beginning of a text, and follow the loss back, by the full softmax.

    Args:
        model: What is looked at; it is left as it is.
        text: What it reads.
        init: In place of the trained network, such a one before its first step, initialised by this scheme, the output
            biases those of the words of this text.

    Raises:
        UsageError: there is no such scheme.
        InputError: the text is no text, or too short to say anything.
    """
    corpus = model.tokenizer.reads(text, model.tokenizer.specials)
    ids = model.tokenizer.encode_block(next(corpus.blocks()))
    if len(ids) < 2:
        raise InputError(f"a text of {len(ids)} tokens is too short for a gradient; give one of some lines")
    network, device = model.network, model.device
    if init is not None:
        network, device = deepcopy(network).to("cpu"), torch.device("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network.initialize(init, unigram(ids, len(model.tokenizer.vocab)))
    beginning = streams(ids, max(1, min(_STREAMS, len(ids) // 16)))[: _STEPS + 1]
    columns = torch.as_tensor(beginning.astype(np.int64), device=device)
    network.regularize(Regularization())

    def features() -> Tensor:
        read, _ = network(columns[:-1], network.initial_state(columns.shape[1]))
        return read.flatten(0, 1)

    targets = columns[1:].flatten()
    network.train()  # a GPU's kernels follow nothing back otherwise
    try:
        found = examine(network, lambda: network.output.loss(features(), targets).mean())
    finally:
        network.eval()
    with torch.no_grad():
        read = features()
        predicted, sure = confidence(network.output.logprobs(read))
        biases = network.output.loss(torch.zeros_like(read), targets).mean()
    right = (predicted == targets).float()
    return found, Calibration(
        tokens=len(right),
        confidence=float(sure.mean()),
        accuracy=float(right.mean()),
        frequencies=float(biases),
    )
