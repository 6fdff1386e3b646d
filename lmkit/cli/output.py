"""What a command gives out: files, where `-` is stdout and nothing is replaced without --force, and JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from lmkit.errors import ResourceError, UsageError
from lmkit.files import atomic_file
from lmkit.json_text import finite

if TYPE_CHECKING:
    from lmkit.scoring import LineScore

# Control characters but TAB and LF, and those that turn the direction of what follows.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


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


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """Open a file to write: it appears when all is written, compressed if its name ends in `.gz`; `-` is stdout.

    Raises:
        ResourceError: the file cannot be written.
    """
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with atomic_file(Path(name)) as file:
        yield file


def write_bytes(name: str, pieces: Iterable[bytes]) -> None:
    """Write pieces as they come; see `opened`."""
    with opened(name) as file:
        file.writelines(pieces)


def say(line: str) -> None:
    """Write a line to stderr, above the bar of whatever is in progress."""
    bars = sys.modules.get("tqdm")  # where nothing has imported it, nothing is
    with nullcontext() if bars is None else bars.tqdm.external_write_mode(sys.stderr):
        click.echo(line, err=True)


def harmless(text: str) -> str:
    r"""Show control characters escaped: a terminal would obey them, at the end of whatever pipe.

    >>> print(harmless("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def json_line(facts: Mapping[str, Any]) -> str:
    r"""Write JSON in one line: nothing that JSON does not know, control characters escaped in its own way.

    >>> json_line({"text": "a\x9bb", "bits": float("inf")})
    '{"text": "a\\u009bb", "bits": null}'
    """
    text = json.dumps(finite(dict(facts)), ensure_ascii=False, allow_nan=False)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def facts_of_line(score: LineScore) -> dict[str, Any]:
    """Give what there is to say of a line, in the order of the columns."""
    return {
        "logprob": round(score.logprob, 6),
        "tokens": score.tokens,
        "oov": score.oov,
        "perplexity": round(score.perplexity, 4),
        "text": score.text,
    }


def row_of(facts: Mapping[str, Any], *, as_json: bool) -> str:
    r"""Write a row: as JSON, or its values with tabs between; white space in a text that would break it is escaped.

    >>> row_of({"bits": 1.5, "text": "\tfox"}, as_json=True)
    '{"bits": 1.5, "text": "\\tfox", "schema": 1}'
    """
    if as_json:
        return json_line({**facts, "schema": 1})
    return "\t".join(
        harmless(value).replace("\t", "\\t") if isinstance(value, str) else str(value)
        for value in facts.values()
    )


def warn_of_learnt(models: Iterable[str], *, text_of: str, name: str) -> None:
    """Say which of some models learnt from the text of another one that they are to be measured on."""
    from lmkit.bundle import may_have_learnt

    for model in models:
        if may_have_learnt(Path(model), from_texts_of=Path(text_of), name=name):
            say(
                f"{model} was trained on lines that {text_of} held out: it knows this text, and only seems better; "
                "name one that no model has learnt from"
            )
