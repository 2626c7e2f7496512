"""Sampling of rays by what an occupancy grid knows; see `plain.sample`."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from nerfcl.models.kernels.compiled.options import OPTIONS, blocks_of
from nerfcl.models.kernels.layout import Samples, SamplingLayout
from nerfcl.models.kernels.threads import in_parallel

_RAYS_A_BLOCK = 256


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
