"""Scratch space: working arrays in memory or, where memory is bounded, in files that vanish with the process.

An array on disk is a memory map of a file without a name, so that nothing is left behind however the process ends.
Loops work on both kinds alike, a piece at a time, and call `release` after each: its pages then belong to the
system's cache, no longer to the process.
"""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.errors import ResourceError, UsageError
from lmkit.files import disk_error
from lmkit.quantities import bytes_of
from lmkit.threads import chunks, cores

LEAST_ROOM = 64 << 20  # bytes beside what the program itself takes
_LEAST_ITEMS = 1 << 12


class Scratch:
    """Where working arrays are kept.

    >>> scratch = Scratch()
    >>> scratch.bounded, scratch.empty(3, np.int32).shape
    (False, (3,))
    """

    def __init__(self, *, memory: int | None = None, folder: Path | None = None) -> None:
        """Choose memory or disk.

        Args:
            memory: Bytes that the whole process should hold at most; None is no bound, and arrays are in memory.
            folder: Where the files go; the system's temporary folder if not given.
        """
        self.memory = memory
        self.folder = Path(tempfile.gettempdir()) if folder is None else folder

    @classmethod
    def of(cls, config: Any) -> Scratch:
        """Make the scratch space that a config asks for, if it is one that has `memory` and `temp`.

        Raises:
            UsageError: an amount or a folder cannot be.
        """
        memory, folder = getattr(config, "memory", None), getattr(config, "temp", None)
        if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(
                f"temp {folder}: is no folder that can be written; make it first, or choose another"
            )
        return cls(
            memory=None if memory is None else bytes_of(memory),
            folder=None if folder is None else Path(folder),
        )

    @property
    def bounded(self) -> bool:
        """Whether arrays are on disk."""
        return self.memory is not None

    @cached_property
    def room(self) -> int:
        """Bytes for working arrays: the bound less what the process held when this was first asked for.

        Raises:
            UsageError: the bound is too low for any work.
        """
        if self.memory is None:
            return sys.maxsize
        held = resident()
        if self.memory - held < LEAST_ROOM:
            raise UsageError(
                f"memory {self.memory >> 20} MB is too little: the program, its vocabulary and its compiled loops take "
                f"{held >> 20} MB; give at least {(held + LEAST_ROOM >> 20) + 1}M"
            )
        return self.memory - held

    def at_a_time(self, size: int, *, most: int = 1 << 18, waiting: int = 0) -> int:
        """Give how many items of `size` bytes a thread should take at a time, for all to fit in half of the room.

        Args:
            size: Bytes that an item takes while it is worked on.
            most: Where more would not be faster.
            waiting: Results that wait beside those that are worked on.
        """
        return max(min(most, self.room // (2 * size * (cores() + waiting))), _LEAST_ITEMS)

    def check_disk(self, needed: int) -> None:
        """Refuse, before any work is done, what the disk has no space for.

        Raises:
            ResourceError: there is less than `needed` bytes.
        """
        if not self.bounded:
            return
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ResourceError(
                f"{self.folder}: {free / 1e9:.1f} GB are free, and temporary files need about {needed / 1e9:.1f} GB; "
                "free some space, or choose another place with --temp DIR"
            )

    def empty(self, shape: int | tuple[int, ...], dtype: type) -> np.ndarray:
        """Make an array of any content (on disk: of zeros).

        Raises:
            ResourceError: the disk is full.
        """
        size = prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
        if not self.bounded or not size:
            return np.empty(shape, dtype)
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                _reserve(file.fileno(), size)
                return np.memmap(file, dtype, "r+", shape=shape).view(np.ndarray)
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def zeros(self, shape: int | tuple[int, ...], dtype: type) -> np.ndarray:
        """Make an array of zeros; see `empty`."""
        return self.empty(shape, dtype) if self.bounded else np.zeros(shape, dtype)

    def joined(self, pieces: Iterable[np.ndarray], dtype: type) -> np.ndarray:
        """Put arrays (n,) behind each other, as they come."""
        if not self.bounded:
            return np.concatenate([np.empty(0, dtype), *pieces], dtype=dtype, casting="unsafe")
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                for piece in pieces:
                    file.write(np.ascontiguousarray(piece, dtype).data)
                file.flush()
                size = file.tell()
                return np.memmap(file, dtype, "r+").view(np.ndarray) if size else np.empty(0, dtype)
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def pieces(self, array: np.ndarray, size: int = 1 << 20) -> Iterator[np.ndarray]:
        """Give an array (n,) piece by piece, each let go of after its use."""
        for begin, end in chunks(0, len(array), size):
            yield array[begin:end]
            release(array)


MEMORY = Scratch()  # without a bound


def release(*arrays: np.ndarray) -> None:
    """Let go of the memory in which these parts of mapped files are held; their content stays, and other arrays do."""
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and array.size:
            begin = array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
            page = begin % mmap.PAGESIZE
            base.madvise(mmap.MADV_DONTNEED, begin - page, array.nbytes + page)


def resident() -> int:
    """Give the bytes of memory that this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no Linux
        return peak()


def peak() -> int:
    """Give the most bytes of memory that this process ever held."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) << 10
    except (OSError, IndexError):  # no Linux; where there is, this would count what the parent process held
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reserve(descriptor: int, size: int) -> None:
    """Give a file its size on the disk now: writing to a map on a full disk would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
