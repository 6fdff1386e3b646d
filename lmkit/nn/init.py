"""Initialisation: the weights that training starts from. It sets the scale of signals and gradients.

Every scheme fills a tensor in place and gives it back; the same torch.Generator state gives the same
numbers. A generator must live on the device of the tensor: initialise on the CPU, then move the model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lmkit.errors import UsageError, did_you_mean

Scheme = Callable[[Tensor, torch.Generator | None], Tensor]

# blocks of H rows in a weight of torch's: i f g o, and r z n
_GATES = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3}


def normal(weight: Tensor, generator: torch.Generator | None = None, *, std: float = 0.01) -> Tensor:
    """Fill from N(0, std^2).

    >>> bool(0.009 < normal(torch.empty(100, 100)).std() < 0.011)
    True
    """
    return nn.init.normal_(weight, std=std, generator=generator)


def uniform(weight: Tensor, generator: torch.Generator | None = None, *, bound: float = 0.1) -> Tensor:
    """Fill from U(-bound, bound): variance bound^2 / 3 (0.1: Zaremba, Sutskever and Vinyals 2014).

    >>> bool(uniform(torch.empty(100, 100)).abs().max() <= 0.1)
    True
    """
    return nn.init.uniform_(weight, -bound, bound, generator=generator)


def xavier(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill (out, in) from U(-a, a) with a = sqrt(6 / (in + out)) (Glorot and Bengio 2010).

    The variance is 2 / (in + out), midway between 1 / in, which keeps the variance of the signal forwards,
    and 1 / out, which keeps that of the gradient backwards.

    >>> bool(xavier(torch.empty(2, 4)).abs().max() <= 1)
    True
    """
    return nn.init.xavier_uniform_(weight, generator=generator)


def orthogonal(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill (out, in) with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014).

    Every singular value is 1: a recurrent matrix applied T times neither shrinks nor grows what it carries.

    >>> w = orthogonal(torch.empty(3, 5))
    >>> torch.allclose(w @ w.T, torch.eye(3), atol=1e-5)
    True
    """
    return nn.init.orthogonal_(weight, generator=generator)


def constant(weight: Tensor, generator: torch.Generator | None = None, *, value: float = 0.0) -> Tensor:
    """Fill with one value. For biases: matrices of equal rows would stay equal, unit by unit, for ever.

    >>> constant(torch.empty(2), value=1.0)
    tensor([1., 1.])
    """
    return nn.init.constant_(weight, value)


SCHEMES: dict[str, Scheme] = {
    "constant": constant,
    "normal": normal,
    "orthogonal": orthogonal,
    "uniform": uniform,
    "xavier": xavier,
}


def scheme(name: str) -> Scheme:
    """Give the scheme of that name; an unknown one is a UsageError.

    >>> scheme("xavier") is xavier
    True
    """
    if name not in SCHEMES:
        raise UsageError(f"unknown initialisation {name!r}; {did_you_mean(name, SCHEMES)}")
    return SCHEMES[name]


def forget_gate_bias(layer: nn.LSTM | nn.LSTMCell, value: float = 1.0) -> None:
    """Make an LSTM remember at first: its forget gates start at sigmoid(value) (Jozefowicz et al. 2015).

    The gates are stacked i, f, g, o and torch adds two biases; the first gets the value, the second 0.

    >>> lstm = nn.LSTM(2, 1)
    >>> forget_gate_bias(lstm)
    >>> (lstm.bias_ih_l0 + lstm.bias_hh_l0)[1].item()
    1.0
    """
    size = layer.hidden_size
    with torch.no_grad():
        for name, bias in layer.named_parameters():
            if name.startswith("bias"):
                bias[size : 2 * size] = value if name.startswith("bias_ih") else 0.0


def initialize(
    module: nn.Module,
    matrices: str = "xavier",
    *,
    embeddings: str = "uniform",
    generator: torch.Generator | None = None,
) -> None:
    """Fill every parameter of a module, by kind.

    * matrices: the scheme `matrices`; weights of several gates gate by gate, since each is a layer of its own (a module
      of yours says how many it has by a number, `gates`)
    * embedding tables (V, E), tied or not: the scheme `embeddings`; one row is used at a time, so that a
      variance of 2 / (V + E) would shrink with the vocabulary for no reason
    * biases: 0, but the forget gate of an LSTM 1
    * gains of normalisations: left as they are

    >>> linear = nn.Linear(2, 3)
    >>> initialize(linear, "constant")
    >>> linear.weight.sum().item(), linear.bias.sum().item()
    (0.0, 0.0)
    """
    fill, fill_table = scheme(matrices), scheme(embeddings)
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    seen: set[int] = set()  # tied parameters are filled once
    with torch.no_grad():
        for part in module.modules():
            gates = _gates(part)
            for name, parameter in part.named_parameters(recurse=False):
                if id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                if id(parameter) in tables:
                    fill_table(parameter, generator)
                elif parameter.dim() >= 2:
                    for block in parameter.chunk(gates):
                        fill(block, generator)
                elif "bias" in name:
                    constant(parameter)
            if isinstance(part, nn.LSTM | nn.LSTMCell):
                forget_gate_bias(part)


def _gates(part: nn.Module) -> int:
    """Give how many gates lie one under another in the weights of a module itself."""
    own = getattr(part, "gates", None)
    of_torch = (count for kind, count in _GATES.items() if isinstance(part, kind))
    return own if isinstance(own, int) else next(of_torch, 1)
