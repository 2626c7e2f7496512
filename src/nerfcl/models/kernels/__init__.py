"""The hot loops in two versions: compiled for the CPU, and in plain torch for any device and dtype.

Device and dtype of the tensors select the version. `plain.py` documents every function.
"""

from __future__ import annotations

import time
from types import ModuleType

import torch
from torch import Tensor

from nerfcl.models.kernels import plain
from nerfcl.models.kernels.layout import GridLevels, MarchSettings, geometric_levels

__all__ = [
    "GridLevels",
    "MarchSettings",
    "accumulate",
    "adam",
    "compile_kernels",
    "composite_weights",
    "encode",
    "geometric_levels",
    "march",
    "mlp",
]


def march(
    origins: Tensor, directions: Tensor, occupancy: Tensor, jitter: Tensor, settings: MarchSettings
) -> tuple[Tensor, Tensor, Tensor]:
    return _twin(origins).march(origins, directions, occupancy, jitter, settings)


def encode(positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:
    return _twin(table).encode(positions, table, levels)


def mlp(inputs: Tensor, *weights: Tensor) -> Tensor:
    return _twin(inputs).mlp(inputs, *weights)


def composite_weights(density: Tensor, step: float, offsets: Tensor, early_stop_eps: float) -> Tensor:
    return _twin(density).composite_weights(density, step, offsets, early_stop_eps)


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
        from nerfcl.models.kernels import compiled

        return compiled
    return plain


def compile_kernels() -> float:
    """Compile the CPU kernels on tiny inputs, or load them from numba's cache.

    Returns:
        Elapsed seconds.
    """
    started = time.perf_counter()
    levels = geometric_levels(2, 4, 2, 64)
    table = torch.zeros(levels.entries, GridLevels.FEATURES, requires_grad=True)
    positions, distances, offsets = march(
        torch.tensor([[0.5, 0.5, -1.0]]),
        torch.tensor([[0.0, 0.0, 1.0]]),
        torch.ones(2, 2, 2),
        torch.zeros(1),
        MarchSettings((0.0, 0.0, 0.0), 1.0, 0.25, 0.5),
    )
    features = encode(positions, table, levels)
    weights = composite_weights(features[:, 0].exp(), 0.25, offsets, 1e-3)
    accumulate(weights, torch.stack([distances, features[:, 1]], -1), offsets).sum().backward()
    adam(table, torch.ones_like(table), torch.zeros_like(table), torch.zeros_like(table), 1, 0.1, (0.9, 0.99), 1e-15)
    return time.perf_counter() - started
