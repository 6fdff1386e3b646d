"""Amounts of memory and spans of time, as people write them."""

from __future__ import annotations

from lmkit.errors import UsageError


def bytes_of(text: str | int) -> int:
    """Read an amount of memory: `512M`, `4G`, `1.5g`, `800000k`, or plain bytes.

    Raises:
        UsageError: it is no such amount, or not above zero.

    >>> bytes_of("512M")
    536870912
    """
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    number = str(text).strip().lower().removesuffix("b").removesuffix("i")
    scale = units.get(number[-1:], 0)
    try:
        amount = float(number[:-1]) * scale if scale else float(number)
    except ValueError:
        amount = -1.0
    if not 1 <= amount < 1 << 60:
        raise UsageError(f"{text!r} is no amount of memory; write it as 512M or 4G")
    return int(amount)


def seconds(text: str | float) -> float:
    """Read a span of time: `90`, `90s`, `10m`, `1.5h`.

    Raises:
        UsageError: it is no such span, or not above zero.

    >>> seconds("10m")
    600.0
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number = str(text).strip().lower()
    scale = units.get(number[-1:], 0.0)
    try:
        span = float(number[:-1]) * scale if scale else float(number)
    except ValueError:
        span = -1.0
    if not 0 < span < float("inf"):
        raise UsageError(f"{text!r} is no span of time; write it as 90s, 10m or 1.5h")
    return span
