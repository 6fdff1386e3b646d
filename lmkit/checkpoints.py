"""Checkpoints: all that a training is, in a folder that is there whole or not at all.

    <output>.checkpoint/state-12/     state.json, model.safetensors, manifest.json

A new one is written beside the old one, which goes only when the new one is complete: whatever moment the power fails
at, one of them can be gone on from. A training that ends well takes the folder away.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.errors import ModelFormatError, UsageError
from lmkit.files import disk_error
from lmkit.folders import atomic_folder, check_folder
from lmkit.json_text import read_json, write_json
from lmkit.tensors import read_tensors, write_tensors

Arrays = dict[str, np.ndarray]
_FORMAT = 4
_NAME = "state-"  # and a number: one more than that of the one before
_OURS = re.compile(rf"{_NAME}\d+|\.{_NAME}\d+\..*")
_STATE, _TENSORS = "state.json", "model.safetensors"


class Checkpoints:
    """The checkpoints of one training, and when the next one is due.

    Attributes:
        folder: Where they are. Whatever else is there stays.
        every: Seconds between them.
        count: How many were written by this object.
    """

    def __init__(self, folder: Path, *, every: float = math.inf) -> None:
        self.folder = folder
        self.every = every
        self.count = 0
        self.written = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for one."""
        return time.monotonic() - self.written >= self.every

    def write(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        """Write one, and remove the one before.

        Raises:
            ResourceError: the disk does not take it; the one before is still there.
        """
        self.written = time.monotonic()  # or the next one would be due at once, should this one fail
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        new = self.folder / f"{_NAME}{max(map(_number, self.whole()), default=0) + 1}"
        with atomic_folder(new) as folder:
            write_tensors(folder / _TENSORS, arrays)
            write_json(folder / _STATE, {"format": _FORMAT, **facts})
        self.count += 1
        for other in self._all():  # what a kill left half-written, too
            if other != new:
                shutil.rmtree(other, ignore_errors=True)

    def read(self) -> tuple[Arrays, dict[str, Any]]:
        """Read the last one that is complete.

        Raises:
            UsageError: there is none.
            ModelFormatError: what there is is damaged, or of another version.
        """
        place, facts = self._last()
        return {name: np.array(array) for name, array in read_tensors(place / _TENSORS).items()}, facts

    def facts(self) -> dict[str, Any]:
        """Read what `read` would, but for the arrays."""
        return self._last()[1]

    def _last(self) -> tuple[Path, dict[str, Any]]:
        found = self.whole()
        if not found:
            raise UsageError(
                f"{self.folder}: there is no checkpoint to resume from (a training that is done keeps none, nor has "
                "one that broke off before its first); train without --resume"
            )
        error: ModelFormatError | None = None
        for place in reversed(found):
            try:
                check_folder(place, (_STATE, _TENSORS), what="checkpoint", made_by="lmkit train", verify=True)
                facts = read_json(place / _STATE)
            except ModelFormatError as problem:
                error = error or problem
                continue
            if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
                raise ModelFormatError(
                    f"{place / _STATE}: is no checkpoint of this version of lmkit; train anew"
                )
            return place, facts
        assert error is not None
        raise error

    def remove(self) -> None:
        """Take them away, each at once: whatever moment the power fails at, what is there is whole."""
        for path in self._all():
            going = path if path.name.startswith(".") else path.with_name(f".{path.name}.old")
            with suppress(OSError):  # what cannot be taken away may stay
                path.rename(going)
            shutil.rmtree(going, ignore_errors=True)
        with suppress(OSError):  # something else is there, or nothing at all
            self.folder.rmdir()

    def whole(self) -> list[Path]:
        """Give those that were written to their end, the last one last."""
        return sorted((path for path in self._all() if not path.name.startswith(".")), key=_number)

    def _all(self) -> list[Path]:
        """Give all of them, and before them what was on the way to be one, or to be gone."""
        return sorted(path for path in self.folder.glob("*") if _OURS.fullmatch(path.name) and path.is_dir())


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_NAME))
