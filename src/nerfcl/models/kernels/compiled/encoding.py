"""Interpolation in the levels of a hash grid, and its gradient; see `plain.encode`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from nerfcl.models.kernels.compiled.options import OPTIONS, blocks_of
from nerfcl.models.kernels.compiled.vectors import add_scaled, read, write, zeros
from nerfcl.models.kernels.layout import LINE, GridLevels
from nerfcl.models.kernels.threads import in_parallel

_SAMPLES_A_BLOCK = 4096


def encode(positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:
    return _Encode.apply(positions, table, levels)  # pyright: ignore[reportReturnType]


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:  # pyright: ignore
        positions = positions.contiguous()
        features = torch.empty(positions.shape[0], levels.width)
        places, values, into = positions.numpy(), table.numpy(), features.numpy()
        empty = zeros(levels.features)

        def work(block: int) -> None:
            rows = slice(block * _SAMPLES_A_BLOCK, (block + 1) * _SAMPLES_A_BLOCK)
            interpolate(places[rows], values, empty, levels.resolutions, levels.starts, levels.hashed, into[rows])

        in_parallel(work, blocks_of(len(positions), _SAMPLES_A_BLOCK))
        ctx.save_for_backward(positions)
        ctx.levels, ctx.shape = levels, table.shape
        return features

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:  # pyright: ignore
        (positions,) = ctx.saved_tensors
        to_table = torch.zeros(ctx.shape)
        touched = np.zeros(blocks_of(to_table.numel(), LINE), np.uint8)
        scatter(positions, gradient, ctx.levels, to_table, touched)
        return None, to_table, None


def scatter(positions: Tensor, gradient: Tensor, levels: GridLevels, to_table: Tensor, touched: np.ndarray) -> None:
    """Add the gradient of encoded features to the table entries that they were interpolated from.

    Args:
        positions: (N, 3) in the unit cube.
        gradient: (N, L * F) of the features.
        levels: how the table is laid out.
        to_table: (entries, F); added to.
        touched: one byte for each LINE numbers of the table; set to 1 where something is added.
    """
    places, slopes, into = positions.numpy(), gradient.contiguous().numpy(), to_table.numpy()
    count, empty = len(levels.resolutions), zeros(levels.features)

    def work(turn: int) -> None:
        level = count - 1 - turn  # fine levels take longest
        _scatter_level(places, slopes, empty, level, levels.resolutions, levels.starts, levels.hashed, into, touched)

    in_parallel(work, count)


@njit(inline="always")
def _level(level, resolutions, starts, hashed):
    """Resolution, first entry, whether it is hashed, mask of hashes, and factors on a vertex's x, y and z.

    Unsigned, here and below, where they lead to an index: numba need not look for negative ones.
    """
    resolution, start, is_hashed = resolutions[level], np.uint64(starts[level]), hashed[level]
    mask = np.uint64(starts[level + 1] - starts[level] - 1)
    if is_hashed:
        return resolution, start, is_hashed, mask, np.uint64(1), np.uint64(2654435761), np.uint64(805459861)
    side = np.uint64(resolution + 1)
    return resolution, start, is_hashed, mask, side * side, side, np.uint64(1)


@njit(inline="always")
def _entry(x, y, z, mask, hashed):
    """Index of a vertex within its level, from its coordinates times their strides."""
    return (x ^ y ^ z) & mask if hashed else x + y + z


@njit(inline="always")
def _cell(positions, n, axis, resolution):
    """A position's cell along an axis, and how far it lies within."""
    scaled = positions[n, axis] * np.float32(resolution)
    cell = min(max(np.int32(scaled), 0), resolution - 1)
    return cell, scaled - np.float32(cell)


@njit(**OPTIONS)
def interpolate(positions, table, zeros, resolutions, starts, hashed, features):
    one, width = np.float32(1.0), len(zeros)
    samples = positions.shape[0]
    for begin in range(0, samples, 256):  # a level's part of the table stays in the cache for so many
        end = min(begin + 256, samples)
        for level in range(resolutions.shape[0]):
            resolution, start, is_hashed, mask, sx, sy, sz = _level(level, resolutions, starts, hashed)
            for n in range(begin, end):
                x, fx = _cell(positions, n, 0, resolution)
                y, fy = _cell(positions, n, 1, resolution)
                z, fz = _cell(positions, n, 2, resolution)
                total = zeros
                for i in range(2):
                    wx, vx = fx if i else one - fx, np.uint64(x + i) * sx
                    for j in range(2):
                        wxy, vy = wx * (fy if j else one - fy), np.uint64(y + j) * sy
                        for k in range(2):
                            weight = wxy * (fz if k else one - fz)
                            e = start + _entry(vx, vy, np.uint64(z + k) * sz, mask, is_hashed)
                            total = add_scaled(total, weight, read(table, e, 0, zeros))
                write(features, n, width * level, total)


@njit(**OPTIONS)
def _scatter_level(positions, gradient, zeros, level, resolutions, starts, hashed, to_table, touched):
    one, width = np.float32(1.0), len(zeros)
    resolution, start, is_hashed, mask, sx, sy, sz = _level(level, resolutions, starts, hashed)
    for n in range(positions.shape[0]):
        slope = read(gradient, n, width * level, zeros)
        if slope == zeros:
            continue
        x, fx = _cell(positions, n, 0, resolution)
        y, fy = _cell(positions, n, 1, resolution)
        z, fz = _cell(positions, n, 2, resolution)
        for i in range(2):
            wx, vx = fx if i else one - fx, np.uint64(x + i) * sx
            for j in range(2):
                wxy, vy = wx * (fy if j else one - fy), np.uint64(y + j) * sy
                for k in range(2):
                    weight = wxy * (fz if k else one - fz)
                    e = start + _entry(vx, vy, np.uint64(z + k) * sz, mask, is_hashed)
                    write(to_table, e, 0, add_scaled(read(to_table, e, 0, zeros), weight, slope))
                    touched[e * np.uint64(width) // np.uint64(LINE)] = 1
