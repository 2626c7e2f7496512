"""The hot loops in plain torch, for any device and dtype.

The compiled kernels have the same signatures; their values and gradients are tested against these.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nerfcl.models.kernels.layout import GridLevels, MarchSettings

_HASH_PRIMES = (1, 2654435761, 805459861)


def march(
    origins: Tensor,
    directions: Tensor,
    occupancy: Tensor,
    jitter: Tensor,
    settings: MarchSettings,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample rays at equal steps in the occupied cells of a grid over a cube.

    Args:
        origins: (R, 3) world units.
        directions: (R, 3) unit length.
        occupancy: (G, G, G) optical thickness of one step inside each cell.
        jitter: (R,) in [0, 1), fraction of a step by which a ray's samples are shifted.
        settings: where the cube lies, the step, and which cells are sampled.

    Returns:
        positions (N, 3) in the unit cube, distances (N,) from the origins in world units, and offsets (R + 1,) int64:
        the samples of ray r are offsets[r] to offsets[r + 1].
    """
    side, step = settings.side, settings.step
    corner = torch.tensor(settings.lower, dtype=origins.dtype, device=origins.device)
    safe = torch.where(directions.abs() < 1e-12, torch.full_like(directions, 1e-12), directions)
    bounds = torch.tensor(settings.corners, dtype=origins.dtype, device=origins.device)  # (2, 3)
    a, b = (bounds[0] - origins) / safe, (bounds[1] - origins) / safe
    first = torch.minimum(a, b).amax(-1).clamp(min=0.0) + jitter * step  # (R,)
    last = torch.maximum(a, b).amin(-1)
    distances = (
        first[:, None] + torch.arange(settings.max_samples, device=origins.device, dtype=origins.dtype) * step
    )  # (R, K)
    points = (origins[:, None] + distances[..., None] * directions[:, None] - corner) / side  # (R, K, 3)
    cells = occupancy.shape[0]
    x, y, z = (points * cells).long().clamp(0, cells - 1).unbind(-1)
    hit = (distances < last[:, None]) & (occupancy[x, y, z] >= settings.occ_threshold)
    offsets = torch.cat([hit.new_zeros(1, dtype=torch.long), hit.sum(-1).cumsum(0)])
    return points[hit], distances[hit], offsets


def encode(positions: Tensor, table: Tensor, levels: GridLevels) -> Tensor:
    """Interpolate trilinearly in every level of a multi-resolution grid (Müller et al. 2022, section 3).

    Args:
        positions: (N, 3) in the unit cube; they receive no gradient.
        table: (entries, F) features at the vertices.
        levels: how the table is laid out.

    Returns:
        (N, L * F) features, level by level.
    """
    positions = positions.detach()
    parts = []
    for level, resolution in enumerate(levels.resolutions.tolist()):
        start, stop = int(levels.starts[level]), int(levels.starts[level + 1])
        scaled = positions * resolution
        cell = scaled.long().clamp(0, resolution - 1)  # (N, 3)
        fraction = scaled - cell
        total = torch.zeros((), dtype=table.dtype, device=table.device)
        for corner in range(8):
            bits = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1], device=positions.device)
            weight = torch.where(bits.bool(), fraction, 1.0 - fraction).prod(-1)  # (N,)
            entry = _table_index(cell + bits, resolution, stop - start, bool(levels.hashed[level]))
            total = total + weight[:, None] * table[start + entry]
        parts.append(total)
    return torch.cat(parts, -1)


def _table_index(vertices: Tensor, resolution: int, entries: int, hashed: bool) -> Tensor:
    x, y, z = vertices.unbind(-1)
    if not hashed:
        return (x * (resolution + 1) + y) * (resolution + 1) + z
    mixed = x * _HASH_PRIMES[0] ^ y * _HASH_PRIMES[1] ^ z * _HASH_PRIMES[2]
    return mixed & (entries - 1)


def mlp(inputs: Tensor, *weights: Tensor) -> Tensor:
    """Evaluate a multi-layer perceptron without biases, with ReLU between its layers.

    Args:
        inputs: (N, C0).
        weights: matrices (C0, C1), (C1, C2), ...

    Returns:
        (N, C_last), linear.
    """
    hidden = inputs
    for weight in weights[:-1]:
        hidden = torch.relu(hidden @ weight)
    return hidden @ weights[-1]


def composite_weights(density: Tensor, step: float, offsets: Tensor, early_stop_eps: float) -> Tensor:
    """Compute the weights of volume rendering (Max 1995).

    w_i = T_i (1 - exp(-density_i step)) with T_i = exp(-sum_{j<i} density_j step).

    Args:
        density: (N,) per world unit, non-negative.
        step: length that each sample stands for, world units.
        offsets: (R + 1,) samples of ray r are offsets[r] to offsets[r + 1].
        early_stop_eps: samples with a transmittance T_i below this have zero weight.

    Returns:
        (N,); a ray's weights sum to its opacity, at most 1.
    """
    thickness = density * step
    exact = thickness.double()  # one running sum over all rays: float32 would lose the small differences
    before = exact.cumsum(0) - exact  # (N,)
    starts = offsets[:-1].clamp(max=max(len(density) - 1, 0))
    counts = offsets[1:] - offsets[:-1]
    if len(density):
        before = before - before[starts].repeat_interleave(counts)
    transmittance = torch.exp(-before).to(density.dtype)
    return torch.where(
        transmittance < early_stop_eps, torch.zeros_like(transmittance), transmittance * -torch.expm1(-thickness)
    )


def accumulate(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """Sum weighted values along each ray.

    Args:
        weights: (N,).
        values: (N, C).
        offsets: (R + 1,) samples of ray r are offsets[r] to offsets[r + 1].

    Returns:
        (R, C).
    """
    rays = offsets.shape[0] - 1
    ray = torch.arange(rays, device=offsets.device).repeat_interleave(offsets[1:] - offsets[:-1])
    total = torch.zeros(rays, values.shape[1], dtype=values.dtype, device=values.device)
    return total.index_add(0, ray, weights[:, None] * values)


@torch.no_grad()
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
    """Take one step of Adam (Kingma & Ba 2015) in place, except where the gradient is exactly zero.

    Grid entries that no sample touched keep their value and their moments (Müller et al. 2022, section 4).

    Args:
        parameter: any shape; updated.
        gradient: same shape.
        mean: running mean of the gradient; updated.
        square: running mean of its square; updated.
        count: step number, starting at 1.
        rate: learning rate.
        betas: decay rates of the two means.
        epsilon: added to the square root of the second mean.
    """
    touched = gradient != 0.0
    mean.copy_(torch.where(touched, betas[0] * mean + (1.0 - betas[0]) * gradient, mean))
    square.copy_(torch.where(touched, betas[1] * square + (1.0 - betas[1]) * gradient.square(), square))
    root = (square / (1.0 - betas[1] ** count)).sqrt() + epsilon
    change = rate / (1.0 - betas[0] ** count) * mean / root
    parameter.sub_(torch.where(touched, change, torch.zeros_like(change)))
