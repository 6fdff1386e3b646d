"""Where text comes from: files, folders, patterns, pipes and standard input, plain or compressed."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from lmkit.errors import InputError, UsageError, missing_package
from lmkit.files import disk_error


@dataclass
class Source:
    """One named stream of bytes that can be opened again and again."""

    name: str
    open: Callable[[], IO[bytes]]
    lasting: bool = True  # whether the name can be opened again by another process


def named_sources(name: str) -> Iterator[Source]:
    """Give what a name of the command line stands for.

    That is a file, every file below a folder (but hidden ones), the files that match a pattern, or `-`, standard
    input. What is no regular file (a pipe) is kept in a temporary file first, so that it too can be read again.

    Raises:
        UsageError: there is nothing of that name.
    """
    if name == "-":
        yield Source("<stdin>", _Once(_stdin), lasting=False)
        return
    path = Path(name)
    if path.is_dir():
        found = [p for p in path.rglob("*") if not any(part[0] == "." for part in p.relative_to(path).parts)]
        kind = "the folder holds no files"
    elif path.exists():
        found, kind = [path], "no such file"
    else:
        found = [Path(match) for match in glob.glob(name, recursive=True)] if glob.has_magic(name) else []
        kind = "a dangling link" if path.is_symlink() else "no such file"
    files = sorted(p for p in found if not p.is_dir())
    if not files:
        raise UsageError(f"{name}: {kind}; check the name (current folder: {Path.cwd()})")
    for file in files:
        shown = os.fsencode(file).decode("utf-8", "backslashreplace")  # a name need not be text
        regular = stat.S_ISREG(file.stat().st_mode) if file.exists() else True
        yield Source(shown, _File(file) if regular else _Once(_File(file)), lasting=regular)


class _File:
    """Opens a file, and refuses to go on when it has changed since the first time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: tuple[int, int] | None = None

    def __call__(self) -> IO[bytes]:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be read: {error.strerror}") from error
        status = os.fstat(file.fileno())
        now = (status.st_size, status.st_mtime_ns)
        if self.seen not in (None, now) and stat.S_ISREG(status.st_mode):
            file.close()
            raise InputError(f"{self.path}: changed while it was being read; train again when it is complete")
        self.seen = now
        return file


class Spool:
    """Bytes kept in a temporary file, which can be opened again and again."""

    def __init__(self) -> None:
        self.size = 0
        self._file = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115  (see __del__)

    def add(self, data: bytes) -> None:
        """Put bytes behind the others.

        Raises:
            ResourceError: the disk is full.
        """
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise disk_error(error, Path(tempfile.gettempdir())) from error
        self.size += len(data)

    def __call__(self) -> IO[bytes]:
        """Open them, from the beginning; each reader has a place of its own."""
        return io.BufferedReader(_SpoolReader(self))

    def fileno(self) -> int:
        """Give the file's descriptor."""
        return self._file.fileno()

    def __del__(self) -> None:
        self._file.close()


class _SpoolReader(io.RawIOBase):
    """Reads a spool from a place that no other reader moves, as copies of a descriptor would."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.place = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to as many bytes as fit."""
        data = os.pread(self.spool.fileno(), len(buffer), self.place)
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, counted from the beginning, from here or from the end."""
        self.place = offset + (0, self.place, self.spool.size)[whence]
        return self.place


class _Once:
    """Keeps what can be read only once, as soon as it is asked for."""

    def __init__(self, opener: Callable[[], IO[bytes]]) -> None:
        self.opener = opener
        self.spool: Spool | None = None

    def __call__(self) -> IO[bytes]:
        if self.spool is None:
            self.spool = Spool()
            with self.opener() as stream:
                while chunk := stream.read(1 << 20):
                    self.spool.add(chunk)
        return self.spool()


def _stdin() -> IO[bytes]:
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise UsageError("standard input is empty; pipe a text into the command or name a file")
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb")


def decompressed(source: Source, file: IO[bytes]) -> IO[bytes]:
    """Recognise compressed files by their first bytes, whatever their name."""
    start = file.read(10)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(file))
    if start.startswith(b"BZh") and start[4:10] == b"1AY&SY":
        return bz2.open(file)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(file)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            import zstandard
        except ImportError:
            raise missing_package("zstandard", "zstd", f"{source.name}: a .zst file") from None
        return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
    return file
