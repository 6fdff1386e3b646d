"""The model folder: there whole or not at all, and refused when anything in it is not as it was written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lmkit
from lmkit.errors import LmkitError, ModelFormatError, ResourceError, UsageError
from lmkit.files import atomic_file
from tests.conftest import ROOT, STORY


@pytest.fixture(scope="module")
def model() -> lmkit.LanguageModel:
    return lmkit.train(STORY, order=3, tokenizer="word", holdout=0)


@pytest.fixture
def folder(model: lmkit.LanguageModel, tmp_path: Path) -> Path:
    lmkit.save(model, tmp_path / "m")
    return tmp_path / "m"


def test_the_files_of_a_model(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    names = {file.name for file in folder.iterdir()}
    assert names == {*manifest["files"], "manifest.json"}
    assert names >= {
        "config.json",
        "tokenizer.json",
        "vocab.txt",
        "model.safetensors",
        "metrics.jsonl",
        "splits.json",
    }
    assert (folder / "vocab.txt").read_text().split("\n")[:3] == ["<unk>", "<s>", "</s>"]
    (folder.parent / "plain").mkdir()
    assert folder.stat().st_mode == (folder.parent / "plain").stat().st_mode
    (folder.parent / "plain" / "file").touch()
    assert {file.stat().st_mode for file in folder.iterdir()} == {
        (folder.parent / "plain" / "file").stat().st_mode
    }


def test_an_existing_model_is_replaced_only_by_force(model: lmkit.LanguageModel, folder: Path) -> None:
    with pytest.raises(UsageError, match="--force"):
        lmkit.save(model, folder)
    lmkit.save(model, folder, force=True)
    assert [path.name for path in folder.parent.iterdir()] == ["m"]


def test_a_folder_of_something_else_is_never_replaced(model: lmkit.LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("words")
    with pytest.raises(UsageError, match="something else"):
        lmkit.save(model, tmp_path / "thesis", force=True)
    lmkit.save(model, tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        lmkit.save(model, tmp_path / "m", force=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="something else"):
        lmkit.save(model, tmp_path, force=True)
    (tmp_path / "empty").mkdir()
    lmkit.save(model, tmp_path / "empty")
    with pytest.raises(ResourceError, match="no such folder"):
        lmkit.save(model, tmp_path / "no" / "where")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not a folder"):
        lmkit.save(model, tmp_path / "file", force=True)


class Failing:
    """Makes the nth call that writes fail as on a full disk, or every call from it on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int, *, persistent: bool) -> None:
        self.calls = 0
        for name in ("fsync", "rename"):
            monkeypatch.setattr(os, name, self.wrap(getattr(os, name), nth, persistent=persistent))

    def wrap(self, real: Callable[..., object], nth: int, *, persistent: bool) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self.calls += 1
            if self.calls == nth or (persistent and self.calls > nth):
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        return call


@pytest.mark.parametrize("persistent", [True, False])
def test_every_failing_write_leaves_a_whole_model(
    model: lmkit.LanguageModel, folder: Path, persistent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail the first write, then the second, and so on, until none is left to fail."""
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for nth in range(1, 200):
        with monkeypatch.context() as patch:
            failing = Failing(patch, nth, persistent=persistent)
            with contextlib.suppress(ResourceError):
                lmkit.save(model, folder, force=True)
        (whole,) = folder.parent.iterdir()  # nothing is left behind, and
        lmkit.load(whole, verify=True)
        if whole != folder:  # a disk that refuses even to take the old model back
            assert persistent
            whole.rename(folder)
        if failing.calls < nth:
            break
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert nth > 5


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "vocab.txt", "model.safetensors", "manifest.json"]
)
def test_a_truncated_file_is_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for length in [0, 1, 7, 8, 9, len(content) // 3, len(content) // 2, len(content) - 2]:
        (folder / name).write_bytes(content[:length])
        with pytest.raises(ModelFormatError, match=re.escape(name)):
            lmkit.load(folder)


def test_a_flipped_bit_is_refused(folder: Path) -> None:
    rng = random.Random(1)
    for name in ("config.json", "tokenizer.json", "vocab.txt", "model.safetensors"):
        content = (folder / name).read_bytes()
        for _ in range(20):
            broken = bytearray(content)
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
            (folder / name).write_bytes(broken)
            with pytest.raises(ModelFormatError, match="changed since it was written"):
                lmkit.load(folder)
        (folder / name).write_bytes(content)


def test_flipped_bits_behind_a_matching_manifest_never_crash(folder: Path) -> None:
    """Without the checksums: an error of ours, or a model that still scores."""
    rng = random.Random(2)
    for name in ("config.json", "tokenizer.json", "vocab.txt", "model.safetensors"):
        content = (folder / name).read_bytes()
        for _ in range(60):
            broken = bytearray(content)
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
            (folder / name).write_bytes(broken)
            try:
                loaded = lmkit.load(folder, verify=False)
                loaded.score(["the old fox", "zebra"])
                loaded.next_logprobs(loaded.start())
            except LmkitError:
                pass
        (folder / name).write_bytes(content)


def rewrite(folder: Path, name: str, change: object) -> None:
    value = json.loads((folder / name).read_text())
    change(value)  # type: ignore[operator]
    (folder / name).write_text(json.dumps(value))
    if name != "manifest.json":
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {
            "bytes": (folder / name).stat().st_size,
            "sha256": lmkit.folders.sha256(folder / name),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", lambda c: c.update(format=99, lmkit="9.9"), "written by lmkit 9.9"),
        ("config.json", lambda c: c.update(backend="ngrams"), "did you mean 'ngram'"),
        ("config.json", lambda c: c.update(format="1"), "format version"),
        ("config.json", lambda c: c["model"].update(order=4), "says order 4"),
        ("config.json", lambda c: c.update(backend="rnn", model={"cell": "lstm"}), "describes no network"),
        ("tokenizer.json", lambda c: c.update(kind="words"), "did you mean 'word'"),
        ("tokenizer.json", lambda c: c.update(colour="red"), "wrong settings"),
        ("manifest.json", lambda c: c["files"].update({"../x": {"bytes": 1}}), "no plain file"),
        ("manifest.json", lambda c: c["files"].pop("vocab.txt"), "does not list"),
    ],
)
def test_contradictions_are_refused(folder: Path, name: str, change: object, message: str) -> None:
    rewrite(folder, name, change)
    with pytest.raises(ModelFormatError, match=message):
        lmkit.load(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": NaN}', '{"a": 1, "a": 2}', "null", "\ufeff{}"])
def test_hostile_json_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ModelFormatError, match=r"manifest.json"):
        lmkit.load(folder)


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lmkit train"):
        lmkit.load(tmp_path / "none")
    (tmp_path / "model.pt").write_bytes(b"\x80\x04")
    with pytest.raises(ModelFormatError, match="pickle can run code"):
        lmkit.load(tmp_path / "model.pt")
    with pytest.raises(ModelFormatError, match=r"manifest.json"):
        lmkit.load(tmp_path)


def test_a_disk_that_fills_while_arrays_are_written_is_a_resource_error(tmp_path: Path) -> None:
    code = "import lmkit; lmkit.save(lmkit.train('\\n'.join(map(str, range(9000))), order=3, holdout=0), 'm')"
    script = f"ulimit -f 128; trap '' XFSZ; exec {sys.executable} -W ignore -c {shlex.quote(code)}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "ResourceError" in result.stderr
    assert "cannot be written" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_written_through_and_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with atomic_file(tmp_path / "pipe") as file:
        file.write(b"text")
    assert os.read(reader, 10) == b"text"
    assert (tmp_path / "pipe").is_fifo()
    os.close(reader)


def test_arrays_are_mapped_not_read(folder: Path) -> None:
    arrays = lmkit.load(folder).arrays()
    assert all(isinstance(array, np.memmap) for array in arrays.values())


def test_the_code_has_no_loader_that_can_run_code() -> None:
    forbidden = re.compile(
        r"import pickle|pickle\.load|torch\.load|allow_pickle|yaml\.load|shell=True|(?<![\w.])(eval|exec)\(|np\.load\("
    )
    for path in (ROOT / "lmkit").rglob("*.py"):
        assert not forbidden.search(path.read_text()), path
