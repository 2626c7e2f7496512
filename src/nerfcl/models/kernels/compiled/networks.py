"""Networks of a few narrow layers without biases, with ReLU between them, for blocks of inputs.

Their layers, and the gradients of these, lie one after another in flat memory, so that kernels are compiled once for
networks of any depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from nerfcl.models.kernels.compiled.options import OPTIONS

_NUMBERS_AT_ONCE = 2**17


class Network(NamedTuple):
    """Weight matrices one after another.

    Attributes:
        weights: numbers of the matrices (in, out).
        transposed: numbers of the matrices (out, in).
        widths: numbers in each layer for one input.
        width: their sum.
        rows: inputs that pass together: they stay in the cache, and their products take one thread.
    """

    weights: np.ndarray
    transposed: np.ndarray
    widths: np.ndarray
    width: int
    rows: int


def network_of(matrices: Sequence[Tensor]) -> Network:
    """Lay out weight matrices."""
    weights = torch.cat([matrix.detach().reshape(-1) for matrix in matrices])
    transposed = torch.cat([matrix.detach().t().reshape(-1) for matrix in matrices])
    widths = [matrices[0].shape[0], *(matrix.shape[1] for matrix in matrices)]
    rows = max(_NUMBERS_AT_ONCE // max(matrix.numel() for matrix in matrices), 8)
    return Network(weights.numpy(), transposed.numpy(), np.array(widths, np.int64), sum(widths), rows)


@njit(inline="always")
def matrix_at(memory, begin, rows, columns):
    return memory[begin : begin + rows * columns].reshape((rows, columns))


@njit(inline="always")
def first_layer(memory, count, network):
    return matrix_at(memory, 0, count, network.widths[0])


@njit(inline="always")
def last_layer(memory, count, network):
    width = network.widths[len(network.widths) - 1]
    return matrix_at(memory, count * (network.width - width), count, width)


@njit(**OPTIONS)
def through(layers, count, network):
    """Fill in all layers but the first, the inputs."""
    widths = network.widths
    for begin in range(0, count, network.rows):
        end, at, weight = min(begin + network.rows, count), 0, 0
        for k in range(len(widths) - 1):
            inputs = matrix_at(layers, at + begin * widths[k], end - begin, widths[k])
            at += count * widths[k]
            outputs = matrix_at(layers, at + begin * widths[k + 1], end - begin, widths[k + 1])
            np.dot(inputs, matrix_at(network.weights, weight, widths[k], widths[k + 1]), outputs)
            weight += widths[k] * widths[k + 1]
            if k + 2 < len(widths):
                for i in range(outputs.shape[0]):
                    for c in range(outputs.shape[1]):
                        outputs[i, c] = max(outputs[i, c], np.float32(0.0))


@njit(**OPTIONS)
def back_through(layers, gradients, count, network, to_weights):
    """From the gradient of the last layer, fill in those of the others; add those of the weights."""
    widths = network.widths
    last = len(widths) - 1
    for begin in range(0, count, network.rows):
        end, weight = min(begin + network.rows, count), len(network.weights)
        at = count * (network.width - widths[last])
        for k in range(last - 1, -1, -1):
            wide, narrow = widths[k], widths[k + 1]
            upstream = matrix_at(gradients, at + begin * narrow, end - begin, narrow)
            at, weight = at - count * wide, weight - wide * narrow
            inputs = matrix_at(layers, at + begin * wide, end - begin, wide)
            downstream = matrix_at(gradients, at + begin * wide, end - begin, wide)
            part, into = np.dot(inputs.T, upstream), matrix_at(to_weights, weight, wide, narrow)
            for i in range(wide):
                for c in range(narrow):
                    into[i, c] += part[i, c]
            np.dot(upstream, matrix_at(network.transposed, weight, narrow, wide), downstream)
            if k:
                for i in range(inputs.shape[0]):
                    for c in range(wide):
                        downstream[i, c] = downstream[i, c] if inputs[i, c] > 0.0 else np.float32(0.0)
