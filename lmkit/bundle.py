"""The model folder: everything that a model is, in files that are there whole or not at all.

    config.json         format version, backend, options, signature, training summary
    tokenizer.json      the tokenizer          vocab.txt          its tokens, one a line
    model.safetensors   every array            metrics.jsonl      the learning curve
    splits.json         what was held out      valid.txt, test.txt  those lines themselves
    manifest.json       size and sha256 of each file; written last

Loading runs no code from the folder, and trusts no number in it before it is checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmkit.backends import BACKENDS
from lmkit.errors import ModelFormatError, UsageError
from lmkit.files import write_text
from lmkit.folders import add_to_log, atomic_folder, check_folder, read_log
from lmkit.foreign import is_foreign, open_foreign
from lmkit.json_text import finite, read_json, write_json
from lmkit.model import LanguageModel
from lmkit.tensors import read_tensors, write_tensors
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizer import load_tokenizer
from lmkit.version import __version__

FORMAT = 1
DEFAULT = "lmkit-model"
_REQUIRED = ("config.json", "tokenizer.json", "vocab.txt", "model.safetensors")


@dataclass
class Record:
    """What is kept beside the model itself.

    Attributes:
        options: every option of the training, resolved.
        summary: what came of it.
        metrics: the learning curve, one dictionary a point.
        splits: what was held out.
        held_out: the lines themselves, by file name.
    """

    options: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    splits: dict[str, Any] = field(default_factory=dict)
    held_out: dict[str, Corpus] = field(default_factory=dict)


def default_path() -> Path:
    """Give the folder used where none is named: LMKIT_MODEL, or `lmkit-model` here."""
    return Path(os.environ.get("LMKIT_MODEL") or DEFAULT)


def save(
    model: LanguageModel, path: str | os.PathLike[str], *, force: bool = False, record: Record | None = None
) -> None:
    """Write a model folder, whole or not at all.

    Raises:
        UsageError: it exists already and `force` is off.
        ResourceError: it cannot be written.
    """
    record = record or Record()
    with atomic_folder(Path(path), force=force) as folder:
        config = {
            "format": FORMAT,
            "lmkit": __version__,
            "backend": model.backend,
            "signature": model.signature(),
            "model": model.config(),
            "options": record.options,
            "summary": record.summary,
        }
        write_json(folder / "config.json", config)
        model.tokenizer.save(folder)
        write_tensors(folder / "model.safetensors", model.arrays())
        curve = (json.dumps(finite(entry)) + "\n" for entry in record.metrics)
        write_text(folder / "metrics.jsonl", "".join(curve))
        write_json(folder / "splits.json", record.splits)
        for name, lines in record.held_out.items():
            with (folder / name).open("wb") as file:
                file.writelines(lines.blocks())


def load(path: str | os.PathLike[str] | None = None, *, verify: bool | None = None) -> LanguageModel:
    """Open a model folder, or a model file of another tool: an ARPA file, a binary file of KenLM.

    Args:
        path: The folder or file; `default_path()` if not given.
        verify: Whether to compare every file's sha256; if not given, those of small files.

    Raises:
        UsageError: there is no such folder.
        ModelFormatError: it is damaged, unsafe, incomplete or of a newer version.
        ResourceError: it is a file for which an optional package is not there.
    """
    folder = default_path() if path is None else Path(path)
    if folder.is_file() and (foreign := open_foreign(folder)) is not None:
        return foreign
    check(folder, verify=verify)
    config = read_config(folder)
    try:
        backend = BACKENDS[config["backend"]]
    except UsageError as error:
        raise ModelFormatError(f"{folder / 'config.json'}: {error}") from None
    tokenizer = load_tokenizer(folder)
    arrays = read_tensors(folder / "model.safetensors")
    model: LanguageModel = backend.model.from_arrays(config["model"], arrays, tokenizer)
    return model


def check(path: str | os.PathLike[str] | None = None, *, verify: bool | None = None) -> Path:
    """Compare a model folder with its manifest, and give its path.

    Raises:
        UsageError, ModelFormatError: see `load`.
    """
    folder = default_path() if path is None else Path(path)
    if is_foreign(folder):
        raise UsageError(
            f"{folder}: is a model file of another tool, where a model folder is needed; make one of an ARPA file: "
            f"lmkit import {folder} -o DIR"
        )
    check_folder(folder, _REQUIRED, what="model", made_by="lmkit train corpus.txt", verify=verify)
    return folder


def read_config(folder: Path) -> Mapping[str, Any]:
    """Read `config.json` of a model folder.

    Raises:
        ModelFormatError: it is not one, or of a newer version.
    """
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ModelFormatError(f"{folder / 'config.json'}: names no format version")
    if config["format"] < 1:
        raise ModelFormatError(f"{folder / 'config.json'}: there is no format {config['format']}")
    if config["format"] > FORMAT:
        raise ModelFormatError(
            f"{folder}: written by lmkit {config.get('lmkit')} in format {config['format']}; this is lmkit "
            f"{__version__}, which reads formats up to {FORMAT}: pip install -U lmkit"
        )
    if not isinstance(config.get("backend"), str) or not isinstance(config.get("model"), dict):
        raise ModelFormatError(f"{folder / 'config.json'}: names no backend or no model")
    return config


def measurable_texts(folder: Path) -> dict[str, list[str]]:
    """Give the files to measure a model on, by `test` and `valid`: lines held out in training, or what it was given.

    A file of another tool (see `load`) has none.
    """
    if folder.is_file():
        return {}
    splits = read_json(folder / "splits.json")
    found = {}
    for name in ("test", "valid"):
        if (folder / f"{name}.txt").exists():
            found[name] = [str(folder / f"{name}.txt")]
        elif named := splits.get(f"{name}_files"):
            found[name] = [str(path) for path in named]
    return found


def may_have_learnt(model: Path, *, from_texts_of: Path, name: str) -> bool:
    """Say whether a model was trained on the `test` or `valid` text of another one, as far as their records tell.

    It was if that text is one of its sources, or if it shares a source and held out less of it.
    """
    if model.is_file() or from_texts_of.is_file():
        return False
    its, other = read_json(model / "splits.json"), read_json(from_texts_of / "splits.json")
    sources = {os.path.abspath(source) for source in its.get("sources", [])}
    if named := other.get(f"{name}_files"):
        return not sources.isdisjoint(named)
    shared = not sources.isdisjoint(os.path.abspath(source) for source in other.get("sources", []))
    return shared and its.get("holdout", 0.0) < other.get("holdout", 0.0)


def note_test(folder: Path, perplexity: float | None) -> int:
    """Write down that a model's test text was used, and what was found; give how many times it has been.

    Raises:
        ResourceError: the folder cannot be written to.
    """
    before = [entry for entry in read_log(folder) if entry.get("use") == "test"]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    add_to_log(folder, {"use": "test", "time": now, "perplexity": perplexity})
    return len(before) + 1
