"""The exceptions of lmkit, each with the exit code that the command line returns for it.

    LmkitError                 1   never raised itself
    ├── UsageError             2   a flag, an argument or a configuration that cannot be
    ├── InputError             3   text that cannot be read as it was meant
    ├── ModelFormatError       4   a model folder that is damaged, unsafe or of another version
    ├── ResourceError          5   disk, memory, device or optional package missing
    └── DivergedError          6   training left the finite numbers

    Stopped (a KeyboardInterrupt) 130 or 143

A message says what was found, where, why that is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LmkitError(Exception):
    """The root of every error that lmkit raises on purpose."""

    exit_code = 1


class UsageError(LmkitError, ValueError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class InputError(LmkitError, ValueError):
    """The text given cannot be read as it was meant."""

    exit_code = 3


class ModelFormatError(LmkitError, ValueError):
    """A model folder is damaged, unsafe or of another version."""

    exit_code = 4


class ResourceError(LmkitError, RuntimeError):
    """Disk, memory, a device or an optional package is missing."""

    exit_code = 5


class DivergedError(LmkitError, RuntimeError):
    """Training left the finite numbers."""

    exit_code = 6


class Stopped(KeyboardInterrupt):
    """The user (exit code 130) or the system (143) ended the work before its time.

    A training that was stopped carries the model that it had come to.
    """

    def __init__(self, exit_code: int = 130, model: object = None) -> None:
        super().__init__()
        self.exit_code = exit_code
        self.model = model


class LmkitWarning(UserWarning):
    """Something that the user should know and that does not stop the work."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End a message about an unknown name: the nearest known name, and all of them.

    >>> did_you_mean("lsmt", ["gru", "lstm"])
    "did you mean 'lstm'? Known: gru, lstm"
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(names)}"


def missing_package(package: str, extra: str, what: str) -> ResourceError:
    """Make the error for an optional package that is not installed, with the line that installs it."""
    return ResourceError(
        f"{what} needs the package {package!r}, which is not installed; run: pip install 'lmkit[{extra}]'"
    )
