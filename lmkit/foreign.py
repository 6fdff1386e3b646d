"""Model files of other tools, opened without being imported first: ARPA files, and binary files of KenLM."""

from __future__ import annotations

from pathlib import Path

from lmkit.errors import LmkitError
from lmkit.external.kenlm import KenlmModel, is_binary
from lmkit.model import LanguageModel
from lmkit.text.corpus import Corpus

_BEGIN_BYTES = 1 << 16


def is_foreign(path: Path) -> bool:
    """Say whether a path is a file that `open_foreign` opens."""
    return path.is_file() and (is_binary(path) or _is_arpa(path))


def open_foreign(path: Path) -> LanguageModel | None:
    """Open a file that is a model of another tool, or give nothing where it is something else.

    An ARPA file (plain or compressed) is read whole, which takes longer than opening a model folder:
    `lmkit import` makes one of it, once.

    Raises:
        ModelFormatError: it is damaged.
        UsageError, ResourceError: see `KenlmModel.open`.
    """
    if is_binary(path):
        return KenlmModel.open(path)
    if _is_arpa(path):
        from lmkit.ngram.arpa_reading import read_arpa

        return read_arpa(path)
    return None


def _is_arpa(path: Path) -> bool:
    """Say whether a file has the header of an ARPA file near its beginning."""
    try:
        begin = next(Corpus(Corpus.from_paths(path).sources, raw=True).blocks(_BEGIN_BYTES))
    except LmkitError:  # empty, unreadable or damaged: what else it may be is for others to say
        return False
    return any(line.strip().lower() == b"\\data\\" for line in begin.split(b"\n"))
