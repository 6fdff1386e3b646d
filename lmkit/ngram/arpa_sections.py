"""The outline of an ARPA file: a header with the number of n-grams of each order, and a section for each.

What stands before the header and behind the end mark is a remark. The file is read once, a block at a time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import numpy as np

from lmkit.config import MAX_ORDER
from lmkit.errors import InputError, ModelFormatError, UsageError
from lmkit.text.corpus import NEWLINE, Corpus

_BOM = b"\xef\xbb\xbf"
_REMARK_BYTES = 1 << 24  # a file that has no header within so much is something else
_SIZE = re.compile(rb"ngram\s+(\d{1,4})\s*=\s*(\d{1,18})\s*", re.IGNORECASE)
_BINARY = b"mmap lm http://kheafield.com/code"


class ArpaSections:
    r"""The parts of an ARPA file, in their order.

    Attributes:
        path: the file, for messages.
        line: the number of the line that comes next.
        sizes: how many n-grams of each order the header says there are.

    Raises:
        UsageError: there is no such file.
        ModelFormatError: it is no ARPA file, or its header is wrong.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read up to the end of the header."""
        self.path = path
        self.line = 1
        self._rest = b""
        corpus = Corpus(Corpus.from_paths(path).sources, raw=True)
        if len(corpus.sources) != 1:
            raise UsageError(f"{path}: names {len(corpus.sources)} files; a model is one")
        self._blocks = corpus.blocks()
        self.sizes = self._header()

    def mark(self) -> str:
        """Give the line that begins with a backslash and comes next; nothing at the end of the file."""
        line, _, self._rest = self._rest.partition(b"\n")
        self.line += bool(line)
        return line.decode("utf-8", errors="replace").strip()

    def comes(self, mark: str) -> bool:
        """Say whether a mark comes next."""
        return self._rest[: len(mark)].lower() == mark.encode()

    def ended(self) -> bool:
        """Say whether the file has ended."""
        return not self._rest

    def section(self) -> Iterator[tuple[int, bytes]]:
        """Give whole lines up to the next one that begins with a backslash, with the number of the first."""
        while True:
            if not self._rest:
                self._rest = next(self._blocks, b"")
            if not self._rest or self._rest.startswith(b"\\"):
                return
            cut = self._rest.find(b"\n\\") + 1 or len(self._rest)
            piece, self._rest = self._rest[:cut], self._rest[cut:]
            yield self.line, piece
            self.line += count_lines(piece)

    def expect(self, mark: str) -> None:
        """Go past a mark.

        Raises:
            ModelFormatError: something else stands there.
        """
        line, found = self.line, self.mark()
        if found.lower() != mark:
            raise ModelFormatError(
                f"{self.path}:{line}: the file ends where {mark} should follow; it was cut short, so get or write it "
                "again"
                if not found
                else f"{self.path}:{line}: found {found[:40]} where {mark} should follow; sections stand in the order "
                "of the header, \\end\\ behind the last"
            )

    def _header(self) -> list[int]:
        self._rest = next(self._blocks).removeprefix(_BOM)
        if self._rest.startswith(_BINARY):
            raise ModelFormatError(
                f"{self.path}: is a binary file of KenLM, which does not keep what its words are; import the ARPA file "
                "that it was made from"
            )
        remark = 0
        for _, piece in self.section():
            remark += len(piece)
            if remark > _REMARK_BYTES:
                break
        line, found = self.line, self.mark()
        if found.lower() != "\\data\\":
            raise ModelFormatError(
                f"{self.path}:{line}: no ARPA file: it has no line \\data\\ before the first n-grams, nor within "
                f"{_REMARK_BYTES >> 20} MB; export the model as ARPA where it was trained"
            )
        sizes: dict[int, int] = {}
        for begin, piece in self.section():
            for line, text in enumerate(piece.split(b"\n")[:-1], begin):
                size = _SIZE.fullmatch(text.strip())
                if text.strip() and (
                    size is None or int(size[1]) != len(sizes) + 1 or len(sizes) == MAX_ORDER
                ):
                    raise ModelFormatError(
                        f"{self.path}:{line}: found {_shown(text)} in the header, where 'ngram {len(sizes) + 1}=' and "
                        f"a number should follow, or \\1-grams:; orders go up to {MAX_ORDER}"
                    )
                if size is not None:
                    sizes[len(sizes) + 1] = int(size[2])
        if not sizes:
            raise ModelFormatError(f"{self.path}:{self.line}: the header names no n-grams ('ngram 1=...')")
        return list(sizes.values())


def count_lines(block: bytes) -> int:
    """Give how many lines end in a block."""
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == 10))


def check_text(path: str | os.PathLike[str], line: int, block: bytes) -> None:
    """Refuse lines that are not UTF-8, with their place.

    Raises:
        InputError: where, and what to do.
    """
    place = block.find(b"\0")
    if place < 0 and not block.isascii():
        try:
            block.decode("utf-8")
        except UnicodeDecodeError as error:
            place = error.start
    if place >= 0:
        begin = block.rfind(b"\n", 0, place) + 1
        raise InputError(
            f"{path}:{line + block.count(NEWLINE, 0, place)}, byte {place - begin + 1} of the line: "
            f"0x{block[place]:02x} is no text in UTF-8; if the words are in another code, convert the file: "
            "iconv -f LATIN1 -t UTF-8"
        )


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", errors="replace"))
