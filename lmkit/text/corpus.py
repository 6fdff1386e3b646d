r"""A corpus: lines of text from files, folders, patterns, standard input or a string, streamed in blocks.

A line is a sentence. Only ``\n`` ends it; ``\r\n`` counts as one line end; a missing last ``\n`` is supplied, so
that it changes nothing. Blank lines count. A byte-order mark at the start is dropped. Text is UTF-8 and holds no
NUL byte; anything else is refused with its place, unless the corpus is raw (for the byte tokenizer).
"""

from __future__ import annotations

import io
import lzma
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lmkit.errors import InputError, UsageError
from lmkit.text.sources import Source, decompressed, named_sources

BLOCK_BYTES = 1 << 21
NEWLINE = b"\n"
_BOM = b"\xef\xbb\xbf"
_SPECIAL = re.compile(rb"(?<![^\0\t\n\r ])</?s>(?![^\0\t\n\r ])")
_FOREIGN = {
    b"\xff\xfe": "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8",
    b"%PDF": "a PDF; extract its text first: pdftotext",
    b"PK\x03\x04": "a zip archive (or a .docx, .epub); unpack it first",
}
PathLike = str | os.PathLike[str]


@dataclass
class Corpus:
    """Sources read one after the other.

    `raw` lets any bytes pass, `refuse_specials` no literal `<s>` or `</s>` (see `Tokenizer.reads`).

    >>> corpus = Corpus.from_text("a b\\r\\n\\nc")
    >>> b"".join(corpus.blocks())
    b'a b\\n\\nc\\n'
    """

    sources: list[Source]
    raw: bool = field(default=False, kw_only=True)
    refuse_specials: bool = field(default=False, kw_only=True)

    @classmethod
    def from_text(cls, text: str, name: str = "<text>") -> Corpus:
        """Make a corpus of a string."""
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"{name}: holds half a surrogate pair at character {error.start}; no such text is UTF-8"
            ) from None
        return cls([Source(name, lambda: io.BytesIO(data))])

    @classmethod
    def from_paths(cls, paths: PathLike | Iterable[PathLike]) -> Corpus:
        """Make a corpus of files, folders (every file below, by name), patterns and `-` (standard input).

        Raises:
            UsageError: no path is given, or one cannot be read.
        """
        names = [os.fspath(p) for p in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
        sources = [source for name in names for source in named_sources(name)]
        if not sources:
            raise UsageError("no text was named; give a file, a folder or - for standard input")
        return cls(sources)

    @classmethod
    def of(cls, text_or_path: str | PathLike | Iterable[PathLike] | Corpus) -> Corpus:
        """Make a corpus of what a caller most likely means.

        A path object is a file, a list is several. A string is a path where such a file exists, or where it ends like
        a file's name; every other string is the text itself, and so is one that ends in a line end.
        """
        if isinstance(text_or_path, Corpus):
            return text_or_path
        if isinstance(text_or_path, str):
            looks_like_path = re.fullmatch(r"-|\S*/\S+|[^\n]*\S\.[A-Za-z]\w{0,7}\s*", text_or_path)
            if not (looks_like_path or ("\n" not in text_or_path and _exists(text_or_path))):
                return cls.from_text(text_or_path)
        return cls.from_paths(text_or_path)

    @classmethod
    def to_learn_from(cls, text_or_path: str | PathLike | Iterable[PathLike] | Corpus) -> Corpus:
        """Make a corpus as `of` does, but take a string of one line for a file's name: it teaches little."""
        if isinstance(text_or_path, str) and "\n" not in text_or_path:
            return cls.from_paths(text_or_path)
        return cls.of(text_or_path)

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Give the text as blocks of whole lines, normalised by the rules above, each of about `size` bytes.

        Raises:
            InputError: the text is empty, or is not text.
        """
        return (block for _, block in self.numbered_blocks(size))

    def numbered_blocks(self, size: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
        """Give each block with the number of the source that it is of; see `blocks`."""
        empty = True
        for number, source in enumerate(self.sources):
            for line, block in _whole_lines(source, size, raw=self.raw):
                empty = False
                if not self.raw:
                    _check_text(source.name, block, line)
                if self.refuse_specials:
                    _check_specials(source.name, block, line)
                yield number, block
        if empty:
            names = ", ".join(source.name for source in self.sources)
            raise InputError(f"{names}: empty (0 bytes); there is nothing to read")


def _exists(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL: then it is text
        return False


def _whole_lines(source: Source, size: int, *, raw: bool) -> Iterator[tuple[int, bytes]]:
    """Cut one source into blocks that end at line ends, each with the number of its first line."""
    line = 1
    pieces: list[bytes] = []
    with source.open() as file, decompressed(source, file) as stream:
        first = True
        while True:
            try:
                chunk = stream.read(size)
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                raise InputError(
                    f"{source.name}: ended early or damaged, near line {line}: {error}"
                ) from error
            if first and not raw:
                for magic, what in _FOREIGN.items():
                    if chunk.startswith(magic):
                        raise InputError(f"{source.name}: looks like {what}")
                chunk = chunk.removeprefix(_BOM)
                first = False
            cut = chunk.rfind(b"\n") + 1
            if chunk and not cut:
                pieces.append(chunk)
                continue
            block = b"".join([*pieces, chunk[:cut]])
            pieces = [chunk[cut:]] if chunk[cut:] else []
            if not chunk and block:
                block += b"\n"
            if b"\r" in block:  # one byte is found many times quicker than two
                block = block.replace(b"\r\n", b"\n")
            if block:
                yield line, block
                line += block.count(b"\n")
            if not chunk:
                return


def _check_text(name: str, block: bytes, line: int) -> None:
    """Refuse bytes that are not UTF-8 text, with their place."""
    if (nul := block.find(b"\0")) >= 0:
        where = f"{name}:{line + block.count(NEWLINE, 0, nul)}"
        raise InputError(
            f"{where}: a NUL byte; the file is binary or UTF-16. Convert it to UTF-8, or train with --tokenizer byte"
        )
    if block.isascii():
        return
    try:
        block.decode("utf-8")
    except UnicodeDecodeError as error:
        start = block.rfind(b"\n", 0, error.start) + 1
        where = f"{name}:{line + block.count(NEWLINE, 0, error.start)}, byte {error.start - start + 1} of the line"
        raise InputError(
            f"{where}: 0x{block[error.start]:02x} is not UTF-8 ({error.reason}); convert the file "
            "(iconv -f LATIN1 -t UTF-8, say), or train with --tokenizer byte"
        ) from None


def _check_specials(name: str, block: bytes, line: int) -> None:
    """Refuse the words that mark where a line begins or ends."""
    if b"<" not in block or (b"<s>" not in block and b"</s>" not in block):
        return
    if found := _SPECIAL.search(block):
        raise InputError(
            f"{name}:{line + block.count(NEWLINE, 0, found.start())}: the word {found[0].decode()} marks where a line "
            "begins or ends and cannot be in a text; remove it, or train with --specials skip or unk"
        )
