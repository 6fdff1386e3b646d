"""Folders that are there whole or not at all, and say what is in them.

A folder is complete when it has its manifest, which is written last. Only its log grows afterwards, line by line.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmkit.errors import ModelFormatError, ResourceError, UsageError
from lmkit.files import disk_error, sync
from lmkit.json_text import read_json, write_json

MANIFEST = "manifest.json"
LOG = "uses.jsonl"  # what a folder was used for since it was written; in no manifest
_CHUNK = 1 << 20
_ALWAYS_HASHED = 1 << 24  # larger files are compared by size alone, so that opening takes no time
_PICKLES = (".pt", ".pkl", ".bin")


def sha256(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_manifest(folder: Path) -> None:
    """Write `manifest.json`: size and sha256 of every file of a folder. It is what marks the folder as complete."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in sorted(folder.iterdir())
    }
    write_json(folder / MANIFEST, {"files": files})


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Give what `write_manifest` wrote, by file name.

    Raises:
        ModelFormatError: there is none, or it names something that is no plain file of the folder.
    """
    manifest = read_json(folder / MANIFEST)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        raise ModelFormatError(f"{folder / MANIFEST}: lists no files")
    for name, entry in files.items():
        if Path(name).name != name or (folder / name).is_symlink() or not isinstance(entry, dict):
            raise ModelFormatError(f"{folder / MANIFEST}: {name!r} is no plain file of this folder")
    return files


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Give the entries of the log that grows in a folder after it was written; none if there is no log.

    Raises:
        ModelFormatError: a line of it is no entry.
    """
    path = folder / LOG
    if not path.exists():
        return []
    entries = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ModelFormatError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("it is no object")
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(
                f"{path}:{number}: is no entry of a log ({error}); take the line out"
            ) from error
        entries.append(entry)
    return entries


def check_log(folder: Path) -> None:
    """Refuse, before any work is done, a log that could not be written in the end.

    Raises:
        ModelFormatError: it is damaged.
        ResourceError: it cannot be written.
    """
    read_log(folder)
    path = folder / LOG
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ResourceError(
            f"{path}: cannot be written; copy the model to where it can be, or leave --test out"
        )


def add_to_log(folder: Path, entry: Mapping[str, Any]) -> None:
    """Write an entry behind those of the log of a folder.

    Raises:
        ResourceError: it cannot be written.
    """
    path = folder / LOG
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(error, path) from error


def check_folder(
    folder: Path, required: Iterable[str], *, what: str, made_by: str, verify: bool | None = None
) -> None:
    """Compare a folder that `atomic_folder` wrote with its manifest.

    Args:
        folder: The folder.
        required: Files that it must have.
        what, made_by: What it is and the command that makes such a folder, for messages.
        verify: Whether to compare every file's sha256; if not given, those of small files.

    Raises:
        UsageError: there is no such folder.
        ModelFormatError: it is damaged, incomplete or something else.
    """
    if not folder.exists():
        raise UsageError(f"{folder}: there is no {what}; make it first: {made_by} -o {folder}")
    if not folder.is_dir():
        kind = "a pickle can run code and is never read" if folder.suffix in _PICKLES else "not one file"
        raise ModelFormatError(f"{folder}: a {what} is a folder made by `{made_by}`, {kind}")
    files = read_manifest(folder)
    if not set(required) <= files.keys():
        raise ModelFormatError(f"{folder / MANIFEST}: does not list the files of a {what}")
    for name, entry in files.items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else -1
        if size != entry.get("bytes"):
            found = "missing" if size < 0 else f"{size} bytes, not {entry.get('bytes')}"
            raise ModelFormatError(f"{file}: {found}; the {what} is damaged, make or copy it again")
        wanted = verify if verify is not None else size <= _ALWAYS_HASHED
        if wanted and sha256(file) != entry.get("sha256"):
            raise ModelFormatError(
                f"{file}: its content has changed since it was written; make or copy it again"
            )


def check_target(path: Path, *, force: bool, holds: str = "model.safetensors") -> None:
    """Refuse, before any work is done, a folder that could not be written in the end.

    Args:
        path: The folder.
        force: Whether it may be replaced.
        holds: A file by which a folder is known for one that may be.

    Raises:
        UsageError: it exists and is not empty, and `force` is off or it holds something that we did not write.
        ResourceError: the folder above is missing or cannot be written.
    """
    parent = path.absolute().parent
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"{path}: exists and is not a folder; give another place with -o")
    if path.exists() and any(path.iterdir()):
        if not _is_ours(path, holds):
            raise UsageError(
                f"{path}: is a folder that holds something else (not {holds} and what goes with it); give another "
                "place with -o"
            )
        if not force:
            raise UsageError(
                f"{path}: exists already; give another place with -o DIR, or --force to replace it"
            )
    if not parent.is_dir():
        raise ResourceError(f"{parent}: there is no such folder; make it first (mkdir -p)")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ResourceError(f"{parent}: cannot be written; choose another place with -o DIR")


def _is_ours(folder: Path, holds: str) -> bool:
    """Tell whether a folder holds a manifest, a certain file, and nothing but what the manifest lists or a log."""
    try:
        listed = read_manifest(folder)
        return holds in listed and {file.name for file in folder.iterdir()} <= {MANIFEST, LOG, *listed}
    except ModelFormatError:
        return False


@contextmanager
def atomic_folder(path: Path, *, force: bool = False, holds: str = "model.safetensors") -> Iterator[Path]:
    """Give a temporary folder that becomes `path` when the block ends well, and goes when it does not.

    Its manifest is written last.

    Raises:
        UsageError, ResourceError: see `check_target`; ResourceError as well where the disk is full.
    """
    check_target(path, force=force, holds=holds)
    parent = path.absolute().parent
    try:
        building = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=parent))
    except OSError as error:
        raise disk_error(error, path) from error
    retired = building.with_name(building.name + "-old")
    try:
        yield building
        write_manifest(building)
        mask = _umask()
        building.chmod(0o777 & ~mask)
        for file in building.iterdir():
            file.chmod(0o666 & ~mask)
            sync(file)
        sync(building)
        if path.exists():
            path.rename(retired)
        try:
            building.rename(path)
        except OSError as error:
            if retired.exists():
                _put_back(retired, path, error)
            raise
        sync(parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        if path.exists():  # else the old content could not be put back, and is all there is
            shutil.rmtree(retired, ignore_errors=True)


def _put_back(retired: Path, path: Path, cause: OSError) -> None:
    try:
        retired.rename(path)
    except OSError:
        raise ResourceError(
            f"{path}: cannot be written ({cause.strerror}); its old content is in {retired}"
        ) from cause


def _umask() -> int:
    """Read the process's umask; the system offers no call that only reads it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
