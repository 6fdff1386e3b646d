import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from lmkit.errors import ResourceError, UsageError
from lmkit.nn import devices
from lmkit.nn.devices import choose, prepare


@pytest.fixture
def _denormals() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def machine(monkeypatch):
    """A machine with the devices named."""
    return lambda *names: monkeypatch.setattr(devices, "devices", lambda: [*names, "cpu"])


def test_there_is_always_a_cpu():
    assert "cpu" in devices.devices()
    assert choose("cpu") == torch.device("cpu")


def test_the_devices_named_can_be_used():
    for name in devices.devices():
        assert torch.ones(2, device=choose(name)).sum().item() == 2


@pytest.mark.parametrize(
    ("there", "name", "expected"),
    [
        ([], "auto", "cpu"),
        (["mps"], "auto", "mps"),
        (["cuda:0", "cuda:1"], "auto", "cuda:0"),
        (["cuda:0", "cuda:1"], "cuda", "cuda:0"),
        (["cuda:0", "cuda:1"], "cuda:1", "cuda:1"),
        (["cuda:0"], "cpu", "cpu"),
        (["mps"], "mps", "mps"),
    ],
)
def test_choice(machine, there, name, expected):
    machine(*there)
    assert choose(name) == torch.device(expected)


@pytest.mark.parametrize(
    ("there", "name"), [([], "cuda"), ([], "mps"), (["cuda:0"], "cuda:1"), (["mps"], "cuda:0")]
)
def test_a_device_that_is_not_there_lists_what_is(machine, there, name):
    machine(*there)
    with pytest.raises(ResourceError, match=f"device '{name}' is not there; this machine has .*cpu"):
        choose(name)


@pytest.mark.parametrize("name", ["cudda", "gpu", "", "cuda:", "cuda:-1", "CPU", "cpu\n"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(UsageError, match="unknown device"):
        choose(name)


@pytest.mark.usefixtures("_denormals")
def test_prepare_flushes_denormals_on_a_cpu():
    tiny = torch.full((8,), 1e-30)
    assert (tiny * 1e-10).any()
    prepare(torch.device("cpu"))
    assert not (tiny * 1e-10).any()


def test_prepare_reaches_every_thread_if_it_comes_first():
    program = """
import torch
from lmkit.nn.devices import prepare
torch.set_num_threads(2)
prepare(torch.device("cpu"))
raise SystemExit(bool((torch.full((1_000_000,), 1e-30) * 1e-10).any()))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_auto_takes_the_gpu(cuda):
    assert choose("auto") == choose("cuda") == cuda
