"""Two or four numbers at once, which stay in registers: how many is known when a kernel is compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload


def zeros(width: int) -> tuple[np.float32, ...]:
    """Return zeros; their number tells the functions below, which compiled kernels call, how many numbers to take."""
    return (np.float32(0.0),) * width


def read(matrix: Any, row: Any, column: Any, like: Any) -> Any:
    """Read numbers of a row, from a column on."""
    raise NotImplementedError


def write(matrix: Any, row: Any, column: Any, numbers: Any) -> None:
    """Write numbers into a row, from a column on."""
    raise NotImplementedError


def add_scaled(numbers: Any, factor: Any, others: Any) -> Any:
    """Return numbers + factor * others."""
    raise NotImplementedError


@overload(read, inline="always")
def _read(matrix, row, column, like):
    if like.count == 2:
        return lambda matrix, row, column, like: (matrix[row, column], matrix[row, column + 1])
    return lambda matrix, row, column, like: (
        matrix[row, column], matrix[row, column + 1], matrix[row, column + 2], matrix[row, column + 3],
    )  # fmt: skip


@overload(write, inline="always")
def _write(matrix, row, column, numbers):
    if numbers.count == 2:

        def write_two(matrix, row, column, numbers):
            matrix[row, column], matrix[row, column + 1] = numbers

        return write_two

    def write_four(matrix, row, column, numbers):
        matrix[row, column], matrix[row, column + 1], matrix[row, column + 2], matrix[row, column + 3] = numbers

    return write_four


@overload(add_scaled, inline="always")
def _add_scaled(numbers, factor, others):
    if numbers.count == 2:
        return lambda numbers, factor, others: (numbers[0] + factor * others[0], numbers[1] + factor * others[1])
    return lambda numbers, factor, others: (
        numbers[0] + factor * others[0], numbers[1] + factor * others[1],
        numbers[2] + factor * others[2], numbers[3] + factor * others[3],
    )  # fmt: skip
