"""The one way to compile a loop: by numba, without the interpreter's lock, kept on disk for the next start.

With six instructions that every processor has and numba does not name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, njit
from numba.core import cgutils, event, types
from numba.extending import intrinsic

AHEAD = 16  # turns of a short loop that pass until memory has answered
# torch's threads, where they are OpenMP's, too: two pools would wait for each other's idle threads to stop spinning
config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


def compiled(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """Compile a loop at its first call. Threads may run it side by side."""
    try:
        return njit(nogil=True, cache=True, **how)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written: compile at every start
        return njit(nogil=True, **how)(function)


def in_parallel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop whose `prange` is shared out among threads."""
    return compiled(function, parallel=True)


def inlined(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """Compile a small function into every loop that calls it: a call would count references to its arrays.

    A division by zero is not looked for, as in numpy: a loop that may stop anywhere cannot take several turns at once.
    What a loop may do with its own sums (fastmath), it may not do with those in here.
    """
    return njit(**{"forceinline": True, "error_model": "numpy", "fastmath": False, **how})(function)


class _Announcement(event.Listener):
    """Says, once, why the first start takes longer."""

    def on_start(self, _: Any) -> None:
        event.unregister("numba:compile", self)
        logging.getLogger("lmkit").info("compiling loops for this machine; they are kept for the next start")

    def on_end(self, _: Any) -> None: ...


event.register("numba:compile", _Announcement())


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


@intrinsic
def prefetch(context, array, place):
    """Ask for the cache line of array[place] ahead of its use: never waits, and any place will do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.bitcast(
            _address(context, builder, signature, arguments), ir.IntType(8).as_pointer()
        )
        flag = ir.IntType(32)
        hint = ir.FunctionType(ir.VoidType(), [address.type, flag, flag, flag])
        instruction = cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0")
        builder.call(instruction, [address, flag(0), flag(3), flag(1)])  # a read, of data, to be kept
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def eight_bytes(context, data, place):
    """Read data[place : place + 8] as one number, the first byte lowest; all of them must be there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.bitcast(
            _address(context, builder, signature, arguments), ir.IntType(64).as_pointer()
        )
        return builder.load(address, align=1)

    return types.uint64(data, types.int64), generate


@intrinsic
def ones(context, x):
    """Count the bits of a 64-bit number that are set."""
    return types.uint64(types.uint64), lambda context, builder, signature, values: builder.ctpop(values[0])


@intrinsic
def lowest(context, x):
    """Give the place of the lowest bit that is set in a 64-bit number; it must not be zero."""
    return types.uint64(types.uint64), lambda context, builder, signature, values: builder.cttz(
        values[0], ir.IntType(1)(1)
    )


@intrinsic
def widened(context, x):
    """Give a float32, or the bits of a bfloat16 in an unsigned number, as a float32."""
    if x == types.float32:
        return x(x), lambda context, builder, signature, values: values[0]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(32)
        bits = builder.shl(builder.zext(values[0], word), word(16))  # the upper half of a float32
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def narrowed(context, x, array):
    """Give a float32 as what the array holds: float32, or the bits of the nearest bfloat16, the even one of two."""
    if array.dtype == types.float32:
        return x(x, array), lambda context, builder, signature, values: values[0]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word, half = ir.IntType(32), ir.IntType(16)
        bits = builder.bitcast(values[0], word)
        odd = builder.and_(builder.lshr(bits, word(16)), word(1))
        rounded = builder.lshr(builder.add(bits, builder.add(odd, word(0x7FFF))), word(16))
        none = builder.fcmp_unordered("uno", values[0], values[0])  # adding could make a number of it
        return builder.select(none, half(0x7FC0), builder.trunc(rounded, half))

    return types.uint16(types.float32, array), generate
