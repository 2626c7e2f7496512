"""A hash grid and its networks along sampled rays on the CPU: one block of rays after another, forwards and backwards.

What a block needs stays in the processor's cache, and memory is kept from step to step: allocating it anew costs more
than the arithmetic. `plain.py` and the methods of `Field` say what is computed; tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from nerfcl.models.kernels.compiled import OPTIONS, interpolate, scatter
from nerfcl.models.kernels.gradients import GradientBuffers
from nerfcl.models.kernels.layout import GridLevels, Samples
from nerfcl.models.kernels.threads import in_parallel

_SAMPLES_A_BLOCK = 2048
_CHANNELS = 5  # red, green, blue, distance, opacity


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
    harmonics: Tensor,
    grid: GridRadiance,
    table: Tensor,
    density_network: Sequence[Tensor],
    colour_network: Sequence[Tensor],
) -> Tensor:
    """Composite the colour of a hash grid along rays.

    Args:
        samples: N samples along R rays.
        harmonics: (R, H) encoded directions of the rays.
        grid: see `GridRadiance`.
        table: (entries, 2) float32 on the CPU.
        density_network: weight matrices from encoded positions to G features, the first of them the density's.
        colour_network: weight matrices from G + H numbers to the colour's three.

    Returns:
        (R, 5): colour, distance and 1, each weighted with the light that every sample stops.
    """
    weights = (*density_network, *colour_network)
    return _RenderGrid.apply(samples, harmonics, grid, len(density_network), table, *weights)  # pyright: ignore[reportReturnType]


class _RenderGrid(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore
        ctx: Any, samples: Samples, harmonics: Tensor, grid: GridRadiance, layers: int, table: Tensor, *weights: Tensor
    ) -> Tensor:
        rays = len(harmonics)
        total = torch.zeros(rays, _CHANNELS)
        size = max(_SAMPLES_A_BLOCK * rays // max(len(samples.distances), 1), 1)
        needed = any(ctx.needs_input_grad)
        networks = ([w.detach() for w in weights[:layers]], [w.detach() for w in weights[layers:]])
        starts = range(0, rays, size)
        blocks: list[_Block | None] = [None] * len(starts)

        def work(index: int) -> None:
            block = _Block(samples, harmonics, grid, starts[index], min(starts[index] + size, rays))
            block.forward(table.detach(), networks, total)
            blocks[index] = block if needed else None  # its memory serves the next one

        in_parallel(work, len(blocks))
        if needed:
            ctx.blocks, ctx.networks, ctx.grid, ctx.samples, ctx.shape = blocks, networks, grid, samples, table.shape
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        blocks: list[_Block] = ctx.blocks
        grid: GridRadiance = ctx.grid
        weights = [weight for network in ctx.networks for weight in network]
        sizes = [weight.numel() for weight in weights]
        to_weights = torch.empty(len(blocks), sum(sizes))
        to_features = torch.empty(len(ctx.samples.distances), grid.levels.width)
        upstream = gradient.contiguous()

        def work(index: int) -> None:
            blocks[index].backward(ctx.networks, upstream, to_features, to_weights[index].split(sizes))

        in_parallel(work, len(blocks))
        to_table, marks = grid.buffers.lend(ctx.shape)
        scatter(ctx.samples.positions, to_features, grid.levels, to_table, marks)
        summed = to_weights.sum(0).split(sizes)
        shaped = [part.view_as(weight) for part, weight in zip(summed, weights, strict=True)]
        return None, None, None, None, to_table, *shaped


def grid_features(positions: Tensor, levels: GridLevels, table: Tensor, density_network: Sequence[Tensor]) -> Tensor:
    """Evaluate the density network (N, G) at positions (N, 3), without gradients."""
    network = [weight.detach() for weight in density_network]
    return _density_layers(positions.contiguous(), levels, table.detach(), network, torch.empty)[-1]


def _density_layers(
    positions: Tensor, levels: GridLevels, table: Tensor, network: list[Tensor], take: Callable[[int, int], Tensor]
) -> list[Tensor]:
    """Encode positions and pass them through the density network; `take` gives memory for a matrix."""
    layers = [take(len(positions), columns) for columns in (levels.width, *(weight.shape[1] for weight in network))]
    interpolate(
        positions.numpy(), table.numpy(), levels.resolutions, levels.starts, levels.hashed, layers[0].numpy()
    )  # fmt: skip
    _through(_arrays(layers), _arrays(network), _rows_at_once(network))
    return layers


class _Memory:
    """Numbers that are handed out in order, and all taken back at once."""

    spare: list[_Memory] = []

    def __init__(self) -> None:
        self.numbers, self.used = torch.empty(0), 0

    def take(self, rows: int, columns: int) -> Tensor:
        """Return memory for a matrix."""
        begin, self.used = self.used, self.used + rows * columns
        return self.numbers.as_strided((rows, columns), (columns, 1), begin)

    @classmethod
    def of(cls, numbers: int) -> _Memory:
        """Return memory for so many numbers."""
        try:
            memory = cls.spare.pop()
        except IndexError:
            memory = cls()
        if len(memory.numbers) < numbers:
            memory.numbers = torch.empty(numbers + numbers // 4)
        memory.used = 0
        return memory


class _Block:
    """Rays from `begin` to `end`, and what the way back needs of the way there."""

    def __init__(self, samples: Samples, harmonics: Tensor, grid: GridRadiance, begin: int, end: int) -> None:
        self.grid, self.begin, self.end = grid, begin, end
        self.samples, self.harmonics = samples, harmonics
        self.offsets = samples.offsets[begin : end + 1].numpy()
        self.rows = slice(int(self.offsets[0]), int(self.offsets[-1]))
        self.count = self.rows.stop - self.rows.start
        self.memory: _Memory | None = None

    def forward(self, table: Tensor, networks: tuple[list[Tensor], list[Tensor]], total: Tensor) -> None:
        """Add up the block's rays into `total` (R, 5)."""
        density_network, colour_network = networks
        grid, levels, count = self.grid, self.grid.levels, self.count
        widths = [levels.width, *(w.shape[1] for network in networks for w in network), colour_network[0].shape[0]]
        memory = self.memory = _Memory.of(2 * count * (sum(widths) + 4))
        positions = self.samples.positions[self.rows]
        self.density_layers = _density_layers(positions, levels, table, density_network, memory.take)
        features = self.density_layers[-1]  # (n, G)
        self.thickness, self.passed, self.weights = memory.take(3, count)
        self.visible = np.empty(count, np.int32)
        seen = _composite(
            features.numpy(), self.samples.lengths[self.rows].numpy(), self.offsets, np.float32(grid.log_density),
            np.float32(grid.largest_log_density), np.float32(grid.early_stop_eps), self.thickness.numpy(),
            self.passed.numpy(), self.weights.numpy(), self.visible,
        )  # fmt: skip
        self.visible = self.visible[:seen]
        inputs = memory.take(seen, colour_network[0].shape[0])
        harmonics = self.harmonics[self.begin : self.end].numpy()
        _gather(features.numpy(), harmonics, self.offsets, self.visible, inputs.numpy())
        self.colour_layers = [inputs, *(memory.take(seen, w.shape[1]) for w in colour_network)]
        _through(_arrays(self.colour_layers), _arrays(colour_network), _rows_at_once(colour_network))
        colours = self.colour_layers[-1].sigmoid_()  # (m, 3)
        _accumulate(
            self.weights.numpy(), self.samples.distances[self.rows].numpy(), self.offsets, self.visible,
            colours.numpy(), total[self.begin : self.end].numpy(),
        )  # fmt: skip

    def backward(
        self,
        networks: tuple[list[Tensor], list[Tensor]],
        upstream: Tensor,
        to_encoded: Tensor,
        to_weights: Sequence[Tensor],
    ) -> None:
        """Find the gradients of the encoded positions, (N, L * F), and of each weight matrix, flat."""
        density_network, colour_network = networks
        memory = self.memory
        assert memory is not None
        kept = memory.used
        colours, features = self.colour_layers[-1], self.density_layers[-1]
        to_raw = memory.take(*colours.shape)
        to_log_density = memory.take(1, self.count)[0]
        _composite_backward(
            self.thickness.numpy(), self.passed.numpy(), self.weights.numpy(),
            self.samples.distances[self.rows].numpy(), self.offsets, self.visible, features.numpy(),
            np.float32(self.grid.log_density), np.float32(self.grid.largest_log_density), colours.numpy(),
            upstream[self.begin : self.end].numpy(), to_raw.numpy(), to_log_density.numpy(),
        )  # fmt: skip
        first = len(density_network)
        to_inputs = memory.take(len(self.visible), colour_network[0].shape[0])
        self._back_through(colour_network, self.colour_layers, to_inputs, to_raw, to_weights[first:])
        to_features = memory.take(*features.shape)
        _join(to_inputs.numpy(), to_log_density.numpy(), self.visible, to_features.numpy())
        inputs = to_encoded[self.rows]
        self._back_through(density_network, self.density_layers, inputs, to_features, to_weights[:first])
        memory.used = kept

    def _back_through(
        self,
        network: list[Tensor],
        layers: list[Tensor],
        to_inputs: Tensor,
        to_outputs: Tensor,
        to_weights: Sequence[Tensor],
    ) -> None:
        assert self.memory is not None
        between = [self.memory.take(*layer.shape) for layer in layers[1:-1]]
        transposed = [weight.t().contiguous() for weight in network]
        shaped = [part.view_as(weight) for part, weight in zip(to_weights, network, strict=True)]
        _back_through(
            _arrays(layers), _arrays(transposed), _arrays([to_inputs, *between, to_outputs]), _arrays(shaped),
            _rows_at_once(network),
        )  # fmt: skip

    def __del__(self) -> None:
        if self.memory is not None:
            _Memory.spare.append(self.memory)


def _arrays(tensors: Sequence[Tensor]) -> tuple[np.ndarray, ...]:
    return tuple(tensor.numpy() for tensor in tensors)


def _rows_at_once(weights: Sequence[Tensor]) -> int:
    """Rows that pass through a network together: they stay in the cache, and the products take one thread."""
    return max(2**17 // max(weight.numel() for weight in weights), 8)


@njit(**OPTIONS)
def _through(layers, weights, rows):
    """Fill in all layers but the first, the inputs; with ReLU between them."""
    for begin in range(0, layers[0].shape[0], rows):
        end = min(begin + rows, layers[0].shape[0])
        for k in range(len(weights)):
            outputs = layers[k + 1][begin:end]
            np.dot(layers[k][begin:end], weights[k], outputs)
            if k + 1 < len(weights):
                for i in range(outputs.shape[0]):
                    for c in range(outputs.shape[1]):
                        outputs[i, c] = max(outputs[i, c], np.float32(0.0))


@njit(**OPTIONS)
def _back_through(layers, transposed, gradients, to_weights, rows):
    """From the gradient of the last layer, fill in those of the others, and of the weights."""
    for k in range(len(to_weights)):
        to_weights[k][:] = 0.0
    for begin in range(0, layers[0].shape[0], rows):
        end = min(begin + rows, layers[0].shape[0])
        for back in range(len(transposed)):
            k = len(transposed) - 1 - back
            inputs, upstream, downstream = layers[k][begin:end], gradients[k + 1][begin:end], gradients[k][begin:end]
            part = np.dot(inputs.T, upstream)
            for i in range(part.shape[0]):
                for c in range(part.shape[1]):
                    to_weights[k][i, c] += part[i, c]
            np.dot(upstream, transposed[k], downstream)
            if k:
                for i in range(inputs.shape[0]):
                    for c in range(inputs.shape[1]):
                        downstream[i, c] = downstream[i, c] if inputs[i, c] > 0.0 else np.float32(0.0)


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
def _gather(features, harmonics, offsets, visible, inputs):
    base, r, count, width = offsets[0], 0, features.shape[1], harmonics.shape[1]
    for i in range(visible.shape[0]):
        n = visible[i]
        while n >= offsets[r + 1] - base:
            r += 1
        for c in range(count):
            inputs[i, c] = features[n, c]
        for c in range(width):
            inputs[i, count + c] = harmonics[r, c]


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
