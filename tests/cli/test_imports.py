"""What starts fast, and what never imports torch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import STORY


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    return set(result.stdout.split("\n")[-2].split())


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    loaded = modules_after("from lmkit.cli.main import cli\ncli.main(['--help'], standalone_mode=False)")
    assert not {"torch", "numba", "numpy"} & loaded
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lmkit", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.3


def test_the_help_of_every_command_needs_neither_torch_nor_numba() -> None:
    for command in ("train", "ppl", "generate", "export", "import", "plot", "info"):
        loaded = modules_after(
            f"from lmkit.cli.main import cli\ncli.main(['{command}', '--help'], standalone_mode=False)"
        )
        assert not {"torch", "numba"} & loaded, command


def test_the_whole_n_gram_path_never_imports_torch(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(STORY * 30)
    loaded = modules_after(
        "import lmkit, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from lmkit.cli.main import cli\n"
        "for line in ('train c.txt -q', 'ppl', 'ppl c.txt --json', 'generate', 'export --arpa a.arpa', 'info'):\n"
        "    cli.main(line.split(), standalone_mode=False)\n"
        "model = lmkit.train('c.txt', order=3)\n"
        "lmkit.perplexity(model, 'the fox')\n"
        "lmkit.generate(model, 'the', samples=2)\n"
    )
    assert "torch" not in loaded
    assert "lmkit.ngram.kernels.lookup" in loaded


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, ""), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_threads_spin_briefly_unless_the_environment_says_how_they_wait(
    given: dict[str, str], expected: str
) -> None:
    others = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import os, lmkit; print(os.environ.get('GOMP_SPINCOUNT', ''))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env={**others, **given}, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == expected
