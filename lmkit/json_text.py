"""JSON: numbers that it does not know, and files of it, our own and those of others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lmkit.errors import ModelFormatError
from lmkit.files import write_text


def finite(value: Any) -> Any:
    """Give a value, or dictionaries and lists of values, with None for every number that JSON does not know.

    >>> finite({"mean": math.inf, "folds": [1.5, math.nan]})
    {'mean': None, 'folds': [1.5, None]}
    """
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file for people to read: indented, keys in the order given, no NaN."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, max_bytes: int = 1 << 28) -> Any:
    """Read a JSON file that may be hostile: size capped, duplicate keys, NaN and deep nesting refused.

    Raises:
        ModelFormatError: the file is missing or is not such a JSON file.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            raise ValueError("a key stands twice")
        return dict(pairs)

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        if not path.is_file():
            raise ModelFormatError(f"{path}: is missing; the folder is no model, or a damaged one")
        if path.stat().st_size > max_bytes:
            raise ModelFormatError(f"{path}: {path.stat().st_size} bytes is too large for such a file")
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ModelFormatError):
            raise
        raise ModelFormatError(f"{path}: cannot be read as JSON: {error}") from error
