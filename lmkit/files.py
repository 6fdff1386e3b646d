"""Writing files so that they are there whole or not at all.

Every file that lmkit keeps is written into a temporary place beside the target, synced, then renamed, and so is every
folder (`folders`). A crash at any moment leaves the old content or the new, never a mixture.
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmkit.errors import ResourceError, UsageError


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8 with `\\n` line ends and sync it to the disk."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_file(path: Path) -> Iterator[Any]:
    """Open a file for writing that takes its name only when the block ends well, compressed if it ends in `.gz`.

    A target that is not a regular file (a pipe, `/dev/stdout`) is written through, never renamed over.
    """

    def opener(target: Path) -> Any:
        return gzip.open(target, "wb", compresslevel=6) if path.suffix == ".gz" else target.open("wb")

    try:
        special = path.exists() and not stat.S_ISREG(path.stat().st_mode)
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; name a file")
        if special:
            with opener(path) as file:
                yield file
            return
        building = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        try:
            with opener(building) as file:
                yield file
            sync(building)
            building.replace(path.resolve())
        finally:
            building.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise disk_error(error, path) from error


def disk_error(error: OSError, path: Path) -> ResourceError:
    """Say in the user's terms why a file could not be written."""
    cures = {
        errno.ENOSPC: "the disk is full; free some space or choose another place",
        errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
        errno.EACCES: "no permission to write there; choose another place",
        errno.EROFS: "the file system is read-only; choose another place",
        errno.ENOENT: "there is no such folder; make it first (mkdir -p)",
    }
    return ResourceError(f"{path}: cannot be written: {cures.get(error.errno or 0, error.strerror or error)}")


def sync(path: Path) -> None:
    """Force a file or folder to the disk, so that a rename after it cannot overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
