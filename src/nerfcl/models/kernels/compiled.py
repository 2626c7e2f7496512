"""The hot loops on the CPU: numba kernels with hand-written backward passes.

Every public function has the signature of its counterpart in `plain.py`, which documents it. The same inputs give the
same bits: no two threads write to the same memory, and there are no atomics. Nor is there fast-math, which rounds
vectorised and scalar code differently; which of these runs may depend on the alignment of arrays.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nerfcl.models.kernels.layout import GridLevels, MarchSettings


def _can_keep_compiled() -> bool:
    """Tell whether compiled kernels can be written to disk; say so if they cannot."""
    try:
        njit(cache=True)(_can_keep_compiled)
    except RuntimeError:
        print(
            "nerfcl: no folder to keep compiled kernels in can be written, so that every start takes longer; set "
            "NUMBA_CACHE_DIR to one",
            file=sys.stderr,
        )
        return False
    return True


_OPTIONS: dict[str, Any] = {
    "parallel": True,
    "cache": _can_keep_compiled(),
    "error_model": "numpy",
}
_SAMPLES_PER_BLOCK = 256
_NUMBERS_A_BLOCK = 4096


def march(
    origins: Tensor,
    directions: Tensor,
    occupancy: Tensor,
    jitter: Tensor,
    settings: MarchSettings,
) -> tuple[Tensor, Tensor, Tensor]:
    rays = origins.shape[0]
    origin, direction = origins.numpy(), directions.numpy()
    corner = np.asarray(settings.lower, dtype=np.float32)
    bounds = np.asarray(settings.corners, dtype=np.float32)
    side, step = np.float32(settings.side), np.float32(settings.step)
    first = np.empty(rays, np.float32)
    # The kept steps are recorded, not recomputed: two passes might round differently.
    hits = np.empty((rays, settings.max_samples), np.int16)
    offsets = np.zeros(rays + 1, np.int64)
    _mark_samples(
        origin, direction, occupancy.numpy(), np.float32(settings.occ_threshold), bounds, corner, side, step,
        jitter.numpy(), first, hits, offsets,
    )  # fmt: skip
    np.cumsum(offsets, out=offsets)
    positions, distances = torch.empty(int(offsets[-1]), 3), torch.empty(int(offsets[-1]))
    _place_samples(origin, direction, corner, side, step, first, hits, offsets, positions.numpy(), distances.numpy())
    return positions, distances, torch.from_numpy(offsets)


@njit(**_OPTIONS)
def _mark_samples(
    origins, directions, occupancy, occ_threshold, bounds, corner, side, step, jitter, first, hits, counts
):
    cells = occupancy.shape[0]
    scale = np.float32(cells) / side
    for r in prange(origins.shape[0]):
        near, far = np.float32(0.0), np.float32(np.inf)
        for axis in range(3):
            along = directions[r, axis]
            if abs(along) < 1e-12:
                along = np.float32(1e-12)
            a = (bounds[0, axis] - origins[r, axis]) / along
            b = (bounds[1, axis] - origins[r, axis]) / along
            near = max(near, min(a, b))
            far = min(far, max(a, b))
        start = near + jitter[r] * step
        first[r] = start
        steps = 0
        if far > start:
            steps = min(int(np.ceil((far - start) / step)), hits.shape[1])
        x0 = (origins[r, 0] + start * directions[r, 0] - corner[0]) * scale
        y0 = (origins[r, 1] + start * directions[r, 1] - corner[1]) * scale
        z0 = (origins[r, 2] + start * directions[r, 2] - corner[2]) * scale
        dx = directions[r, 0] * step * scale
        dy = directions[r, 1] * step * scale
        dz = directions[r, 2] * step * scale
        count = 0
        for k in range(steps):
            x = min(max(np.int32(x0 + k * dx), 0), cells - 1)
            y = min(max(np.int32(y0 + k * dy), 0), cells - 1)
            z = min(max(np.int32(z0 + k * dz), 0), cells - 1)
            hits[r, count] = k
            count += occupancy[x, y, z] >= occ_threshold
        counts[r + 1] = count


@njit(**_OPTIONS)
def _place_samples(origins, directions, corner, side, step, first, hits, offsets, positions, distances):
    unit = np.float32(1.0) / side
    for r in prange(origins.shape[0]):
        for n in range(offsets[r], offsets[r + 1]):
            t = first[r] + hits[r, n - offsets[r]] * step
            for axis in range(3):
                positions[n, axis] = (origins[r, axis] + t * directions[r, axis] - corner[axis]) * unit
            distances[n] = t


def encode(positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:
    return _Encode.apply(positions, table, levels)  # pyright: ignore[reportReturnType]


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:  # pyright: ignore
        features = torch.empty(positions.shape[0], levels.width)
        _encode_forward(
            positions.numpy(), table.numpy(), levels.resolutions, levels.starts, levels.hashed, features.numpy()
        )
        ctx.save_for_backward(positions)
        ctx.levels, ctx.shape = levels, table.shape
        return features

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:  # pyright: ignore
        (positions,) = ctx.saved_tensors
        levels: GridLevels = ctx.levels
        to_table = torch.zeros(ctx.shape)
        # Fine levels take longest; every second level first balances them over two threads.
        count = len(levels.resolutions)
        order = np.concatenate([np.arange(0, count, 2), np.arange(1, count, 2)])
        _encode_backward(
            positions.numpy(), gradient.contiguous().numpy(), levels.resolutions, levels.starts, levels.hashed, order,
            to_table.numpy(),
        )  # fmt: skip
        return None, to_table, None


@njit(inline="always")
def _table_index(x, y, z, resolution, entries, hashed):
    if hashed:
        mixed = np.uint32(x) ^ (np.uint32(y) * np.uint32(2654435761)) ^ (np.uint32(z) * np.uint32(805459861))
        return np.int64(mixed & np.uint32(entries - 1))
    return np.int64((x * (resolution + 1) + y) * (resolution + 1) + z)


@njit(inline="always")
def _cell(position, resolution):
    scaled = position * np.float32(resolution)
    cell = min(max(np.int32(scaled), 0), resolution - 1)
    return cell, scaled - np.float32(cell)


@njit(**_OPTIONS)
def _encode_forward(positions, table, resolutions, starts, hashed, features):
    samples = positions.shape[0]
    one = np.float32(1.0)
    for block in prange((samples + _SAMPLES_PER_BLOCK - 1) // _SAMPLES_PER_BLOCK):
        begin, end = block * _SAMPLES_PER_BLOCK, min((block + 1) * _SAMPLES_PER_BLOCK, samples)
        for level in range(resolutions.shape[0]):
            resolution, start = resolutions[level], starts[level]
            entries = starts[level + 1] - start
            for n in range(begin, end):
                x, fx = _cell(positions[n, 0], resolution)
                y, fy = _cell(positions[n, 1], resolution)
                z, fz = _cell(positions[n, 2], resolution)
                total0, total1 = np.float32(0.0), np.float32(0.0)
                for i in range(2):
                    wx = fx if i else one - fx
                    for j in range(2):
                        wxy = wx * (fy if j else one - fy)
                        for k in range(2):
                            weight = wxy * (fz if k else one - fz)
                            e = start + _table_index(x + i, y + j, z + k, resolution, entries, hashed[level])
                            total0 += weight * table[e, 0]
                            total1 += weight * table[e, 1]
                features[n, 2 * level] = total0
                features[n, 2 * level + 1] = total1


@njit(**_OPTIONS)
def _encode_backward(positions, gradient, resolutions, starts, hashed, order, to_table):
    one = np.float32(1.0)
    for turn in prange(order.shape[0]):
        level = order[turn]
        resolution, start = resolutions[level], starts[level]
        entries = starts[level + 1] - start
        for n in range(positions.shape[0]):
            g0, g1 = gradient[n, 2 * level], gradient[n, 2 * level + 1]
            if g0 == 0.0 and g1 == 0.0:
                continue
            x, fx = _cell(positions[n, 0], resolution)
            y, fy = _cell(positions[n, 1], resolution)
            z, fz = _cell(positions[n, 2], resolution)
            for i in range(2):
                wx = fx if i else one - fx
                for j in range(2):
                    wxy = wx * (fy if j else one - fy)
                    for k in range(2):
                        weight = wxy * (fz if k else one - fz)
                        e = start + _table_index(x + i, y + j, z + k, resolution, entries, hashed[level])
                        to_table[e, 0] += weight * g0
                        to_table[e, 1] += weight * g1


def mlp(inputs: Tensor, *weights: Tensor) -> Tensor:
    return _Mlp.apply(inputs, *weights)  # pyright: ignore[reportReturnType]


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, *weights: Tensor) -> Tensor:  # pyright: ignore
        hidden = [inputs]
        for weight in weights[:-1]:
            hidden.append(torch.mm(hidden[-1], weight).relu_())
        ctx.save_for_backward(*hidden, *weights)
        return torch.mm(hidden[-1], weights[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        count = len(ctx.saved_tensors) // 2
        hidden, weights = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        to_weights: list[Tensor] = []
        for layer in reversed(range(count)):
            to_weights.append(torch.mm(hidden[layer].t(), gradient))
            if layer or ctx.needs_input_grad[0]:
                gradient = torch.mm(gradient, weights[layer].t())
            if layer:
                torch.ops.aten.threshold_backward.grad_input(gradient, hidden[layer], 0, grad_input=gradient)
        return gradient if ctx.needs_input_grad[0] else None, *reversed(to_weights)


def composite_weights(density: Tensor, step: float, offsets: Tensor, early_stop_eps: float) -> Tensor:
    return _CompositeWeights.apply(density, step, offsets, early_stop_eps)  # pyright: ignore[reportReturnType]


class _CompositeWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, density: Tensor, step: float, offsets: Tensor, early_stop_eps: float) -> Tensor:  # pyright: ignore
        weights = torch.empty_like(density)
        ctx.step, ctx.early_stop_eps = np.float32(step), np.float32(early_stop_eps)
        _composite(density.numpy(), ctx.step, offsets.numpy(), ctx.early_stop_eps, weights.numpy())
        ctx.save_for_backward(density, weights, offsets)
        return weights

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore
        density, weights, offsets = ctx.saved_tensors
        to_density = torch.empty_like(density)
        _composite_backward(
            density.numpy(), ctx.step, offsets.numpy(), ctx.early_stop_eps, weights.numpy(),
            gradient.contiguous().numpy(), to_density.numpy(),
        )  # fmt: skip
        return to_density, None, None, None


@njit(**_OPTIONS)
def _composite(density, step, offsets, early_stop_eps, weights):
    for r in prange(offsets.shape[0] - 1):
        transmittance = np.float32(1.0)
        for n in range(offsets[r], offsets[r + 1]):
            if transmittance < early_stop_eps:
                weights[n] = 0.0
            else:
                stopped = np.float32(-math.expm1(-density[n] * step))
                weights[n] = transmittance * stopped
                transmittance *= np.float32(1.0) - stopped


@njit(**_OPTIONS)
def _composite_backward(density, step, offsets, early_stop_eps, weights, gradient, to_density):
    # d w_j / d density_i = step * (T_{i+1} if j = i, -w_j if j > i, else 0)
    for r in prange(offsets.shape[0] - 1):
        transmittance = np.float32(1.0)
        behind = np.float32(0.0)
        for n in range(offsets[r], offsets[r + 1]):
            behind += weights[n] * gradient[n]
        for n in range(offsets[r], offsets[r + 1]):
            if transmittance < early_stop_eps:
                to_density[n] = 0.0
            else:
                transmittance *= np.float32(math.exp(-density[n] * step))
                behind -= weights[n] * gradient[n]
                to_density[n] = step * (transmittance * gradient[n] - behind)


def accumulate(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    return _Accumulate.apply(weights, values, offsets)  # pyright: ignore[reportReturnType]


class _Accumulate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:  # pyright: ignore
        total = torch.zeros(offsets.shape[0] - 1, values.shape[1])
        _accumulate_forward(weights.numpy(), values.contiguous().numpy(), offsets.numpy(), total.numpy())
        ctx.save_for_backward(weights, values, offsets)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore
        weights, values, offsets = ctx.saved_tensors
        to_weights, to_values = torch.empty_like(weights), torch.empty_like(values)
        _accumulate_backward(
            weights.numpy(), values.contiguous().numpy(), offsets.numpy(), gradient.contiguous().numpy(),
            to_weights.numpy(), to_values.numpy(),
        )  # fmt: skip
        return to_weights, to_values, None


@njit(**_OPTIONS)
def _accumulate_forward(weights, values, offsets, total):
    for r in prange(offsets.shape[0] - 1):
        for n in range(offsets[r], offsets[r + 1]):
            for c in range(values.shape[1]):
                total[r, c] += weights[n] * values[n, c]


@njit(**_OPTIONS)
def _accumulate_backward(weights, values, offsets, gradient, to_weights, to_values):
    for r in prange(offsets.shape[0] - 1):
        for n in range(offsets[r], offsets[r + 1]):
            along = np.float32(0.0)
            for c in range(values.shape[1]):
                along += gradient[r, c] * values[n, c]
                to_values[n, c] = gradient[r, c] * weights[n]
            to_weights[n] = along


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
    constants = (rate / (1.0 - betas[0] ** count), 1.0 / (1.0 - betas[1] ** count), *betas, epsilon)
    _adam(
        parameter.detach().view(-1).numpy(), gradient.contiguous().view(-1).numpy(), mean.view(-1).numpy(),
        square.view(-1).numpy(), *(np.float32(constant) for constant in constants),
    )  # fmt: skip


@njit(**_OPTIONS)
def _adam(parameter, gradient, mean, square, rate, correction, beta1, beta2, epsilon):
    size = parameter.shape[0]
    one = np.float32(1.0)
    for block in prange((size + _NUMBERS_A_BLOCK - 1) // _NUMBERS_A_BLOCK):
        for begin in range(block * _NUMBERS_A_BLOCK, min((block + 1) * _NUMBERS_A_BLOCK, size), 16):
            end = min(begin + 16, size)
            touched = False
            for n in range(begin, end):
                touched |= gradient[n] != 0.0
            if touched:
                for n in range(begin, end):
                    g = gradient[n]
                    m = beta1 * mean[n] + (one - beta1) * g
                    v = beta2 * square[n] + (one - beta2) * g * g
                    change = rate * m / (np.float32(math.sqrt(v * correction)) + epsilon)
                    keep = g == 0.0
                    mean[n] = mean[n] if keep else m
                    square[n] = square[n] if keep else v
                    parameter[n] -= np.float32(0.0) if keep else change
