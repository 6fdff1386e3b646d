"""The scales and the rate under which a network that learns while it reads suits a text best."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch

from lmkit.errors import InputError, UsageError
from lmkit.model import LanguageModel
from lmkit.rnn.dynamic import DECAY, SEGMENT, DynamicModel
from lmkit.rnn.dynamic_state import Weights
from lmkit.rnn.model import RnnModel
from lmkit.search import climb
from lmkit.text.corpus import Corpus, PathLike

_EPS = 0.5  # times the mean rms of the layers' weights
_FIRST, _LEAST, _MOST = 4e-4, 1e-6, 1e-1  # rates
_LONGEST = 2.0  # times the usual norm
_SEARCHED = 1 << 14  # tokens that rates are compared on


def tuned_dynamic(
    model: LanguageModel,
    tune: str | PathLike | Iterable[PathLike] | Corpus,
    *,
    segment: int = SEGMENT,
    decay: float = DECAY,
) -> DynamicModel:
    """Let a recurrent model learn while it reads, at the rate under which it finds a text most likely.

    Args:
        model: A recurrent one.
        tune: A text that it has not learnt from, such as those that it is to read; lines in their natural order. Of its
            first 32,768 tokens one half shows what gradients are like, and rates are compared on the other.
        segment: Tokens between two steps.
        decay: What share of the way back to the trained weights each step goes.

    Raises:
        UsageError: the model is not recurrent, or a number is out of its range.
        InputError: the text is empty, shorter than a segment, or cannot be read as text.
    """
    if not isinstance(model, RnnModel):
        raise UsageError(
            f"dynamic evaluation is for recurrent models; one of kind {model.backend} cannot learn while it reads"
        )
    if segment < 1 or not 0 <= decay <= 1:
        raise UsageError(
            f"a segment has one token or more, and decay is from 0 to 1; not {segment} and {decay}"
        )
    corpus = model.tokenizer.reads(Corpus.of(tune), model.tokenizer.specials)
    ids = model.tokenizer.encode_corpus(corpus)[: 2 * _SEARCHED]
    if len(ids) < segment:
        raise InputError(f"a text of {len(ids)} tokens is too short to learn from: a segment has {segment}")
    half = max(len(ids) // 2, min(len(ids), segment))
    scales, longest = gradient_scales(model, ids[-half:], segment=segment)

    def at(rate: float) -> DynamicModel:
        return DynamicModel(
            model=model, scales=scales, rate=rate, decay=decay, segment=segment, longest=longest
        )

    def logprob(rate: float) -> float:
        return float(at(rate).score_ids(ids[:half])[0].sum(dtype=np.float64))

    rate, found = climb(logprob, _FIRST, factor=2.0, least=_LEAST, most=_MOST)
    return at(rate if found > logprob(0.0) else 0.0)


def gradient_scales(model: RnnModel, ids: np.ndarray, *, segment: int) -> tuple[Weights, float]:
    """Look at the gradients over the segments of a text (T,).

    Gives rms + eps for each weight, of tables a number a row, and twice the usual norm of gradients divided by that.
    """
    plain = {name: torch.ones(1) for name, _ in model.network.named_parameters()}
    still = DynamicModel(model=model, scales=plain, rate=0.0, segment=segment)
    tables = {id(table) for table in model.network.tables() if table.dim() == 2}
    named = dict(model.network.named_parameters())
    squares = {
        name: weight.new_zeros((len(weight), 1) if id(weight) in tables else weight.shape)
        for name, weight in named.items()
    }
    count = 0
    for gradients in still.gradients(ids):
        count += 1
        for name, gradient in gradients.items():
            rows = gradient.values() if gradient.is_sparse else gradient
            of_rows = rows.square().mean(1, keepdim=True) if id(named[name]) in tables else rows.square()
            if gradient.is_sparse:
                squares[name].index_add_(0, gradient.indices()[0], of_rows)
            else:
                squares[name] += of_rows
    rms = {name: (square / max(count, 1)).sqrt() for name, square in squares.items()}
    layers = torch.cat([rms[name].flatten() for name, weight in named.items() if id(weight) not in tables])
    eps = _EPS * max(float(layers.mean()), 1e-8)
    scales = {name: of_weight + eps for name, of_weight in rms.items()}
    usual = sum(
        float((rms[name] / scales[name]).square().expand_as(weight).sum(dtype=torch.float64))
        for name, weight in named.items()
    )
    return scales, max(_LONGEST * math.sqrt(usual), 1e-8)
