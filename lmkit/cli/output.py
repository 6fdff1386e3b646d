"""What a command gives out: files, where `-` is stdout and nothing is replaced without --force, and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.errors import ResourceError, UsageError
from lmkit.files import atomic_file

if TYPE_CHECKING:
    from lmkit.scoring import LineScore


def check_file(name: str, *, force: bool) -> None:
    """Refuse, before any work is done, a file that could not be written in the end.

    Raises:
        UsageError: it exists, and `force` is off.
        ResourceError: there is no such folder.
    """
    path = Path(name)
    if name != "-" and path.is_file() and not force:
        raise UsageError(f"{path}: exists already; give another name, or --force to replace it")
    if name != "-" and not path.absolute().parent.is_dir():
        raise ResourceError(f"{path.parent}: there is no such folder; make it first (mkdir -p)")


def write_bytes(name: str, pieces: Iterable[bytes]) -> None:
    """Write pieces as they come, compressed if the name ends in `.gz`.

    Raises:
        ResourceError: the file cannot be written.
    """
    if name == "-":
        sys.stdout.buffer.writelines(pieces)
        return
    with atomic_file(Path(name)) as file:
        file.writelines(pieces)


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


def scored_line(score: LineScore, *, as_json: bool) -> str:
    """Write the score of a line: as JSON, or its numbers and its text with tabs between."""
    facts = {
        "logprob": round(score.logprob, 6),
        "tokens": score.tokens,
        "oov": score.oov,
        "perplexity": round(score.perplexity, 4),
        "text": score.text,
    }
    return json.dumps(finite(facts), ensure_ascii=False) if as_json else "\t".join(map(str, facts.values()))
