"""The hot loops in plain torch, for any device and dtype.

The compiled kernels have the same signatures; their values and gradients are tested against these.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nerfcl.models.kernels.layout import LINE, GridLevels, Samples, SamplingLayout

_HASH_PRIMES = (1, 2654435761, 805459861)


@torch.no_grad()
def sample(origins: Tensor, directions: Tensor, occupancy: Tensor, jitter: Tensor, layout: SamplingLayout) -> Samples:
    """Sample rays where an occupancy grid expects light to be stopped.

    The grid's optical thickness is taken to be constant within a cell. A share `uniform` of a ray's probability is
    spread evenly over its length in occupied cells; the rest is proportional to the light that each of them stops,
    T (1 - exp(-thickness)), with T the transmittance before it. As many strata of equal probability as there are
    samples get one sample each, at the quantile `jitter` of the stratum, and it stands for the stratum's length in
    occupied cells. Inverse transform sampling as in Mildenhall et al. 2020, section 5.2, from a grid instead of a
    coarse network.

    Args:
        origins: (R, 3) world units.
        directions: (R, 3) unit length.
        occupancy: (G, G, G) optical thickness of `layout.step` inside each cell.
        jitter: (R,) in [0, 1), where within its strata a ray is sampled.
        layout: where the cube lies, how many samples there are, and which cells are occupied.
    """
    cells = occupancy.shape[0]
    lower = torch.tensor(layout.lower, dtype=origins.dtype, device=origins.device)
    bounds = torch.tensor(layout.corners, dtype=origins.dtype, device=origins.device)  # (2, 3)
    scale = cells / layout.side
    safe = torch.where(directions.abs() < 1e-12, torch.full_like(directions, 1e-12), directions)
    a, b = (bounds[0] - origins) / safe, (bounds[1] - origins) / safe
    near = torch.minimum(a, b).amax(-1).clamp(min=0.0)  # (R,)
    far = torch.maximum(torch.maximum(a, b).amin(-1), near)
    start, along = (origins - lower) * scale, safe * scale  # (R, 3) in cells
    planes = (torch.arange(cells + 1, device=origins.device, dtype=origins.dtype)[:, None] - start[:, None]) / along[
        :, None
    ]  # (R, G + 1, 3) distances at which the rays cross from one layer of cells to the next
    inside = torch.minimum(torch.maximum(planes.flatten(1), near[:, None]), far[:, None])
    edges = torch.cat([near[:, None], inside, far[:, None]], -1).sort(-1).values  # (R, K + 1)
    middle = (edges[:, 1:] + edges[:, :-1]) / 2  # (R, K)
    x, y, z = (start[:, None] + middle[..., None] * along[:, None]).long().clamp(0, cells - 1).unbind(-1)
    lengths = edges[:, 1:] - edges[:, :-1]
    lengths = torch.where(occupancy[x, y, z] >= layout.occ_threshold, lengths, torch.zeros_like(lengths))

    thickness = occupancy[x, y, z].to(lengths.dtype) * lengths / layout.step
    stopped = torch.exp(thickness - thickness.cumsum(-1)) * -torch.expm1(-thickness)  # (R, K)
    total, length = stopped.sum(-1, keepdim=True), lengths.sum(-1, keepdim=True)  # (R, 1)
    even = lengths / length.clamp(min=1e-30)
    dark = total <= 1e-8
    share = torch.where(dark, torch.ones_like(total), torch.full_like(total, layout.uniform))
    probability = share * even + (1.0 - share) * stopped / total.clamp(min=1e-8)
    upper = probability.cumsum(-1)  # (R, K)
    length_before = lengths.cumsum(-1) - lengths

    count = torch.ceil(length[:, 0] / layout.step - 1e-3).clamp(1, layout.max_samples).long()
    count = torch.where(length[:, 0] > 0, count, torch.zeros_like(count))  # (R,)
    number = torch.arange(layout.max_samples, device=origins.device)
    parts = count.clamp(min=1)[:, None].to(lengths.dtype)
    whole = upper[:, -1:]

    def place(quantiles: Tensor) -> tuple[Tensor, Tensor]:
        """Find the segments that hold quantiles (R, S), and the fractions of the segments before them."""
        at = torch.searchsorted(upper, quantiles.contiguous(), right=True).clamp(max=upper.shape[1] - 1)
        inside = probability.gather(1, at)
        fraction = (quantiles - (upper.gather(1, at) - inside)) / inside.clamp(min=1e-30)
        return at, fraction.clamp(0.0, 1.0)

    at, fraction = place((number + jitter[:, None]) / parts * whole)
    distances = edges.gather(1, at) + fraction * lengths.gather(1, at)  # (R, S)
    at, fraction = place((number + 1) / parts * whole)
    length_until = length_before.gather(1, at) + fraction * lengths.gather(1, at)
    length_until = torch.where(number == count[:, None] - 1, length, length_until)
    stands_for = torch.diff(length_until, dim=-1, prepend=torch.zeros_like(length))

    kept = number < count[:, None]
    ray = torch.arange(len(origins), device=origins.device).repeat_interleave(count)
    distances, stands_for = distances[kept], stands_for[kept]
    positions = (origins[ray] + distances[:, None] * directions[ray] - lower) / layout.side
    return Samples(positions, distances, stands_for, torch.cat([count.new_zeros(1), count.cumsum(0)]))


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


def composite_weights(thickness: Tensor, offsets: Tensor, early_stop_eps: float) -> Tensor:
    """Compute the weights of volume rendering (Max 1995).

    w_i = T_i (1 - exp(-thickness_i)) with T_i = exp(-sum_{j<i} thickness_j).

    Args:
        thickness: (N,) optical thickness of each sample: density times the length it stands for, non-negative.
        offsets: (R + 1,) samples of ray r are offsets[r] to offsets[r + 1].
        early_stop_eps: samples with a transmittance T_i below this have zero weight.

    Returns:
        (N,); a ray's weights sum to its opacity, at most 1.
    """
    exact = thickness.double()  # one running sum over all rays: float32 would lose the small differences
    before = exact.cumsum(0) - exact  # (N,)
    starts = offsets[:-1].clamp(max=max(len(thickness) - 1, 0))
    counts = offsets[1:] - offsets[:-1]
    if len(thickness):
        before = before - before[starts].repeat_interleave(counts)
    transmittance = torch.exp(-before).to(thickness.dtype)
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


def new_moments(parameter: Tensor) -> Tensor:
    """Return zeros for the moments of `adam`, (lines, 2, LINE)."""
    return parameter.new_zeros(-(-parameter.numel() // LINE), 2, LINE, requires_grad=False)


@torch.no_grad()
def adam(
    parameter: Tensor,
    gradient: Tensor,
    moments: Tensor,
    count: int,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Take one step of Adam (Kingma & Ba 2015) in place, except where the gradient is exactly zero.

    Grid entries that no sample touched keep their value and their moments (Müller et al. 2022, section 4).

    Args:
        parameter: any shape; updated.
        gradient: same shape. Memory that is lent (see `GradientBuffers`) is given back.
        moments: (lines, 2, LINE) running means of the gradient and of its square, for each LINE numbers in turn: what a
            step needs together lies together. Updated; see `new_moments`.
        count: step number, starting at 1.
        rate: learning rate.
        betas: decay rates of the two means.
        epsilon: added to the square root of the second mean.
    """
    mean, square = split_moments(moments, parameter.shape)
    touched = gradient != 0.0
    mean = torch.where(touched, betas[0] * mean + (1.0 - betas[0]) * gradient, mean)
    square = torch.where(touched, betas[1] * square + (1.0 - betas[1]) * gradient.square(), square)
    root = (square / (1.0 - betas[1] ** count)).sqrt() + epsilon
    change = rate / (1.0 - betas[0] ** count) * mean / root
    parameter.sub_(torch.where(touched, change, torch.zeros_like(change)))
    moments.copy_(join_moments(mean, square))


def join_moments(mean: Tensor, square: Tensor) -> Tensor:
    """Lay out moments of any shape as `adam` takes them; see `split_moments`."""
    padding = (0, -mean.numel() % LINE)
    parts = [torch.nn.functional.pad(part.reshape(-1), padding).view(-1, LINE) for part in (mean, square)]
    return torch.stack(parts, 1)


def split_moments(moments: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return the running means of the gradient and of its square, in the parameter's shape."""
    mean, square = (moments[:, i].reshape(-1)[: shape.numel()].view(shape) for i in range(2))
    return mean, square
