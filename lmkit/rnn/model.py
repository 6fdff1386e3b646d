"""The recurrent model behind the contract of every language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lmkit.errors import ModelFormatError, UsageError
from lmkit.model import FeatureModel
from lmkit.nn.devices import choose, prepare
from lmkit.nn.recurrence import State as LayerState
from lmkit.nn.rows import apart
from lmkit.nn.saving import load_arrays, state_arrays
from lmkit.rnn.network import Network
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS

_PIECE = 1 << 12  # tokens whose features are held at once


@dataclass(frozen=True, eq=False)
class RnnState:
    """The memory of every layer at B positions, and the features that the next token is predicted from."""

    features: Tensor  # (B, E)
    layers: tuple[LayerState, ...]  # (B, H) tensors

    def __len__(self) -> int:
        return len(self.features)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RnnState) and all(
            torch.equal(a, b) for a, b in zip(self._tensors(), other._tensors(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def select(self, rows: Sequence[int] | np.ndarray) -> RnnState:
        """Give the state of some of the positions."""
        index = torch.as_tensor(np.asarray(rows, np.int64), device=self.features.device)
        layers = tuple(tuple(part[index] for part in layer) for layer in self.layers)
        return RnnState(self.features[index], layers)

    def join(self, *others: RnnState) -> RnnState:
        """Give the positions of this state and of others, one after another."""
        features = torch.cat([self.features, *(other.features for other in others)])
        of_layers = zip(self.layers, *(other.layers for other in others), strict=True)
        layers = tuple(tuple(torch.cat(part) for part in zip(*layer, strict=True)) for layer in of_layers)
        return RnnState(features, layers)

    def _tensors(self) -> list[Tensor]:
        return [self.features, *(part for layer in self.layers for part in layer)]


class RnnModel(FeatureModel):
    """A trained network with its tokenizer. It reads on across line ends: `</s>` is a token like any other."""

    backend = "rnn"
    context = "stream"

    def __init__(self, *, tokenizer: Tokenizer, network: Network, settings: Mapping[str, Any]) -> None:
        self.tokenizer = tokenizer
        self.network = network.eval()
        self.settings = dict(settings)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.output.bias.device

    def to(self, device: str) -> Self:
        """Move the weights to a device by name, and give the model back."""
        chosen = choose(device)
        prepare(chosen)
        self.network.to(chosen)
        return self

    def start(self, batch_size: int = 1) -> RnnState:
        """Give the state after a line end, before which nothing is remembered."""
        with torch.no_grad():
            layers = self.network.initial_state(batch_size)
        empty = RnnState(torch.empty(batch_size, 0, device=self.device), layers)
        return self.step(empty, np.full(batch_size, EOS))

    def step(self, state: RnnState, tokens: np.ndarray) -> RnnState:
        """Give the state after one more token (B,) at each position: h_t = update(h_{t-1}, w_t)."""
        if self.device.type != "cpu" or self.network.output.bias.dtype != torch.float32:
            features, layers = self._read(np.asarray(tokens, np.int64)[None], state.layers)
            return RnnState(features[0], layers)
        known = tuple(tuple(part.numpy() for part in layer) for layer in state.layers)
        found, after = self.network.single_step(np.asarray(tokens, np.int64), known)
        return RnnState(
            torch.from_numpy(found), tuple(tuple(torch.from_numpy(part) for part in layer) for layer in after)
        )

    def next_logprobs(self, state: RnnState) -> np.ndarray:
        """Give log p of every token (B, V): log softmax(E h_t + b)."""
        return self._logprobs(state.features)

    def _logprobs(self, features: Tensor) -> np.ndarray:
        with torch.no_grad(), apart():
            return np.asarray(self.network.output.logprobs(features).cpu().numpy())

    def features(self, state: RnnState) -> np.ndarray:
        """Give the features (B, E) that the next token is predicted from."""
        return np.asarray(state.features.cpu().numpy())

    def draw(
        self, state: RnnState, points: np.ndarray, *, temperature: float = 1.0, logprobs: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a token (B,) at each position; log p of each takes the distribution, which a draw does not."""
        if self.device.type != "cpu":
            return super().draw(state, points, temperature=temperature)
        tokens, found = np.empty(len(points), np.int64), np.full(len(points), np.nan, np.float32)
        for rows, part in self.few(state):
            features = part.features
            with apart():
                tokens[rows] = self.network.output.draw(features, points[rows], temperature=temperature)
            if logprobs:
                found[rows] = self._logprobs(features)[np.arange(len(features)), tokens[rows]]
        return tokens, found

    def score_ids(self, ids: np.ndarray, state: RnnState | None = None) -> tuple[np.ndarray, RnnState]:
        """Give log p of each token (T,), and the state after them: the layers read long pieces at once."""
        state = self.start() if state is None else state
        out = [np.empty(0, np.float32)]
        for logprobs, _, after in self._scored(ids, state):
            out.append(logprobs)
            state = after
        return np.concatenate(out), state

    def score_features(
        self, ids: np.ndarray, state: RnnState | None = None
    ) -> tuple[np.ndarray, np.ndarray, RnnState]:
        """Give log p of each token (T,), the features (T, E) that it was predicted from, and the state after them."""
        state = self.start() if state is None else state
        out, vectors = [np.empty(0, np.float32)], [np.empty((0, state.features.shape[1]), np.float32)]
        for logprobs, features, after in self._scored(ids, state):
            out.append(logprobs)
            vectors.append(features.cpu().numpy())
            state = after
        return np.concatenate(out), np.concatenate(vectors), state

    def evidence(self, ids: np.ndarray, state: RnnState | None = None) -> tuple[str, np.ndarray]:
        """Give the Euclidean norm (T,) of the features that each token is predicted from: unsure ones are short."""
        state = self.start() if state is None else state
        norms, before, layers = [np.empty(0, np.float32)], state.features, state.layers
        for begin in range(0, len(ids), _PIECE):
            features, layers = self._read(np.asarray(ids[begin : begin + _PIECE], np.int64)[:, None], layers)
            norms.append(torch.cat([before, features[:-1, 0]]).norm(dim=1).cpu().numpy())
            before = features[-1]
        return "norm", np.concatenate(norms)

    def _scored(self, ids: np.ndarray, state: RnnState) -> Iterator[tuple[np.ndarray, Tensor, RnnState]]:
        """Give log p, features before each token and the state after them, a piece at a time."""
        for begin in range(0, len(ids), _PIECE):
            piece = np.asarray(ids[begin : begin + _PIECE], np.int64)
            features, layers = self._read(piece[:, None], state.layers)
            with torch.no_grad():
                before = torch.cat([state.features, features[:-1, 0]])  # (T, E)
            targets = torch.as_tensor(piece, device=self.device)
            state = RnnState(features[-1], layers)
            yield -self.network.output.surprisals(before, targets).cpu().numpy(), before, state

    def _read(
        self, tokens: np.ndarray, layers: tuple[LayerState, ...]
    ) -> tuple[Tensor, tuple[LayerState, ...]]:
        """Run the layers over tokens (T, B): features (T, B, E) and the memory after them."""
        with torch.no_grad():
            return self.network(torch.as_tensor(tokens, device=self.device), layers)

    def capacity(self) -> int:
        """Count the parameters, tied ones once."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def protocol(self) -> dict[str, str]:
        """Name the cell and its size."""
        return {
            "cell": self.settings["cell"],
            "size": f"{self.settings['num_layers']}x{self.settings['hidden_size']}",
        }

    def config(self) -> dict[str, Any]:
        """Give what `Network` is made of, but its vocabulary."""
        return self.settings

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the weights."""
        return state_arrays(self.network)

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
    ) -> Self:
        """Make a model of a file's weights, on the CPU.

        Raises:
            ModelFormatError: weights, configuration and vocabulary do not fit together.
        """
        prepare(choose("cpu"))
        try:
            with torch.device(
                "meta"
            ):  # the sizes are a file's word: nothing is allocated before they are compared
                network = Network(vocab_size=len(tokenizer.vocab), **config)
        except (TypeError, ValueError, RuntimeError, UsageError) as error:
            raise ModelFormatError(f"config.json: describes no network: {error}") from None
        wrong = [
            f"{name!r} {tuple(tensor.shape)}"
            for name, tensor in network.named_parameters()
            if name not in arrays or arrays[name].shape != tuple(tensor.shape)
        ]
        if wrong:
            raise ModelFormatError(f"model.safetensors: missing or of another shape: {', '.join(wrong)}")
        with torch.random.fork_rng(
            devices=[]
        ):  # the weights drawn here are overwritten: leave the caller's numbers
            network = Network(vocab_size=len(tokenizer.vocab), **config)
        load_arrays(network, arrays)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in network.parameters()):
            raise ModelFormatError("model.safetensors: holds weights that are no finite numbers; train again")
        return cls(tokenizer=tokenizer, network=network, settings=config)
