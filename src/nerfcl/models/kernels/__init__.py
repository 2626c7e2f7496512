"""The hot loops in two versions: compiled for the CPU, and in plain torch for any device and dtype.

Device and dtype of the tensors select the version. `plain.py` documents every function.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from nerfcl.models.kernels import plain
from nerfcl.models.kernels.gradients import GradientBuffers
from nerfcl.models.kernels.layout import GridLevels, Samples, SamplingLayout, geometric_levels

__all__ = [
    "GradientBuffers",
    "GridLevels",
    "Samples",
    "SamplingLayout",
    "adam",
    "encode",
    "geometric_levels",
    "is_compiled_for",
    "sample",
]


def sample(origins: Tensor, directions: Tensor, occupancy: Tensor, jitter: Tensor, layout: SamplingLayout) -> Samples:
    return _twin(origins).sample(origins, directions, occupancy, jitter, layout)


def encode(positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:
    return _twin(table).encode(positions, table, levels)


def adam(
    parameter: Tensor,
    gradient: Tensor,
    moments: Tensor,
    count: int,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    _twin(parameter).adam(parameter, gradient, moments, count, rate, betas, epsilon)


def is_compiled_for(tensor: Tensor) -> bool:
    """Tell whether there are compiled kernels for a tensor's device and dtype."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _twin(tensor: Tensor) -> ModuleType:
    if is_compiled_for(tensor):
        from nerfcl.models.kernels import compiled

        return compiled
    return plain
