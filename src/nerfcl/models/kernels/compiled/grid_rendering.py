"""A hash grid and its networks along sampled rays on the CPU: one block of rays after another, forwards and backwards.

What a block needs stays in the processor's cache, and memory is kept from step to step: allocating it anew costs more
than the arithmetic. `plain.py` and the methods of `Field` say what is computed; tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from nerfcl.models.kernels.compiled.encoding import interpolate, scatter
from nerfcl.models.kernels.compiled.networks import back_through, first_layer, last_layer, network_of, through
from nerfcl.models.kernels.compiled.options import OPTIONS, blocks_of
from nerfcl.models.kernels.compiled.vectors import zeros
from nerfcl.models.kernels.gradients import GradientBuffers
from nerfcl.models.kernels.layout import GridLevels, Samples
from nerfcl.models.kernels.threads import in_parallel

_SAMPLES_A_BLOCK = 2048
_CHANNELS = 5  # red, green, blue, distance, opacity
_HARMONICS = 16
_SH = tuple(  # factors of spherical harmonics, degree by degree
    np.float32(factor * math.sqrt(square / math.pi))
    for factor, square in (
        (0.5, 1.0), (0.5, 3.0), (0.5, 15.0), (0.25, 5.0), (0.25, 15.0), (0.25, 17.5), (0.5, 105.0), (0.25, 10.5),
        (0.25, 7.0), (0.25, 105.0),
    )
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class GridRadiance:
    """What a hash grid with two networks needs besides its parameters.

    Attributes:
        levels: how the table is laid out.
        log_density: added to the density network's first output, whose exponential is the density.
        largest_log_density: the sum is cut off at this value.
        early_stop_eps: samples that less than this share of the light reaches are left out.
        buffers: memory for the table's gradient.
    """

    levels: GridLevels
    log_density: float
    largest_log_density: float
    early_stop_eps: float
    buffers: GradientBuffers


def render_grid(
    samples: Samples,
    directions: Tensor,
    grid: GridRadiance,
    table: Tensor,
    density_network: Sequence[Tensor],
    colour_network: Sequence[Tensor],
) -> Tensor:
    """Composite the colour of a hash grid along rays.

    Args:
        samples: N samples along R rays.
        directions: (R, 3) viewing directions, unit length.
        grid: see `GridRadiance`.
        table: (entries, F) float32 on the CPU.
        density_network: weight matrices from encoded positions to G features, the first of them the density's.
        colour_network: weight matrices from G + 16 numbers, the features and the direction's spherical
            harmonics, to the colour's three.

    Returns:
        (R, 5): colour, distance and 1, each weighted with the light that every sample stops.
    """
    weights = (*density_network, *colour_network)
    return _RenderGrid.apply(samples, directions, grid, len(density_network), table, *weights)  # pyright: ignore[reportReturnType]


class _RenderGrid(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore
        ctx: Any, samples: Samples, directions: Tensor, grid: GridRadiance, layers: int, table: Tensor, *weights: Tensor
    ) -> Tensor:
        rays = len(directions)
        total = torch.zeros(rays, _CHANNELS)
        # Always a multiple of four blocks, of as many rays: equal shares for two or four threads.
        size = max(-(-rays // (4 * blocks_of(len(samples.distances), 4 * _SAMPLES_A_BLOCK) or 1)), 1)
        needed = any(ctx.needs_input_grad)
        density_network, colour_network = network_of(weights[:layers]), network_of(weights[layers:])
        width = density_network.width + colour_network.width + 3
        offsets = samples.offsets.numpy()
        points = (samples.positions.numpy(), samples.distances.numpy(), samples.lengths.numpy(), offsets)
        levels = grid.levels
        common = (
            *points, directions.contiguous().numpy(), table.detach().numpy(), zeros(levels.features),
            levels.resolutions, levels.starts, levels.hashed, density_network, colour_network,
            np.float32(grid.log_density), np.float32(grid.largest_log_density), np.float32(grid.early_stop_eps),
            total.numpy(),
        )  # fmt: skip
        starts = range(0, rays, size)
        blocks: list[_Block | None] = [None] * len(starts)

        def work(index: int) -> None:
            begin, end = starts[index], min(starts[index] + size, rays)
            count = int(offsets[end] - offsets[begin])
            memory = _Memory(count * width)
            visible = np.empty(count, np.int32)
            seen = _render(*common, begin, end, memory.numbers, visible)
            if needed:  # otherwise the memory serves the next one
                blocks[index] = _Block(begin, end, memory, visible[:seen])

        in_parallel(work, len(blocks))
        if needed:
            ctx.blocks, ctx.grid, ctx.samples, ctx.shape = blocks, grid, samples, table.shape
            ctx.networks, ctx.weight_shapes = (density_network, colour_network), [weight.shape for weight in weights]
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        blocks: list[_Block] = ctx.blocks
        grid: GridRadiance = ctx.grid
        density_network, colour_network = ctx.networks
        sizes = [shape.numel() for shape in ctx.weight_shapes]
        to_weights = np.zeros((len(blocks), sum(sizes)), np.float32)
        to_features = torch.empty(len(ctx.samples.distances), grid.levels.width)
        common = (
            ctx.samples.distances.numpy(), ctx.samples.offsets.numpy(), density_network, colour_network,
            np.float32(grid.log_density), np.float32(grid.largest_log_density), gradient.contiguous().numpy(),
            to_features.numpy(),
        )  # fmt: skip
        width = density_network.width + colour_network.width + 1

        def work(index: int) -> None:
            block = blocks[index]
            offsets = ctx.samples.offsets
            memory = _Memory(int(offsets[block.end] - offsets[block.begin]) * width)
            _render_backward(
                *common, block.begin, block.end, block.memory.numbers, block.visible, memory.numbers, to_weights[index]
            )

        in_parallel(work, len(blocks))
        to_table, marks = grid.buffers.lend(ctx.shape)
        scatter(ctx.samples.positions, to_features, grid.levels, to_table, marks)
        summed = torch.from_numpy(to_weights).sum(0).split(sizes)
        shaped = [part.view(shape) for part, shape in zip(summed, ctx.weight_shapes, strict=True)]
        return None, None, None, None, to_table, *shaped


def grid_features(positions: Tensor, levels: GridLevels, table: Tensor, density_network: Sequence[Tensor]) -> Tensor:
    """Evaluate the density network (N, G) at positions (N, 3), without gradients."""
    network = network_of(density_network)
    features = torch.empty(len(positions), int(network.widths[-1]))
    memory = _Memory(len(positions) * network.width)
    _features(
        positions.contiguous().numpy(), table.detach().numpy(), zeros(levels.features), levels.resolutions,
        levels.starts, levels.hashed, network, memory.numbers, features.numpy(),
    )  # fmt: skip
    return features


class _Memory:
    """Float32 numbers from a store, which they go back to when nobody needs them any more."""

    store: list[np.ndarray] = []

    def __init__(self, count: int) -> None:
        try:
            self.numbers = self.store.pop()
        except IndexError:
            self.numbers = np.empty(0, np.float32)
        if len(self.numbers) < count:
            self.numbers = np.empty(count + count // 4, np.float32)

    def __del__(self) -> None:
        self.store.append(self.numbers)


@dataclass(frozen=True, eq=False)
class _Block:
    """Rays from `begin` to `end`, and what the way back needs of the way there."""

    begin: int
    end: int
    memory: _Memory
    visible: np.ndarray


@njit(**OPTIONS)
def _render(
    positions, distances, lengths, offsets, directions, table, zeros, resolutions, starts, hashed, density_network,
    colour_network, log_density, largest, early_stop_eps, total, begin, end, memory, visible,
):  # fmt: skip
    """Add up the rays from `begin` to `end` into `total`; return how many of their samples are visible."""
    first, last = offsets[begin], offsets[end]
    count = last - first
    interpolate(
        positions[first:last], table, zeros, resolutions, starts, hashed, first_layer(memory, count, density_network)
    )
    through(memory, count, density_network)
    features = last_layer(memory, count, density_network)
    thickness, passed, weights, colour_layers = _parts(memory[count * density_network.width :], count)
    seen = _composite(
        features, lengths[first:last], offsets[begin : end + 1], log_density, largest, early_stop_eps,
        thickness, passed, weights, visible,
    )  # fmt: skip
    inputs = first_layer(colour_layers, seen, colour_network)
    _gather(features, directions[begin:end], offsets[begin : end + 1], visible[:seen], inputs)
    through(colour_layers, seen, colour_network)
    colours = last_layer(colour_layers, seen, colour_network)
    for i in range(seen):
        for c in range(3):
            colours[i, c] = np.float32(1.0) / (np.float32(1.0) + np.float32(math.exp(-colours[i, c])))
    _accumulate(weights, distances[first:last], offsets[begin : end + 1], visible[:seen], colours, total[begin:end])
    return seen


@njit(**OPTIONS)
def _render_backward(
    distances, offsets, density_network, colour_network, log_density, largest, upstream, to_encoded, begin, end,
    memory, visible, scratch, to_weights,
):  # fmt: skip
    """Find the gradients of the encoded positions and of each weight matrix; the latter, flat, are added."""
    first, last = offsets[begin], offsets[end]
    count, seen = last - first, visible.shape[0]
    features = last_layer(memory, count, density_network)
    thickness, passed, weights, colour_layers = _parts(memory[count * density_network.width :], count)
    colours = last_layer(colour_layers, seen, colour_network)
    to_log_density, to_layers = scratch[:count], scratch[count:]
    to_colour_layers = to_layers[count * density_network.width :]
    _composite_backward(
        thickness, passed, weights, distances[first:last], offsets[begin : end + 1], visible, features, log_density,
        largest, colours, upstream[begin:end], last_layer(to_colour_layers, seen, colour_network),
        to_log_density,
    )  # fmt: skip
    to_colour_weights = to_weights[len(density_network.weights) :]
    back_through(colour_layers, to_colour_layers, seen, colour_network, to_colour_weights)
    to_inputs = first_layer(to_colour_layers, seen, colour_network)
    _join(to_inputs, to_log_density, visible, last_layer(to_layers, count, density_network))
    back_through(memory, to_layers, count, density_network, to_weights)
    inputs = first_layer(to_layers, count, density_network)
    for n in range(count):
        for c in range(inputs.shape[1]):
            to_encoded[first + n, c] = inputs[n, c]


@njit(**OPTIONS)
def _features(positions, table, zeros, resolutions, starts, hashed, network, memory, features):
    count = positions.shape[0]
    interpolate(positions, table, zeros, resolutions, starts, hashed, first_layer(memory, count, network))
    through(memory, count, network)
    outputs = last_layer(memory, count, network)
    for n in range(count):
        for c in range(outputs.shape[1]):
            features[n, c] = outputs[n, c]


@njit(inline="always")
def _parts(memory, count):
    """Three vectors, and the memory after them."""
    return memory[:count], memory[count : 2 * count], memory[2 * count : 3 * count], memory[3 * count :]


@njit(**OPTIONS)
def _composite(
    features, lengths, offsets, log_density, largest, early_stop_eps, thickness, passed, weights, visible
):  # fmt: skip
    seen = 0
    base = offsets[0]
    for r in range(offsets.shape[0] - 1):
        transmittance = np.float32(1.0)
        for n in range(offsets[r] - base, offsets[r + 1] - base):
            if transmittance < early_stop_eps:
                weights[n] = 0.0
            else:
                density = np.float32(math.exp(min(features[n, 0] + log_density, largest)))
                thickness[n] = density * lengths[n]
                stopped = np.float32(-math.expm1(-thickness[n]))
                weights[n] = transmittance * stopped
                transmittance *= np.float32(math.exp(-thickness[n]))
                passed[n] = transmittance
                visible[seen] = n
                seen += 1
    return seen


@njit(**OPTIONS)
def _gather(features, directions, offsets, visible, inputs):
    base, r, width = offsets[0], -1, features.shape[1]
    harmonics = np.empty(_HARMONICS, np.float32)
    for i in range(visible.shape[0]):
        n = visible[i]
        if r < 0 or n >= offsets[r + 1] - base:
            r += 1
            while n >= offsets[r + 1] - base:
                r += 1
            _spherical_harmonics(directions[r, 0], directions[r, 1], directions[r, 2], harmonics)
        for c in range(width):
            inputs[i, c] = features[n, c]
        for c in range(_HARMONICS):
            inputs[i, width + c] = harmonics[c]


@njit(**OPTIONS)
def _spherical_harmonics(x, y, z, harmonics):
    """See `spherical_harmonics` in the hash grid's module."""
    xx, yy, zz, one = x * x, y * y, z * z, np.float32(1.0)
    three, five = np.float32(3.0), np.float32(5.0)
    harmonics[0] = _SH[0]
    harmonics[1] = -_SH[1] * y
    harmonics[2] = _SH[1] * z
    harmonics[3] = -_SH[1] * x
    harmonics[4] = _SH[2] * x * y
    harmonics[5] = -_SH[2] * y * z
    harmonics[6] = _SH[3] * (three * zz - one)
    harmonics[7] = -_SH[2] * x * z
    harmonics[8] = _SH[4] * (xx - yy)
    harmonics[9] = -_SH[5] * y * (three * xx - yy)
    harmonics[10] = _SH[6] * x * y * z
    harmonics[11] = -_SH[7] * y * (five * zz - one)
    harmonics[12] = _SH[8] * z * (five * zz - three)
    harmonics[13] = -_SH[7] * x * (five * zz - one)
    harmonics[14] = _SH[9] * z * (xx - yy)
    harmonics[15] = -_SH[5] * x * (xx - three * yy)


@njit(**OPTIONS)
def _accumulate(weights, distances, offsets, visible, colours, total):
    base, r = offsets[0], 0
    for i in range(visible.shape[0]):
        n = visible[i]
        while n >= offsets[r + 1] - base:
            r += 1
        weight = weights[n]
        for c in range(3):
            total[r, c] += weight * colours[i, c]
        total[r, 3] += weight * distances[n]
        total[r, 4] += weight


@njit(**OPTIONS)
def _composite_backward(
    thickness, passed, weights, distances, offsets, visible, features, log_density, largest, colours, upstream,
    to_raw, to_log_density,
):  # fmt: skip
    # d w_j / d thickness_i = T_{i+1} if j = i, -w_j if j > i, else 0; a thickness is exp(log density) times a length.
    # Walls have large ones: both T and the sum over j must be exact where they are small.
    base, one = offsets[0], np.float32(1.0)
    to_log_density[:] = 0.0
    first = 0
    for r in range(offsets.shape[0] - 1):
        last = first
        end = offsets[r + 1] - base
        while last < visible.shape[0] and visible[last] < end:
            n = visible[last]
            along = upstream[r, 3] * distances[n] + upstream[r, 4]
            for c in range(3):
                colour = colours[last, c]
                along += upstream[r, c] * colour
                to_raw[last, c] = upstream[r, c] * weights[n] * colour * (one - colour)
            to_log_density[n] = along
            last += 1
        behind = np.float32(0.0)
        for i in range(last - 1, first - 1, -1):
            n = visible[i]
            along = to_log_density[n]
            within = features[n, 0] + log_density <= largest
            to_log_density[n] = thickness[n] * (passed[n] * along - behind) if within else np.float32(0.0)
            behind += weights[n] * along
        first = last


@njit(**OPTIONS)
def _join(to_inputs, to_log_density, visible, to_features):
    to_features[:] = 0.0
    for i in range(visible.shape[0]):
        n = visible[i]
        for c in range(to_features.shape[1]):
            to_features[n, c] = to_inputs[i, c]
        to_features[n, 0] += to_log_density[n]
