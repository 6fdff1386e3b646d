"""Checkpoints: all that a training is, in a folder that is there whole or not at all.

    <output>.checkpoint/step-1200/     state.json, model.safetensors, manifest.json

A new one is written beside the old one, which goes only when the new one is complete: whatever moment the power fails
at, one of them can be gone on from. A training that ends well takes the folder away.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.errors import ModelFormatError, UsageError
from lmkit.folders import atomic_folder, check_folder, remove_folder
from lmkit.json_text import read_json, write_json
from lmkit.tensors import read_tensors, write_tensors

Arrays = dict[str, np.ndarray]
_FORMAT = 4
_STATE, _TENSORS = "state.json", "model.safetensors"


class Checkpoints:
    """The checkpoints of one training, and when the next one is due.

    Attributes:
        folder: where they are.
        every: seconds between them.
    """

    def __init__(self, folder: Path, *, every: float) -> None:
        self.folder = folder
        self.every = every
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
        old = self._steps()
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_folder(self.folder / f"step-{facts['step']}", force=True) as folder:
            write_tensors(folder / _TENSORS, arrays)
            write_json(folder / _STATE, {"format": _FORMAT, **facts})
        for step in old:
            if step.name != f"step-{facts['step']}":
                shutil.rmtree(step, ignore_errors=True)

    def read(self) -> tuple[Arrays, dict[str, Any]]:
        """Read the last one that is complete.

        Raises:
            UsageError: there is none.
            ModelFormatError: what there is is damaged, or of another version.
        """
        if not self.folder.exists():
            raise UsageError(
                f"{self.folder}: there is no checkpoint to resume from (a training that is done keeps none); train "
                "without --resume"
            )
        steps = self._steps()
        if not steps:
            raise UsageError(
                f"{self.folder}: there is no checkpoint to resume from: the training broke off before its first one "
                "was whole; begin anew with --force"
            )
        error: ModelFormatError | None = None
        for step in reversed(steps):
            try:
                check_folder(step, (_STATE, _TENSORS), what="checkpoint", made_by="lmkit train", verify=True)
                facts = read_json(step / _STATE)
            except ModelFormatError as problem:
                error = error or problem
                continue
            if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
                raise ModelFormatError(
                    f"{step / _STATE}: is no checkpoint of this version of lmkit; train anew"
                )
            return {name: np.array(array) for name, array in read_tensors(step / _TENSORS).items()}, facts
        assert error is not None
        raise error

    def remove(self) -> None:
        """Take the folder away."""
        remove_folder(self.folder)

    def _steps(self) -> list[Path]:
        found = [path for path in self.folder.glob("step-*") if path.name[5:].isdigit()]
        return sorted(found, key=lambda path: int(path.name[5:]))
