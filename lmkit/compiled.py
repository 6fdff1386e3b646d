"""The one way to compile a loop: by numba, without the interpreter's lock, kept on disk for the next start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, event, types
from numba.extending import intrinsic

AHEAD = 16  # turns of a short loop that pass until memory has answered


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop at its first call. Threads may run it side by side."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written: compile at every start
        return njit(nogil=True)(function)


class _Announcement(event.Listener):
    """Says, once, why the first start takes longer."""

    def on_start(self, _: Any) -> None:
        event.unregister("numba:compile", self)  # type: ignore[no-untyped-call]
        logging.getLogger("lmkit").info("compiling loops for this machine; they are kept for the next start")

    def on_end(self, _: Any) -> None: ...


event.register("numba:compile", _Announcement())  # type: ignore[no-untyped-call]


@intrinsic
def _prefetch(_: Any, array: Any, __: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
        builder.call(prefetch, [address, number(0), number(3), number(1)])  # to read, keep near, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@compiled
def prefetch(array, i):  # type: ignore[no-untyped-def]
    """Ask the processor to bring array[i] (1-D) near, some turns before a loop comes to it; does nothing else.

    A loop that jumps about in a large array waits for memory at each jump, unless many are under way at once.
    """
    _prefetch(array, i)  # type: ignore[call-arg]  # numba gives it its first argument
