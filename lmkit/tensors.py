"""Named arrays in a safetensors file: written by the library, read by memory map.

The format (https://github.com/huggingface/safetensors): eight bytes of header length, a JSON header
`{name: {dtype, shape, data_offsets}}`, then the data. The library's own numpy reader copies every array;
here an array is a view of the mapped file, so that opening gigabytes takes no time and processes share them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors

from lmkit.errors import ModelFormatError
from lmkit.files import disk_error
from lmkit.scratch import release

Arrays = Mapping[str, np.ndarray]

_DTYPES = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
        "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
    }.items()
}  # fmt: skip
_PIECE = 1 << 20  # numbers written at a time


def write_tensors(path: Path, arrays: Arrays) -> None:
    """Write named arrays a piece at a time; `lmkit.folders` makes the folder around them appear whole or not at all.

    The library's own writer wants every array in memory; these may be larger than that.

    Raises:
        ResourceError: the disk does not take them.
    """
    names = {dtype: name for name, dtype in _DTYPES.items()}
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))  # so that all are aligned
    header, offset = {}, 0
    for name, array in ordered:
        ends = [offset, offset + array.nbytes]
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": ends}
        offset += array.nbytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    try:
        with path.open("wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            for _, array in ordered:
                flat = array.reshape(-1)
                for begin in range(0, len(flat), _PIECE):
                    file.write(np.ascontiguousarray(flat[begin : begin + _PIECE]).data)
                    release(flat)
    except OSError as error:
        raise disk_error(error, path) from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Map the named arrays of a file, read-only.

    The library checks the header first (lengths, overlaps, holes, unknown types), so that no number in it is
    trusted before it is known to fit the file.

    Raises:
        ModelFormatError: the file is missing, damaged or holds a type that numpy lacks.
    """
    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ModelFormatError(f"{path}: is damaged or no safetensors file: {error}") from error
    header.pop("__metadata__", None)
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if header else np.empty(0, np.uint8)
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise ModelFormatError(f"{path}: array {name!r} has the unsupported type {entry['dtype']}")
        begin, end = entry["data_offsets"]
        arrays[name] = data[begin:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def digest(arrays: Arrays) -> str:
    """Give eight letters that tell arrays from others, by their names and bytes.

    >>> digest({"rate": np.zeros(3)}), digest({"rate": np.zeros(2)})
    ('620699b7', '805d2f2d')
    """
    found = hashlib.blake2b(digest_size=4)
    for name, array in sorted(arrays.items()):
        found.update(name.encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def prefixed(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Give arrays under longer names, so that those of several things can be in one file.

    >>> list(prefixed("network", {"weight": np.zeros(1)}))
    ['network.weight']
    """
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def under(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Give those arrays that `prefixed` named so, under their own names."""
    begin = f"{prefix}."
    return {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}


def check_arrays(where: str, arrays: Arrays, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Compare names, types and shapes with what a model needs, and list every difference.

    Args:
        where: The file, for the message.
        arrays: What the file holds.
        expected: For each name its numpy type and its shape.

    Raises:
        ModelFormatError: something is missing, left over or of another type or shape.
    """
    wrong = [f"{name!r} is missing" for name in expected if name not in arrays]
    wrong += [f"{name!r} is not expected" for name in arrays if name not in expected]
    for name, (dtype, shape) in expected.items():
        if name in arrays and (arrays[name].dtype != np.dtype(dtype) or arrays[name].shape != shape):
            wrong.append(f"{name!r} is {arrays[name].dtype} {arrays[name].shape}, not {dtype} {shape}")
    if wrong:
        raise ModelFormatError(f"{where}: does not fit its configuration: " + "; ".join(wrong))
