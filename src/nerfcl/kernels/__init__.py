"""The hot loops, each twice: compiled for the CPU, and in plain torch for every device and dtype.

The tensors pick the twin; nobody else asks which one runs. `reference.py` documents every function.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from nerfcl.kernels import reference
from nerfcl.kernels.layout import GridLevels, MarchSettings, geometric_levels

__all__ = [
    "GridLevels",
    "MarchSettings",
    "accumulate",
    "adam",
    "composite_weights",
    "encode",
    "geometric_levels",
    "march",
    "mlp",
]


def march(
    origins: Tensor, directions: Tensor, thickness: Tensor, jitter: Tensor, settings: MarchSettings
) -> tuple[Tensor, Tensor, Tensor]:
    return _twin(origins).march(origins, directions, thickness, jitter, settings)


def encode(positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:
    return _twin(table).encode(positions, table, levels)


def mlp(inputs: Tensor, *weights: Tensor) -> Tensor:
    return _twin(inputs).mlp(inputs, *weights)


def composite_weights(density: Tensor, step: float, offsets: Tensor, least_light: float) -> Tensor:
    return _twin(density).composite_weights(density, step, offsets, least_light)


def accumulate(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    return _twin(weights).accumulate(weights, values, offsets)


def adam(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    count: int,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    _twin(parameter).adam(parameter, gradient, mean, square, count, rate, betas, epsilon)


def _twin(tensor: Tensor) -> ModuleType:
    if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
        from nerfcl.kernels import cpu

        return cpu
    return reference
