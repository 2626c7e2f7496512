"""The hot loops on the CPU: numba kernels with hand-written backward passes.

Every public function has the signature of its counterpart in `plain.py`, which documents it. Every loop releases
Python's lock and works on a block of rays, samples or numbers; `in_parallel` spreads the blocks over threads. The same
inputs give the same bits, whatever the number of threads: blocks do not depend on it, no two of them write to the same
memory, and there are no atomics. Nor is there fast-math, which rounds vectorised and scalar code differently; which of
these runs may depend on the alignment of arrays.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from nerfcl.models.kernels.gradients import touched_of
from nerfcl.models.kernels.layout import LINE, GridLevels, Samples, SamplingLayout
from nerfcl.models.kernels.prefetch import prefetch
from nerfcl.models.kernels.threads import in_parallel


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


OPTIONS: dict[str, Any] = {"nogil": True, "cache": _can_keep_compiled(), "error_model": "numpy"}
_RAYS_A_BLOCK = 256
_SAMPLES_A_BLOCK = 4096
_LINES_A_BLOCK = 2**15
_AHEAD = 8  # lines


def blocks_of(count: int, size: int) -> int:
    """Number of blocks of at most this size."""
    return -(-count // size)


def sample(origins: Tensor, directions: Tensor, occupancy: Tensor, jitter: Tensor, layout: SamplingLayout) -> Samples:
    rays, most = origins.shape[0], layout.max_samples
    starts, ways = origins.contiguous().numpy(), directions.contiguous().numpy()
    grid, drawn = occupancy.numpy(), jitter.numpy()
    corner, bounds = np.asarray(layout.lower, np.float32), np.asarray(layout.corners, np.float32)
    side, step = np.float32(layout.side), np.float32(layout.step)
    uniform, occ_threshold = np.float32(layout.uniform), np.float32(layout.occ_threshold)
    # Every ray has room for all its samples at first, so that rays are sampled only once.
    distances, lengths = np.empty((rays, most), np.float32), np.empty((rays, most), np.float32)
    offsets = np.zeros(rays + 1, np.int64)

    def draw(block: int) -> None:
        begin, end = block * _RAYS_A_BLOCK, min((block + 1) * _RAYS_A_BLOCK, rays)
        _sample(
            starts, ways, grid, drawn, bounds, corner, side, step, uniform, occ_threshold, begin, end,
            distances, lengths, offsets,
        )  # fmt: skip

    in_parallel(draw, blocks_of(rays, _RAYS_A_BLOCK))
    np.cumsum(offsets, out=offsets)
    count = int(offsets[-1])
    packed = Samples(torch.empty(count, 3), torch.empty(count), torch.empty(count), torch.from_numpy(offsets))
    _pack(
        starts, ways, corner, side, distances, lengths, offsets,
        packed.positions.numpy(), packed.distances.numpy(), packed.lengths.numpy(),
    )  # fmt: skip
    return packed


@njit(**OPTIONS)
def _sample(
    origins, directions, occupancy, jitter, bounds, corner, side, step, uniform, occ_threshold, begin, end,
    distances, lengths, counts,
):  # fmt: skip
    cells = occupancy.shape[0]
    scale = np.float32(cells) / side
    zero, one = np.float32(0.0), np.float32(1.0)
    most = distances.shape[1]
    segment_start = np.empty(3 * cells + 4, np.float32)
    segment_length = np.empty(3 * cells + 4, np.float32)
    segment_stopped = np.empty(3 * cells + 4, np.float32)
    for r in range(begin, end):
        counts[r + 1] = 0
        near, far = zero, np.float32(np.inf)
        for axis in range(3):
            along = _not_zero(directions[r, axis])
            a = (bounds[0, axis] - origins[r, axis]) / along
            b = (bounds[1, axis] - origins[r, axis]) / along
            near = max(near, min(a, b))
            far = min(far, max(a, b))
        if far <= near:
            continue

        # From cell to cell (Amanatides & Woo 1987), noting those that are occupied.
        x, x_ahead, x_stride, x_inverse, x_start = _enter(
            origins[r, 0], directions[r, 0], corner[0], scale, near, cells
        )
        y, y_ahead, y_stride, y_inverse, y_start = _enter(
            origins[r, 1], directions[r, 1], corner[1], scale, near, cells
        )
        z, z_ahead, z_stride, z_inverse, z_start = _enter(
            origins[r, 2], directions[r, 2], corner[2], scale, near, cells
        )
        x_crossing = (np.float32(x + x_ahead) - x_start) * x_inverse
        y_crossing = (np.float32(y + y_ahead) - y_start) * y_inverse
        z_crossing = (np.float32(z + z_ahead) - z_start) * z_inverse
        t, light, total, length, count = near, one, zero, zero, 0
        while t < far:
            until = min(min(x_crossing, y_crossing), min(z_crossing, far))
            thickness = occupancy[x, y, z]
            if thickness >= occ_threshold and until > t:
                passed = np.float32(math.exp(-thickness * (until - t) / step))
                segment_start[count] = t
                segment_length[count] = until - t
                segment_stopped[count] = light * (one - passed)
                total += segment_stopped[count]
                length += until - t
                light *= passed
                count += 1
            t = max(t, until)
            if x_crossing <= until:
                x += x_stride
                x_crossing = (np.float32(x + x_ahead) - x_start) * x_inverse
                if x < 0 or x >= cells:
                    break
            elif y_crossing <= until:
                y += y_stride
                y_crossing = (np.float32(y + y_ahead) - y_start) * y_inverse
                if y < 0 or y >= cells:
                    break
            else:
                z += z_stride
                z_crossing = (np.float32(z + z_ahead) - z_start) * z_inverse
                if z < 0 or z >= cells:
                    break
        if count == 0:
            continue

        parts = min(max(np.int64(math.ceil(length / step - np.float32(1e-3))), 1), most)
        counts[r + 1] = parts
        share = one if total <= np.float32(1e-8) else uniform
        even, guided = share / length, zero
        if total > np.float32(1e-8):
            guided = (one - share) / total
        # Where each sample lies, then where its stratum ends: both rise along the ray.
        upper, before, i = zero, zero, 0
        target, edge = jitter[r] / parts, one / parts
        placed = False
        for k in range(count):
            probability = even * segment_length[k] + guided * segment_stopped[k]
            lower, upper = upper, upper + probability
            while True:
                if not placed and target < upper:
                    distances[r, i] = segment_start[k] + (target - lower) / probability * segment_length[k]
                    placed = True
                if not placed or edge >= upper or i == parts - 1:
                    break
                until = before + (edge - lower) / probability * segment_length[k]
                lengths[r, i] = until
                i += 1
                placed = False
                target, edge = (i + jitter[r]) / parts, np.float32(i + 1) / parts
            before += segment_length[k]
        end_of_ray = segment_start[count - 1] + segment_length[count - 1]
        if not placed:
            distances[r, i] = end_of_ray
        lengths[r, i] = length
        for j in range(i + 1, parts):  # rounding has left the last ones over
            distances[r, j], lengths[r, j] = end_of_ray, length
        for j in range(parts - 1, 0, -1):
            lengths[r, j] = max(lengths[r, j] - lengths[r, j - 1], zero)


@njit(inline="always")
def _not_zero(number):
    return number if abs(number) >= 1e-12 else np.float32(1e-12)


@njit(inline="always")
def _enter(origin, direction, corner, scale, near, cells):
    """Along one axis, in cells: the first cell, its far face relative to it, the stride, 1 / slope, and the start."""
    slope, start = _not_zero(direction) * scale, (origin - corner) * scale
    cell = min(max(np.int64(math.floor(start + near * slope)), 0), cells - 1)
    ahead = 1 if slope > 0.0 else 0
    return cell, ahead, 2 * ahead - 1, np.float32(1.0) / slope, start


@njit(**OPTIONS)
def _pack(
    origins, directions, corner, side, distances, lengths, offsets, to_positions, to_distances, to_lengths
):  # fmt: skip
    unit = np.float32(1.0) / side
    for r in range(origins.shape[0]):
        for n in range(offsets[r], offsets[r + 1]):
            t = distances[r, n - offsets[r]]
            to_distances[n], to_lengths[n] = t, lengths[r, n - offsets[r]]
            for axis in range(3):
                to_positions[n, axis] = (origins[r, axis] + t * directions[r, axis] - corner[axis]) * unit


def encode(positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:
    return _Encode.apply(positions, table, levels)  # pyright: ignore[reportReturnType]


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:  # pyright: ignore
        positions = positions.contiguous()
        features = torch.empty(positions.shape[0], levels.width)
        places, values, into = positions.numpy(), table.numpy(), features.numpy()

        def work(block: int) -> None:
            rows = slice(block * _SAMPLES_A_BLOCK, (block + 1) * _SAMPLES_A_BLOCK)
            interpolate(places[rows], values, levels.resolutions, levels.starts, levels.hashed, into[rows])

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
    count = len(levels.resolutions)

    def work(turn: int) -> None:
        level = count - 1 - turn  # fine levels take longest
        _scatter_level(places, slopes, level, levels.resolutions, levels.starts, levels.hashed, into, touched)

    in_parallel(work, count)


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


@njit(**OPTIONS)
def interpolate(positions, table, resolutions, starts, hashed, features):
    one = np.float32(1.0)
    samples = positions.shape[0]
    for begin in range(0, samples, 256):  # a level's part of the table stays in the cache for so many
        end = min(begin + 256, samples)
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


@njit(**OPTIONS)
def _scatter_level(positions, gradient, level, resolutions, starts, hashed, to_table, touched):
    one = np.float32(1.0)
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
                    touched[e >> 3] = 1  # a line is 8 entries


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
