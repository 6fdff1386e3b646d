"""A small text that a network learns in seconds, cut in two."""

from __future__ import annotations

from pathlib import Path

import pytest

TEXT = "".join(
    f"the {a} {b} the {c} .\n" for a in "abcdefgh" for b in ("saw", "met", "ate") for c in "stuvwxyz"
)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Give a folder that holds `train.txt` and `valid.txt`."""
    folder, lines = tmp_path / "texts", TEXT.splitlines(keepends=True)
    folder.mkdir()
    (folder / "train.txt").write_text("".join(lines[:160]))
    (folder / "valid.txt").write_text("".join(lines[160:]))
    return folder
