"""Samples along rays: by hand, as properties, and the compiled twin against the plain one."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from models.kernels.twins import TWINS, normal, uniform
from nerfcl.models.kernels import MarchSettings, compiled, plain
from nerfcl.models.kernels.layout import Corner

CUBE = MarchSettings(lower=(0.0, 0.0, 0.0), side=1.0, step=0.25, occ_threshold=0.5)
FULL = torch.ones(4, 4, 4)


def counts_of(offsets: Tensor) -> list[int]:
    return (offsets[1:] - offsets[:-1]).tolist()


def rays_of(offsets: Tensor) -> Tensor:
    """The ray of every sample."""
    return torch.arange(len(offsets) - 1).repeat_interleave(offsets[1:] - offsets[:-1])


def march_one(
    twin: ModuleType, origin: Corner, direction: Corner, occupancy: Tensor, jitter: float, settings: MarchSettings
) -> tuple[Tensor, list[float]]:
    positions, distances, offsets = twin.march(
        torch.tensor([origin]), torch.tensor([direction]), occupancy, torch.tensor([jitter]), settings
    )
    assert offsets.dtype == torch.int64
    assert offsets.tolist() == [0, len(distances)]
    return positions, distances.tolist()


# Origin, direction, jitter, settings -> distances, positions.
ONE_RAY = {
    "along an axis": (
        (-1.0, 0.6, 0.3), (1.0, 0.0, 0.0), 0.5, CUBE,
        [1.125, 1.375, 1.625, 1.875], [(x, 0.6, 0.3) for x in (0.125, 0.375, 0.625, 0.875)],
    ),
    "backwards": (
        (0.6, 0.3, 3.0), (0.0, 0.0, -1.0), 0.0, CUBE,
        [2.0, 2.25, 2.5, 2.75], [(0.6, 0.3, z) for z in (1.0, 0.75, 0.5, 0.25)],
    ),
    "in a cube elsewhere": (  # enters at y = 2, after 2 units
        (1.5, 0.0, 4.5), (0.0, 1.0, 0.0), 0.5, MarchSettings((1.0, 2.0, 3.0), 2.0, 0.5, 0.5),
        [2.25, 2.75, 3.25, 3.75], [(0.25, y, 0.75) for y in (0.125, 0.375, 0.625, 0.875)],
    ),
    "from inside": (
        (0.5, 0.55, 0.3), (0.0, -1.0, 0.0), 0.5, CUBE, [0.125, 0.375], [(0.5, y, 0.3) for y in (0.425, 0.175)],
    ),
    "within a face of the cube": (
        (-1.0, 0.0, 0.3), (1.0, 0.0, 0.0), 0.5, CUBE,
        [1.125, 1.375, 1.625, 1.875], [(x, 0.0, 0.3) for x in (0.125, 0.375, 0.625, 0.875)],
    ),
    "along an edge of the cube": (
        (0.0, 0.0, 1.5), (0.0, 0.0, -1.0), 0.0, CUBE,
        [0.5, 0.75, 1.0, 1.25], [(0.0, 0.0, z) for z in (1.0, 0.75, 0.5, 0.25)],
    ),
    "within the face where the cube ends": ((-1.0, 1.0, 0.3), (1.0, 0.0, -0.0), 0.5, CUBE, [], []),
    "beside the cube, parallel to its side": ((-1.0, 1.2, 0.5), (1.0, 0.0, 0.0), 0.5, CUBE, [], []),
    "beside its other side": ((-1.0, -0.2, 0.5), (1.0, 0.0, 0.0), 0.5, CUBE, [], []),
    "away from it": ((-1.0, 0.5, 0.5), (-1.0, 0.0, 0.0), 0.5, CUBE, [], []),
    "past it": ((-1.0, 0.5, 0.5), (0.6, 0.8, 0.0), 0.5, CUBE, [], []),
    "from behind it": ((0.5, 0.5, 5.0), (0.0, 0.0, 1.0), 0.5, CUBE, [], []),
}  # fmt: skip


@TWINS
@pytest.mark.parametrize("case", ONE_RAY.values(), ids=ONE_RAY.keys())
def test_march_of_one_ray_by_hand(twin: ModuleType, case: tuple[Any, ...]) -> None:
    origin, direction, jitter, settings, expected, places = case
    positions, distances = march_one(twin, origin, direction, FULL, jitter, settings)
    assert distances == pytest.approx(expected)
    torch.testing.assert_close(positions, torch.tensor(places).view(-1, 3))


@TWINS
def test_march_skips_cells_below_the_threshold(twin: ModuleType) -> None:
    occupancy = torch.zeros(4, 4, 4)
    occupancy[1, 2, 1] = 0.5  # as much as the threshold: occupied
    occupancy[3, 2, 1] = 0.7
    occupancy[2, 2, 1] = 0.49
    occupancy[0, 1, 2] = 1.0  # no cell of this ray: the axes are x, y, z
    _, distances = march_one(twin, (-1.0, 0.6, 0.3), (1.0, 0.0, 0.0), occupancy, 0.5, CUBE)
    assert distances == pytest.approx([1.375, 1.875])


@TWINS
def test_march_without_rays_and_without_samples(twin: ModuleType) -> None:
    none = torch.empty(0, 3)
    positions, distances, offsets = twin.march(none, none, FULL, torch.empty(0), CUBE)
    assert (positions.shape, distances.shape, offsets.tolist()) == ((0, 3), (0,), [0])
    origins, directions = torch.zeros(3, 3) - 1.0, torch.tensor([[0.6, 0.0, 0.8]]).expand(3, 3).contiguous()
    positions, distances, offsets = twin.march(origins, -directions, FULL, torch.zeros(3), CUBE)
    assert (positions.shape, distances.shape, offsets.tolist()) == ((0, 3), (0,), [0, 0, 0, 0])


def clear_rays(count: int, settings: MarchSettings, cells: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random rays, some from inside, some that miss, no sample of which lies within rounding of a cell's border."""
    lower = torch.tensor(settings.lower)
    middle = lower + settings.side / 2
    origins = middle + normal(count, 3, seed=seed) * settings.side
    targets = middle + (uniform(count, 3, seed=seed + 1) - 0.5) * settings.side * 1.5
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    third = count // 3
    directions[:third] = torch.eye(3)[torch.arange(third) % 3] * (1 - 2 * (torch.arange(third) % 2))[:, None]
    jitter = uniform(count, seed=seed + 2)

    o, d = origins.double(), directions.double()
    safe = torch.where(d == 0, torch.full_like(d, 1e-12), d)
    bounds = torch.tensor(settings.corners, dtype=torch.float64)
    a, b = (bounds[0] - o) / safe, (bounds[1] - o) / safe
    first = torch.minimum(a, b).amax(-1).clamp(min=0) + jitter.double() * settings.step
    last = torch.maximum(a, b).amin(-1)
    along = first[:, None] + torch.arange(settings.max_samples).double() * settings.step
    place = (o[:, None] + along[..., None] * d[:, None] - lower) / settings.side * cells
    away = ((place - place.round()).abs() > 1e-3).all(-1) | (along > last[:, None] + settings.step)
    steps = (last - first) / settings.step
    clear = away.all(-1) & ((steps - steps.round()).abs() > 1e-3)
    assert clear.sum() > count // 4
    return origins[clear].contiguous(), directions[clear].contiguous(), jitter[clear].contiguous()


@pytest.mark.parametrize("bounds", [None, ((-1.2, -0.6, 0.25), (0.9, 1.5, 1.9))])
@pytest.mark.parametrize("occ_threshold", [0.0, 0.5, 0.9, 2.0])
def test_march_twins_agree_on_random_rays(occ_threshold: float, bounds: tuple[Corner, Corner] | None) -> None:
    settings = MarchSettings((-1.5, -1.0, 0.25), 2.5, 2.5 / 20, occ_threshold, bounds)
    occupancy = uniform(8, 8, 8, seed=7)
    origins, directions, jitter = clear_rays(1500, settings, 8, seed=11)
    one = compiled.march(origins, directions, occupancy, jitter, settings)
    other = plain.march(origins, directions, occupancy, jitter, settings)
    assert torch.equal(one[2], other[2])
    counts = counts_of(other[2])
    if occ_threshold <= 0.9:
        assert max(counts) > (10 if occ_threshold < 0.9 else 2)
        assert counts.count(0) > 20  # rays that miss, too
    else:
        assert sum(counts) == 0
    torch.testing.assert_close(one[0], other[0], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(one[1], other[1], atol=1e-5, rtol=1e-6)


@TWINS
def test_a_full_occupancy_grid_equals_none(twin: ModuleType) -> None:
    origins, directions, jitter = clear_rays(300, CUBE, 4, seed=23)
    full = twin.march(origins, directions, 0.5 + uniform(4, 4, 4), jitter, CUBE)
    no_threshold = MarchSettings(CUBE.lower, CUBE.side, CUBE.step, occ_threshold=0.0)
    none = twin.march(origins, directions, torch.zeros(1, 1, 1), jitter, no_threshold)
    assert len(full[1]) > 100
    for a, b in zip(full, none, strict=True):
        torch.testing.assert_close(a, b)


@TWINS
def test_samples_of_a_partly_empty_grid_are_those_of_a_full_one_in_occupied_cells(twin: ModuleType) -> None:
    origins, directions, jitter = clear_rays(300, CUBE, 4, seed=31)
    occupancy = uniform(4, 4, 4, seed=5)
    positions, distances, offsets = twin.march(origins, directions, FULL, jitter, CUBE)
    x, y, z = (positions * 4).long().unbind(-1)
    kept = occupancy[x, y, z] >= CUBE.occ_threshold
    partly = twin.march(origins, directions, occupancy, jitter, CUBE)
    torch.testing.assert_close(partly[0], positions[kept])
    torch.testing.assert_close(partly[1], distances[kept])
    assert counts_of(partly[2]) == torch.bincount(rays_of(offsets)[kept], minlength=len(origins)).tolist()
    assert 0 < len(partly[1]) < len(distances)


@TWINS
def test_samples_lie_on_their_rays_inside_the_cube_one_step_apart(twin: ModuleType) -> None:
    settings = MarchSettings((-1.5, -1.0, 0.25), 2.5, 2.5 / 20, 0.0)
    origins, directions, jitter = clear_rays(200, settings, 4, seed=41)
    positions, distances, offsets = twin.march(origins, directions, FULL, jitter, settings)
    ray = rays_of(offsets)
    world = positions * settings.side + torch.tensor(settings.lower)
    torch.testing.assert_close(world, origins[ray] + distances[:, None] * directions[ray], atol=1e-5, rtol=1e-5)
    assert positions.min() > -1e-5
    assert positions.max() < 1 + 1e-5
    gaps = (distances[1:] - distances[:-1])[ray[1:] == ray[:-1]]
    torch.testing.assert_close(gaps, torch.full_like(gaps, settings.step), atol=1e-5, rtol=0.0)
