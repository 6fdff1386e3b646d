"""Devices: where the numbers live and the arithmetic runs. A GPU where there is one, a CPU everywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from lmkit.errors import ResourceError, UsageError, did_you_mean


def devices() -> list[str]:
    """Name what there is, fastest first: cuda:0, cuda:1, ..., mps, cpu.

    >>> devices()[-1]
    'cpu'
    """
    cuda = (
        [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose(name: str = "auto") -> torch.device:
    """Give the device of that name: `auto` (the fastest), `cpu`, `mps`, `cuda` or `cuda:1`.

    `cuda` is the first GPU; of several processes that torchrun began, each has its own.

    A device that could be but is not there is a ResourceError that lists what is; any other name is a
    UsageError.

    >>> choose("cpu")
    device(type='cpu')
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        known = ("auto", "cpu", "cuda", "cuda:1", "mps")
        raise UsageError(f"unknown device {name!r}; {did_you_mean(name, known)}")
    present = devices()
    own = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"  # of several processes on a machine, each has one
    wanted = {"auto": own if own in present else present[0], "cuda": own}.get(name, name)
    if wanted not in present:
        raise ResourceError(
            f"device {name!r} is not there; this machine has {', '.join(present)}; or use auto"
        )
    return torch.device(wanted)


def prepare(device: torch.device) -> None:
    """Set what matters for the whole process on that device; call it before the first arithmetic.

    Sparse tensors are made of rows that are known to be there, and are not checked unless somebody asked for it; torch
    warns where nobody says so.

    On a GPU, float32 means float32: torch lets recurrent layers round to tf32 unless it is told not to.

    On a CPU, numbers below 1e-38 become 0: a softmax over badly scaled logits makes many of them, and the
    processor handles each by a slow path (791 ms against 67 ms for one cross-entropy of logits of standard
    deviation 16). torch's worker threads take the setting over from the thread that starts them: a call after
    the first large operation reaches the calling thread alone.

    >>> prepare(torch.device("cpu"))
    >>> torch.tensor([1e-30]) * 1e-10
    tensor([0.])
    >>> torch.set_flush_denormal(False)  # as it was
    True
    """
    checks = torch.sparse.check_sparse_tensor_invariants
    if not checks.is_enabled():  # type: ignore[no-untyped-call]
        checks.disable()  # type: ignore[no-untyped-call]
    if device.type == "cpu":
        torch.set_flush_denormal(True)
    elif device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """Say what a device has too little memory for, and what to do, if it turns out to have.

    Raises:
        ResourceError: it has.

    >>> with enough_memory("a network", "take a smaller one"):
    ...     raise MemoryError("no more")
    Traceback (most recent call last):
    lmkit.errors.ResourceError: there is too little memory for a network (no more); take a smaller one
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        of_a_cpu = "allocate memory" in str(error)  # which is a plain RuntimeError
        if not (of_a_cpu or isinstance(error, MemoryError | torch.OutOfMemoryError)):
            raise
        raise ResourceError(f"there is too little memory for {what} ({error}); {advice}") from None


def follow_torch(loop: Callable[..., None]) -> Callable[..., None]:
    """Give a compiled loop back, which will be run in as many threads as torch has from now on."""
    from numba import config, set_num_threads

    set_num_threads(min(torch.get_num_threads(), config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    return loop
