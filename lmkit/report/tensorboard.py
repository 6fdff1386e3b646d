"""The learning curve for TensorBoard, point by point while training goes on (extra `tensorboard`)."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lmkit.errors import LmkitWarning, ResourceError, UsageError, missing_package
from lmkit.files import disk_error

Log = Callable[[dict[str, Any]], None]
_LARGEST_LOSS = 80.0  # exp of 89 is too large for the float32 of an event file


def check_events(folder: Path, *, output: Path | None) -> None:
    """Refuse, before any work is done, a folder that events could not be written to.

    Args:
        folder: The folder; it may exist, and so may folders above it.
        output: The model folder that will be written.

    Raises:
        UsageError: it is a file, or in the model folder.
        ResourceError: tensorboard is not installed, or the folder cannot be written.
    """
    _library()
    place = folder.absolute()
    found = next(path for path in (place, *place.parents) if path.exists())
    if not found.is_dir():
        raise UsageError(f"{found}: is a file; name a folder by --tensorboard")
    if output is not None and place.resolve().is_relative_to(output.resolve()):
        raise UsageError(f"{folder}: is in the model folder, which holds nothing else; name another place")
    if not os.access(found, os.W_OK | os.X_OK):
        raise ResourceError(f"{found}: cannot be written; choose another place by --tensorboard DIR")


@contextmanager
def event_log(folder: str | os.PathLike[str] | None, log: Log) -> Iterator[Log]:
    """Give a log for a training that hands every entry on to `log` and writes it to a folder, if one is given.

    A disk that fills up costs the events, with a warning, and not the training.

    Raises:
        ResourceError: tensorboard is not installed, or the folder cannot be written.
    """
    if folder is None:
        yield log
        return
    try:
        writer = _library()(log_dir=os.fspath(folder))
    except OSError as error:
        raise disk_error(error, Path(folder)) from error
    points, lost = 0, False

    def both(entry: dict[str, Any]) -> None:
        nonlocal points, lost
        log(entry)
        if lost:
            return
        try:
            for tag, value in scalars(entry).items():
                writer.add_scalar(tag, value, entry.get("step", points))
            writer.flush()  # by itself it would keep them for two minutes
        except OSError as error:
            lost = True
            warnings.warn(f"{disk_error(error, Path(folder))}; training goes on", LmkitWarning, stacklevel=2)
        points += 1

    try:
        yield both
    finally:
        with suppress(OSError):
            writer.close()


def scalars(entry: Mapping[str, Any]) -> dict[str, float]:
    """Give the numbers of an entry of metrics.jsonl by tag: those of a list one by one, a loss as perplexity too.

    >>> scalars({"step": 9, "train_loss": 0.0, "gradient_norm": None, "ngrams": [3, 7]})
    {'train_loss': 0.0, 'train_perplexity': 1.0, 'ngrams/1': 3.0, 'ngrams/2': 7.0}
    """
    found: dict[str, float] = {}
    for name, value in entry.items():
        parts = (
            {f"{name}/{n}": part for n, part in enumerate(value, 1)}
            if isinstance(value, list)
            else {name: value}
        )
        found |= {tag: float(part) for tag, part in parts.items() if isinstance(part, int | float)}
        if name.endswith("_loss") and name in found:
            found[name.replace("loss", "perplexity")] = math.exp(min(found[name], _LARGEST_LOSS))
    found.pop("step", None)  # where they stand, not one of them
    return found


def _library() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise missing_package("tensorboard", "tensorboard", "--tensorboard") from None
    return SummaryWriter
