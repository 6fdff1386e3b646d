"""Options: fields of dataclasses that say what they mean and what they may be, and how given values are checked.

The name of a field is the name of the keyword (`vocab_size`), of the TOML key, and with dashes of the flag
(`--vocab-size`). An unknown key is an error with a suggestion.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lmkit.errors import UsageError, did_you_mean

C = TypeVar("C")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def option(
    default: Any,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    short: str | None = None,
) -> Any:
    """Declare a field with its help text, its range (both ends allowed) and the letter of its flag."""
    return dataclasses.field(
        default=default, metadata={"help": text, "choices": choices, "low": low, "high": high, "short": short}
    )


def make(cls: type[C], values: Mapping[str, Any], where: str = "options") -> C:
    """Make a config of given values, each checked against its field.

    Raises:
        UsageError: a key is unknown, or a value is of the wrong type or out of its range.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Config:
    ...     order: int = option(5, "the longest n-gram", low=1)
    >>> make(Config, {"order": "3"}).order
    3
    """
    assert dataclasses.is_dataclass(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    checked = {}
    for key, value in values.items():
        if key not in fields:
            raise UsageError(f"{where}: there is no option {key!r}; {did_you_mean(key, fields)}")
        checked[key] = _check(f"{where}: {key}", value, hints[key], fields[key].metadata)
    return cls(**checked)


def _check(where: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and types.NoneType in kinds:
        return None
    kind = next(k for k in kinds if k is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        if isinstance(value, str) and inner is not str:
            value = value.replace(",", " ").split()
        if not isinstance(value, list | tuple):
            value = [value]
        return tuple(_check(where, item, inner, {"low": 0}) for item in value)
    try:
        if kind is bool and not isinstance(value, bool):
            raise ValueError
        if kind in (int, float) and isinstance(value, bool):
            raise ValueError
        converted = kind(value)
        if kind is int and isinstance(value, float) and converted != value:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{where}: {value!r} is not {_KINDS.get(kind, kind.__name__)}") from None
    low, high, choices = (limits.get(name) for name in ("low", "high", "choices"))
    if choices and converted not in choices:
        raise UsageError(f"{where}: {value!r} is not known; {did_you_mean(str(value), choices)}")
    inside = not isinstance(converted, int | float) or (
        math.isfinite(converted) and (low is None or converted >= low) and (high is None or converted <= high)
    )
    if not inside:
        limit = "that is finite" if low is None else f"of at least {low}"
        limit = limit if high is None else f"from {low} to {high}"
        raise UsageError(f"{where}: {value!r} is out of range; give a number {limit}")
    return converted


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of options.

    Raises:
        UsageError: it cannot be read, or is no TOML.
    """
    try:
        if path.stat().st_size > 1 << 20:
            raise UsageError(f"{path}: over a megabyte; that is no file of options")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}: cannot be read as TOML: {error}") from error


def options_of(cls: type[Any]) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Give each field of a config with its type, for the command line."""
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        yield f, hints[f.name]
