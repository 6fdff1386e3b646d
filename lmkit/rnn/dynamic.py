"""Dynamic evaluation: a network that goes on learning from the text that it reads.

After every segment of S tokens, once they have been predicted, the weights take a step down the gradient of their loss,
and a step back to the trained weights:

    w <- w - rate g / (rms + eps) + decay (w_0 - w)

rms is what gradients of that weight are like on a text that is no part of training (Krause, Kahembwe, Murray and Renals
2018); where all of g / (rms + eps) is longer than is usual there, it is cut to a usual length. A large vocabulary is
moved by sampled softmax, which touches the rows of the words that came and of some others, and leaves the rest as they
are; what is measured is the full softmax, exact.

It learns from the text that it reads, the one it is measured on: its perplexities are to be called adaptive.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lmkit.errors import ModelFormatError
from lmkit.model import FeatureModel
from lmkit.nn.full_softmax import FullHead
from lmkit.nn.regularization import Regularization
from lmkit.nn.sampled_softmax import SampledSoftmax
from lmkit.rnn.dynamic_state import DynamicState, Reading, Weights
from lmkit.rnn.model import RnnModel
from lmkit.rnn.network import States
from lmkit.tensors import digest, prefixed, under
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS

SEGMENT = 20  # tokens between two steps
DECAY = 1e-3
_SAMPLED_FROM = 8192  # words
_CANDIDATES = 1024  # frequent ones, and as many drawn


class DynamicModel(FeatureModel):
    """A recurrent model that learns while it reads; each position of a batch has weights of its own.

    >>> import lmkit
    >>> model = lmkit.train("the fox ran .\\nthe owl sat .\\n" * 9, backend="rnn", hidden_size=8, epochs=1, holdout=0)
    >>> text = "the owl ran .\\n" * 20
    >>> dynamic = lmkit.tuned_dynamic(model, text)
    >>> lmkit.perplexity(dynamic, text).perplexity < lmkit.perplexity(model, text).perplexity
    True
    """

    backend = "dynamic"
    context = "stream"

    def __init__(
        self,
        *,
        model: RnnModel,
        scales: Mapping[str, Tensor],
        rate: float,
        decay: float = DECAY,
        segment: int = SEGMENT,
        longest: float = math.inf,
    ) -> None:
        """Let a model learn while it reads; `tuned_dynamic` finds scales, rate and length.

        Args:
            model: The trained one, which stays as it is.
            scales: By the name of each weight what its gradients are divided by, rms + eps; of tables, a number a row.
            rate: Of a step.
            decay: What share of the way back to the trained weights each step goes.
            segment: Tokens between two steps.
            longest: The norm that the scaled gradient is cut to.
        """
        self.model = model
        self.tokenizer = model.tokenizer
        self.scales = dict(scales)
        self.rate = rate
        self.decay = decay
        self.segment = segment
        self.longest = longest
        self._network = copy.deepcopy(model.network)  # holds the weights of the position that is read
        self._network.regularize(Regularization())
        self._network.train()  # a GPU's kernels follow nothing back otherwise
        self._sampled: SampledSoftmax | None = None
        size = len(self.tokenizer.vocab)
        if isinstance(self._network.output, FullHead) and size > _SAMPLED_FROM:
            counts = 1e7 / (np.arange(size) + 2.7)  # vocabularies are in the order of their frequencies
            self._sampled = SampledSoftmax(counts, frequent=_CANDIDATES, drawn=_CANDIDATES)
        self._network.sparse = self._sampled is not None
        self._trained = _weights(model)

    def to(self, device: str) -> Self:
        """Move all that it is made of to a device by name, and give the model back; states made before stay behind."""
        self.model.to(device)
        self._network.to(self.model.device)
        self._trained = _weights(self.model)
        self.scales = {name: scale.to(self.model.device) for name, scale in self.scales.items()}
        return self

    def start(self, batch_size: int = 1) -> DynamicState:
        """Give the state at the start of a text, with the trained weights."""
        with torch.no_grad():
            layers = self._network.initial_state(1)
        return DynamicState((self._read(self._trained, 0, layers, EOS),) * batch_size)

    def step(self, state: DynamicState, tokens: np.ndarray) -> DynamicState:
        """Give the state after one more token (B,) at each position; where a segment ends, the weights move."""
        return DynamicState(
            tuple(self._after(row, int(token)) for row, token in zip(state.rows, tokens, strict=True))
        )

    def features(self, state: DynamicState) -> np.ndarray:
        """Give the features (B, E) that the next token is predicted from."""
        return torch.stack([row.features for row in state.rows]).cpu().numpy()

    def next_logprobs(self, state: DynamicState) -> np.ndarray:
        """Give log p of every token (B, V)."""
        out = np.empty((len(state), len(self.tokenizer.vocab)), np.float32)
        with torch.no_grad():
            for place, row in enumerate(state.rows):
                self._take(row.weights)
                out[place] = self._network.output.logprobs(row.features).cpu().numpy()
        return out

    def score_ids(
        self, ids: np.ndarray, state: DynamicState | None = None
    ) -> tuple[np.ndarray, DynamicState]:
        """Give log p of each token (T,), and the state after them, a segment at a time."""
        logprobs, _, after = self.score_features(ids, state)
        return logprobs, after

    def score_features(
        self, ids: np.ndarray, state: DynamicState | None = None
    ) -> tuple[np.ndarray, np.ndarray, DynamicState]:
        """Give log p of each token (T,), the features (T, E) that it was predicted from, and the state after them."""
        (row,) = (self.start() if state is None else state).rows
        logprobs = np.empty(len(ids), np.float32)
        features = np.empty((len(ids), len(row.features)), np.float32)
        own = False  # whether the weights are nobody else's, so that they can be moved where they are
        place = 0
        while place < len(ids):
            whole = len(row.inputs) == 1 and place + self.segment <= len(ids)
            here = slice(place, place + (self.segment if whole else 1))
            targets = torch.as_tensor(np.asarray(ids[here], np.int64), device=self.model.device)
            self._take(row.weights)
            if whole:
                inputs = [row.inputs[0], *targets[:-1].tolist()]
                before, layers = self._followed(inputs, row.before)
            else:
                before = row.features[None]
            logprobs[here] = -self._network.output.surprisals(before.detach(), targets).cpu().numpy()
            features[here] = before.detach().cpu().numpy()
            if whole:
                weights = self._learnt(row, before, targets, in_place=own)
                row, own = self._read(weights, row.segments + 1, layers, int(targets[-1])), True
            else:
                row = self._after(row, int(targets[0]))
                own = own and len(row.inputs) > 1
            place = here.stop
        return logprobs, features, DynamicState((row,))

    def _after(self, row: Reading, token: int) -> Reading:
        """Go on by one token."""
        if len(row.inputs) < self.segment:
            after = self._read(row.weights, row.segments, row.layers, token)
            return replace(after, before=row.before, inputs=(*row.inputs, token))
        self._take(row.weights)
        # read anew as a whole: that the text came in pieces may round a prediction, but never what is learnt from it
        features, layers = self._followed(row.inputs, row.before)
        targets = torch.tensor([*row.inputs[1:], token], device=self.model.device)
        weights = self._learnt(row, features, targets)
        return self._read(weights, row.segments + 1, layers, token)

    def _learnt(self, row: Reading, features: Tensor, targets: Tensor, *, in_place: bool = False) -> Weights:
        """Give the weights after a step down the gradient of a segment, which features (S, E) are of."""
        gradients = self._gradients(features, targets, row.segments)
        weights = row.weights if in_place else {name: old.clone() for name, old in row.weights.items()}
        self._move(weights, gradients)
        return weights

    def _read(self, weights: Weights, segments: int, layers: States, token: int) -> Reading:
        """Begin a segment with a token."""
        self._take(weights)
        with torch.no_grad():
            features, after = self._network.read(self._column([token]), layers)
        return Reading(weights, segments, layers, (token,), after, features[0, 0])

    def gradients(self, ids: np.ndarray) -> Iterator[Weights]:
        """Give the gradients of the trained weights for each whole segment of a text (T,)."""
        layers = self._network.initial_state(1)
        inputs = [EOS, *np.asarray(ids).tolist()]
        for number, begin in enumerate(range(0, len(ids) - self.segment + 1, self.segment)):
            self._take(self._trained)  # others may have read by it meanwhile
            read, layers = self._followed(inputs[begin : begin + self.segment], layers)
            targets = self._column(inputs[begin + 1 : begin + 1 + self.segment])[:, 0]
            yield self._gradients(read, targets, number)

    def _followed(self, tokens: Sequence[int], layers: States) -> tuple[Tensor, States]:
        """Read tokens (S,) so that a gradient can be followed back through them, but not further."""
        with torch.enable_grad():
            read, after = self._network.read(self._column(tokens), layers)
            features = read[:, 0]  # (S, E)
        return features, tuple(tuple(tensor.detach() for tensor in layer) for layer in after)

    def _gradients(self, features: Tensor, targets: Tensor, number: int) -> Weights:
        """Give the gradients of the summed loss of targets (S,) after features (S, E), by name, sparse ones coalesced.

        There are none where one is no number: such a step is left out.
        """
        head, count = self._network.output, len(targets)
        self._network.zero_grad(set_to_none=True)
        with torch.enable_grad():
            if self._sampled is not None and isinstance(head, FullHead):
                candidates = self._sampled.draw(np.random.default_rng(number)).to(targets.device)
                _, gradient = self._sampled.backward(head, features, targets, candidates, share=count)
            else:
                _, gradient = head.backward(features, targets, share=count)
        torch.autograd.backward([features], [gradient])
        found = {
            name: parameter.grad.coalesce() if parameter.grad.is_sparse else parameter.grad
            for name, parameter in self._network.named_parameters()
            if parameter.grad is not None
        }
        self._network.zero_grad(set_to_none=True)
        finite = all(bool(torch.isfinite(g.values() if g.is_sparse else g).all()) for g in found.values())
        return found if finite else {}

    def _move(self, weights: Weights, gradients: Weights) -> None:
        """Take a step, in place."""
        with torch.no_grad():
            scaled = {name: self._scaled(name, gradient) for name, gradient in gradients.items()}
            norm = math.sqrt(sum(float(step.square().sum(dtype=torch.float64)) for step in scaled.values()))
            rate = self.rate * min(1.0, self.longest / norm) if norm else 0.0
            for name, step in scaled.items():
                weight, trained = weights[name], self._trained[name]
                if gradients[name].is_sparse:
                    rows = gradients[name].indices()[0]
                    back = trained[rows] - weight[rows]
                    weight.index_add_(0, rows, back.mul_(self.decay).sub_(step, alpha=rate))
                else:
                    weight.lerp_(trained, self.decay).sub_(step, alpha=rate)

    def _scaled(self, name: str, gradient: Tensor) -> Tensor:
        """Give g / (rms + eps), of a sparse gradient that of its rows."""
        scale = self.scales[name]
        if gradient.is_sparse:
            return gradient.values() / scale[gradient.indices()[0]]
        return gradient / scale

    def _take(self, weights: Weights) -> None:
        """Let the network have the weights of a position."""
        for name, parameter in self._network.named_parameters():
            parameter.data = weights[name]

    def _column(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor(tokens, dtype=torch.long, device=self.model.device)[:, None]

    @property
    def adaptive(self) -> bool:
        """Yes."""
        return True

    def capacity(self) -> int:
        """Count the parameters."""
        return self.model.capacity()

    def protocol(self) -> dict[str, str]:
        """Name the model, how it learns, and by which scales of its gradients."""
        return {
            "of": self.model.described(),
            "dynamic": f"rate={self.rate:g},decay={self.decay:g},segment={self.segment},longest={self.longest:g}",
            "fit": digest(self._scales()),
            "adaptive": "yes",
        }

    def config(self) -> dict[str, Any]:
        """Give how it learns, and what the model is."""
        return {
            "rate": self.rate,
            "decay": self.decay,
            "segment": self.segment,
            "longest": self.longest if math.isfinite(self.longest) else None,
            "model": self.model.config(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the trained weights, and the scales of their gradients."""
        return {**prefixed("model", self.model.arrays()), **prefixed("scale", self._scales())}

    def _scales(self) -> dict[str, np.ndarray]:
        return {name: scale.cpu().numpy() for name, scale in self.scales.items()}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
    ) -> Self:
        """Make it again, on the CPU.

        Raises:
            ModelFormatError: the parts do not fit together.
        """
        try:
            inner, rate, decay = config["model"], float(config["rate"]), float(config["decay"])
            segment = int(config["segment"])
            longest = math.inf if config["longest"] is None else float(config["longest"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFormatError(f"config.json: describes no dynamic evaluation: {error}") from None
        model = RnnModel.from_arrays(inner, under("model", arrays), tokenizer)
        scales = {name: torch.from_numpy(array.copy()) for name, array in under("scale", arrays).items()}
        weights = dict(model.network.named_parameters())
        sound = (
            0 <= rate <= 1
            and 0 <= decay <= 1
            and segment >= 1
            and longest > 0
            and scales.keys() == weights.keys()
        )
        if not sound or not all(_fits(scales[name], weight) for name, weight in weights.items()):
            raise ModelFormatError("config.json and model.safetensors: not those of a dynamic evaluation")
        return cls(model=model, scales=scales, rate=rate, decay=decay, segment=segment, longest=longest)


def _weights(model: RnnModel) -> Weights:
    return {name: parameter.detach() for name, parameter in model.network.named_parameters()}


def _fits(scale: Tensor, weight: Tensor) -> bool:
    rows = (weight.shape[0], *(1 for _ in weight.shape[1:]))
    sound = bool(torch.isfinite(scale).all() and (scale > 0).all())
    return sound and tuple(scale.shape) in (tuple(weight.shape), rows)
