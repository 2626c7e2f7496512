"""Gradients of large tables of which a step touches little: memory that is kept, and marks of what was touched."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nerfcl.models.kernels.layout import LINE


@dataclass(frozen=True, eq=False)
class Touched:
    """Where a gradient in lent memory may differ from zero.

    Attributes:
        marks: one byte for each LINE numbers of the gradient; 0 where all of them are zero.
        memory: the gradient's memory, flat.
        buffers: where it goes back to.
    """

    marks: np.ndarray
    memory: weakref.ref[np.ndarray]
    buffers: GradientBuffers


_LENT: dict[int, Touched] = {}  # by address


class GradientBuffers:
    """Zeroed memory for the gradients of one table, which its optimiser gives back after each step.

    To allocate, clear and scan a table as large as a scene's takes longer than a step that touches little of it. Memory
    that an optimiser does not give back is freed with the gradient.
    """

    def __init__(self) -> None:
        self._free: list[tuple[np.ndarray, np.ndarray]] = []

    def lend(self, shape: torch.Size) -> tuple[Tensor, np.ndarray]:
        """Return zeros for a gradient of this shape, and its marks: one byte for each LINE numbers."""
        try:
            memory, marks = self._free.pop()
        except IndexError:
            memory, marks = np.zeros(shape.numel(), np.float32), np.zeros(-(-shape.numel() // LINE), np.uint8)
        gradient = torch.from_numpy(memory).view(shape)
        address = gradient.data_ptr()
        _LENT[address] = Touched(marks, weakref.ref(memory, lambda _: _LENT.pop(address, None)), self)
        return gradient, marks

    def take_back(self, memory: np.ndarray, marks: np.ndarray) -> None:
        """Take memory back. Its numbers and marks must be zero again, and nobody may use it any more."""
        _LENT.pop(memory.ctypes.data, None)
        self._free.append((memory, marks))

    def __deepcopy__(self, memo: dict[int, object]) -> GradientBuffers:
        del memo
        return GradientBuffers()

    def __reduce__(self) -> tuple[type[GradientBuffers], tuple[()]]:
        return GradientBuffers, ()


def touched_of(gradient: Tensor) -> Touched | None:
    """Return where a gradient may differ from zero; None if that is unknown, or if torch has changed it since."""
    touched = _LENT.get(gradient.data_ptr())
    unchanged = gradient._version == 0 and gradient.is_contiguous()
    return touched if touched is not None and unchanged and touched.memory() is not None else None
