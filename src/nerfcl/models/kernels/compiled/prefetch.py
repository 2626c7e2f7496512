"""A hint to the processor, which numba does not offer itself."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Let the processor fetch `array[index]`, of an array of one dimension, while it goes on with something else."""
    del typing_context, index

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        hint = builder.module.declare_intrinsic("llvm.prefetch", [address.type], _prefetch_type(address.type))
        to_write, keep, is_data = (ir.Constant(ir.IntType(32), value) for value in (1, 3, 1))
        builder.call(hint, [address, to_write, keep, is_data])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _prefetch_type(pointer: Any) -> ir.FunctionType:
    return ir.FunctionType(ir.VoidType(), [pointer, *[ir.IntType(32)] * 3])


prefetch: Any = intrinsic(_prefetch)
