"""Steps of Adam where a gradient is not zero; see `plain.adam`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from torch import Tensor

from nerfcl.models.kernels.compiled.options import OPTIONS, blocks_of
from nerfcl.models.kernels.compiled.prefetch import prefetch
from nerfcl.models.kernels.gradients import touched_of
from nerfcl.models.kernels.layout import LINE
from nerfcl.models.kernels.threads import in_parallel

_LINES_A_BLOCK = 2**15
_AHEAD = 8  # lines


def adam(
    parameter: Tensor,
    gradient: Tensor,
    moments: Tensor,
    count: int,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    numbers: Any = [
        np.float32(constant)
        for constant in (rate / (1.0 - betas[0] ** count), 1.0 / (1.0 - betas[1] ** count), *betas, epsilon)
    ]
    touched = touched_of(gradient)
    values, slopes = parameter.detach().view(-1).numpy(), gradient.detach().contiguous().view(-1).numpy()
    lines = moments.numpy()

    def work(block: int) -> None:
        rows = slice(block * _LINES_A_BLOCK, (block + 1) * _LINES_A_BLOCK)
        part = slice(rows.start * LINE, rows.stop * LINE)
        if touched is None:
            _adam(values[part], slopes[part], lines[rows].reshape(-1), *numbers)
        else:
            _adam_where_touched(touched.marks[rows], values[part], slopes[part], lines[rows].reshape(-1), *numbers)

    in_parallel(work, blocks_of(len(lines), _LINES_A_BLOCK))
    if touched is not None:
        memory = touched.memory()
        assert memory is not None  # the gradient holds it
        touched.buffers.take_back(memory, touched.marks)


@njit(**OPTIONS)
def _adam(parameter, gradient, moments, rate, correction, beta1, beta2, epsilon):
    for begin in range(0, parameter.shape[0], LINE):
        end = min(begin + LINE, parameter.shape[0])
        touched = False
        for n in range(begin, end):
            touched |= gradient[n] != 0.0
        if touched:
            _adam_line(parameter, gradient, moments, begin, end, rate, correction, beta1, beta2, epsilon)


@njit(**OPTIONS)
def _adam_where_touched(marks, parameter, gradient, moments, rate, correction, beta1, beta2, epsilon):
    """Also set the gradient and its marks to zero again."""
    lines, count = np.empty(marks.shape[0], np.int64), 0
    for line in range(marks.shape[0]):
        lines[count] = line
        count += marks[line]
        marks[line] = 0
    for k in range(count):
        if k + _AHEAD < count:  # waiting for memory takes longer than the arithmetic
            later = lines[k + _AHEAD] * LINE
            prefetch(parameter, later)
            prefetch(gradient, later)
            prefetch(moments, 2 * later)
            prefetch(moments, 2 * later + LINE)
        begin, end = lines[k] * LINE, min((lines[k] + 1) * LINE, parameter.shape[0])
        _adam_line(parameter, gradient, moments, begin, end, rate, correction, beta1, beta2, epsilon)
        for i in range(end - begin):
            gradient[begin + i] = 0.0


@njit(inline="always")
def _adam_line(parameter, gradient, moments, begin, end, rate, correction, beta1, beta2, epsilon):
    # Without branches, and with indices that are seen not to be negative: the loop then takes the processor's vectors.
    one, mean, square = np.float32(1.0), 2 * begin, 2 * begin + LINE
    for i in range(end - begin):
        g = gradient[begin + i]
        changes = np.float32(g != 0.0)
        m = moments[mean + i] + changes * (one - beta1) * (g - moments[mean + i])
        v = moments[square + i] + changes * (one - beta2) * (g * g - moments[square + i])
        parameter[begin + i] -= changes * (rate * m / (np.float32(math.sqrt(v * correction)) + epsilon))
        moments[mean + i] = m
        moments[square + i] = v
