"""What all tests share: small texts, the optional reference data, and a home of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("lmkit", deadline=None)  # of time, a machine that is shared says nothing
settings.load_profile("lmkit")
import_module("lmkit")  # before torch, whose threads it tells to sleep while they wait

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"  # optional: real corpora and golden numbers beside the checkout

STORY = """\
the old fox ran over the hill .
the old owl sat in the tree .
the young fox sat under the tree .

the owl saw the fox , and the fox saw the owl .
the hill was high and the tree was old .
a young owl ran .
"""


@pytest.fixture
def shared() -> Path:
    """The folder of real corpora and golden numbers; the test is skipped where there is none."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("needs the reference data in ../shared")
    return SHARED


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in an empty folder, with no model named by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LMKIT_MODEL", raising=False)


@pytest.fixture
def lmkit() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the command line as a user does, in a process of its own, in the test's folder."""

    def run(
        *arguments: object, stdin: bytes = b"", timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "lmkit", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False)

    return run
