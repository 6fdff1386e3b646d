"""Saving: a module's parameters as named numpy arrays, and back. No file is touched here, and no pickle.

Tied parameters (two names, one tensor) are saved once, under the first name; a module that ties them takes
them back tied, since loading writes into the tensors that are there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmkit.errors import ModelFormatError

Array = NDArray[np.generic]


def state_arrays(module: nn.Module) -> dict[str, Array]:
    """Copy every parameter and buffer to an array, by name; bfloat16, unknown to numpy, becomes float32.

    >>> sorted((name, array.shape) for name, array in state_arrays(nn.Linear(2, 3)).items())
    [('bias', (3,)), ('weight', (3, 2))]
    """
    arrays: dict[str, Array] = {}
    for names, tensor in _tensors(module):
        dtype = torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype
        arrays[names[0]] = tensor.to("cpu", dtype, copy=True).numpy()
    return arrays


def load_arrays(module: nn.Module, arrays: Mapping[str, Array], strict: bool = True) -> list[str]:
    """Write the arrays into the module's tensors in place; give a line for each that did not fit.

    Missing and unexpected names, other shapes and other kinds of number do not fit. With `strict` any of
    them is a ModelFormatError that lists all of them, and nothing has been written; otherwise what fits
    is loaded and the list returned.

    >>> linear = nn.Linear(2, 1)
    >>> load_arrays(linear, {"weight": np.ones((1, 2)), "scale": np.ones(1)}, strict=False)
    ["missing: 'bias' (1,)", "unexpected: 'scale' (1,)"]
    >>> linear.weight.tolist()
    [[1.0, 1.0]]
    """
    problems: list[str] = []
    fitting: list[tuple[Tensor, Array]] = []
    known: set[str] = set()
    for names, tensor in _tensors(module):
        known.update(names)
        given = [name for name in names if name in arrays]
        if not given:
            problems.append(f"missing: {names[0]!r} {tuple(tensor.shape)}")
        elif wrong := [line for name in given if (line := _misfit(name, arrays[name], tensor))]:
            problems.extend(wrong)
        elif any(not np.array_equal(arrays[given[0]], arrays[name]) for name in given[1:]):
            problems.append(f"tied here, but different: {', '.join(map(repr, given))}")
        else:
            fitting.append((tensor, arrays[given[0]]))
    problems.extend(f"unexpected: {name!r} {arrays[name].shape}" for name in arrays if name not in known)
    if problems and strict:
        listed = "\n  ".join(problems)
        raise ModelFormatError(
            f"the saved arrays do not fit this {type(module).__name__}:\n  {listed}\n"
            "Build the model with the configuration that it was saved with."
        )
    for tensor, array in fitting:
        # a fresh array: writable, contiguous and of this machine's byte order, as a mapped file need not be
        tensor.copy_(torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C")))
    return problems


def _misfit(name: str, array: Array, tensor: Tensor) -> str | None:
    """Say why the array cannot become the tensor, if it cannot."""
    if array.shape != tuple(tensor.shape):
        return f"shape: {name!r} is {array.shape}, the model has {tuple(tensor.shape)}"
    kinds = "f" if tensor.is_floating_point() else "b" if tensor.dtype == torch.bool else "iu"
    if array.dtype.kind not in kinds:
        return f"type: {name!r} is {array.dtype}, the model has {str(tensor.dtype).removeprefix('torch.')}"
    return None


def _tensors(module: nn.Module) -> list[tuple[list[str], Tensor]]:
    """Every tensor of the module once, with all of its names: those that share memory and shape are one."""
    found: dict[tuple[object, ...], tuple[list[str], Tensor]] = {}
    for name, value in module.state_dict().items():
        key = (value.device, value.data_ptr() or name, value.shape, value.stride())
        found.setdefault(key, ([], value))[0].append(name)
    return list(found.values())
