"""Samples along rays: by hand, as properties, and the compiled twin against the plain one."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from models.kernels.twins import TWINS, normal, uniform
from nerfcl.models.kernels import Samples, SamplingLayout, compiled, plain
from nerfcl.models.kernels.layout import Corner

CUBE = SamplingLayout((0.0, 0.0, 0.0), 1.0, step=0.25, max_samples=4, uniform=1.0, occ_threshold=0.5)
FULL = torch.ones(4, 4, 4)


def rays_of(samples: Samples) -> Tensor:
    """The ray of every sample."""
    return torch.arange(len(samples.counts)).repeat_interleave(samples.counts)


def sample_one(
    twin: ModuleType, origin: Corner, direction: Corner, occupancy: Tensor, jitter: float, layout: SamplingLayout
) -> Samples:
    samples = twin.sample(torch.tensor([origin]), torch.tensor([direction]), occupancy, torch.tensor([jitter]), layout)
    assert samples.offsets.dtype == torch.int64
    assert samples.offsets.tolist() == [0, len(samples.distances)]
    assert len(samples.lengths) == len(samples.positions) == len(samples.distances)
    return samples


# Origin, direction, jitter, layout -> distances, positions; every sample stands for one step.
EVEN = {
    "along an axis": (
        (-1.0, 0.6, 0.3), (1.0, 0.0, 0.0), 0.5, CUBE,
        [1.125, 1.375, 1.625, 1.875], [(x, 0.6, 0.3) for x in (0.125, 0.375, 0.625, 0.875)],
    ),
    "backwards": (
        (0.6, 0.3, 3.0), (0.0, 0.0, -1.0), 0.0, CUBE,
        [2.0, 2.25, 2.5, 2.75], [(0.6, 0.3, z) for z in (1.0, 0.75, 0.5, 0.25)],
    ),
    "in a cube elsewhere": (  # enters at y = 2, after 2 units
        (1.5, 0.0, 4.5), (0.0, 1.0, 0.0), 0.5, replace(CUBE, lower=(1.0, 2.0, 3.0), side=2.0, step=0.5),
        [2.25, 2.75, 3.25, 3.75], [(0.25, y, 0.75) for y in (0.125, 0.375, 0.625, 0.875)],
    ),
    "from inside": (
        (0.5, 0.5, 0.3), (0.0, -1.0, 0.0), 0.5, CUBE, [0.125, 0.375], [(0.5, y, 0.3) for y in (0.375, 0.125)],
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
@pytest.mark.parametrize("case", EVEN.values(), ids=EVEN.keys())
def test_even_samples_of_one_ray_by_hand(
    twin: ModuleType,
    case: tuple[Corner, Corner, float, SamplingLayout, list[float], list[Corner]],
) -> None:
    origin, direction, jitter, layout, distances, places = case
    samples = sample_one(twin, origin, direction, FULL, jitter, layout)
    assert samples.distances.tolist() == pytest.approx(distances)
    assert samples.lengths.tolist() == pytest.approx([layout.step] * len(distances))
    torch.testing.assert_close(samples.positions, torch.tensor(places).view(-1, 3))


@TWINS
def test_gaps_are_skipped_and_count_nothing(twin: ModuleType) -> None:
    occupancy = torch.zeros(4, 4, 4)
    occupancy[1, 2, 1] = 0.5  # as much as the threshold: occupied
    occupancy[3, 2, 1] = 0.7
    occupancy[2, 2, 1] = 0.49
    occupancy[0, 1, 2] = 1.0  # no cell of this ray: the axes are x, y, z
    start = ((-1.0, 0.6, 0.3), (1.0, 0.0, 0.0), occupancy)
    samples = sample_one(twin, *start, 0.5, CUBE)
    assert samples.distances.tolist() == pytest.approx([1.375, 1.875])
    assert samples.lengths.tolist() == pytest.approx([0.25, 0.25])
    alone = sample_one(twin, *start, 0.25, replace(CUBE, max_samples=1))  # half-way through the first cell
    assert alone.distances.tolist() == pytest.approx([1.375])
    assert alone.lengths.tolist() == pytest.approx([0.5])
    three = sample_one(twin, *start, 0.5, replace(CUBE, step=1 / 6, max_samples=3))  # the second stratum has a gap
    assert three.distances.tolist() == pytest.approx([1.25 + 1 / 12, 1.75, 1.75 + 1 / 6])
    assert three.lengths.tolist() == pytest.approx([1 / 6] * 3)


@TWINS
def test_samples_follow_the_light_that_cells_stop(twin: ModuleType) -> None:
    # Cells stop 1/2, 1/4 and 1/4 of the light: log 2 and log 2 a step, then a wall.
    occupancy = torch.zeros(4, 4, 4)
    occupancy[0], occupancy[1], occupancy[2] = math.log(2.0), math.log(2.0), 100.0
    start = ((-1.0, 0.6, 0.3), (1.0, 0.0, 0.0), occupancy)
    # Four parts in eighths of the way: the first cell is two of them, each of the others one.
    layout = replace(CUBE, step=0.25, max_samples=4, uniform=1e-6, occ_threshold=0.1)
    fine = replace(layout, step=0.125)
    occupancy[:3] /= 2.0  # the same light with steps half as long
    samples = sample_one(twin, *start, 0.5, fine)
    assert samples.distances.tolist() == pytest.approx([1.0625, 1.1875, 1.375, 1.625], abs=1e-4)
    assert samples.lengths.tolist() == pytest.approx([0.125, 0.125, 0.25, 0.25], abs=1e-4)
    # With as much spread evenly, probabilities are 5/12, 7/24 and 7/24; one sample at the median.
    half = sample_one(twin, *start, 0.5, replace(fine, uniform=0.5, max_samples=1))
    assert half.distances.tolist() == pytest.approx([1.25 + (0.5 - 5 / 12) / (7 / 24) * 0.25], abs=1e-4)
    assert half.lengths.tolist() == pytest.approx([0.75])


@TWINS
def test_cells_that_stop_nothing_are_sampled_evenly(twin: ModuleType) -> None:
    layout = replace(CUBE, uniform=0.01, occ_threshold=0.0)
    samples = sample_one(twin, (-1.0, 0.6, 0.3), (1.0, 0.0, 0.0), torch.zeros(4, 4, 4), 0.5, layout)
    assert samples.distances.tolist() == pytest.approx([1.125, 1.375, 1.625, 1.875])


@TWINS
def test_sampling_without_rays_and_without_samples(twin: ModuleType) -> None:
    none = torch.empty(0, 3)
    samples = twin.sample(none, none, FULL, torch.empty(0), CUBE)
    assert (samples.positions.shape, samples.lengths.shape, samples.offsets.tolist()) == ((0, 3), (0,), [0])
    origins, directions = torch.zeros(3, 3) - 1.0, torch.tensor([[0.6, 0.0, 0.8]]).expand(3, 3)
    samples = twin.sample(origins, -directions, FULL, torch.zeros(3), CUBE)
    assert (samples.positions.shape, samples.lengths.shape, samples.offsets.tolist()) == ((0, 3), (0,), [0, 0, 0, 0])


def some_rays(count: int, layout: SamplingLayout, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random rays, some from inside, some that miss, a third along an axis, and jitter."""
    middle = torch.tensor(layout.lower) + layout.side / 2
    origins = middle + normal(count, 3, seed=seed) * layout.side
    targets = middle + (uniform(count, 3, seed=seed + 1) - 0.5) * layout.side * 1.5
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    third = count // 3
    directions[:third] = torch.eye(3)[torch.arange(third) % 3] * (1 - 2 * (torch.arange(third) % 2))[:, None]
    return origins, directions, uniform(count, seed=seed + 2)


@pytest.mark.parametrize("bounds", [None, ((-1.2, -0.6, 0.25), (0.9, 1.5, 1.9))])
@pytest.mark.parametrize("occ_threshold", [0.0, 0.5, 0.9, 2.0])
@pytest.mark.parametrize(("most", "share"), [(1000, 1.0), (40, 0.2), (5, 0.5), (1, 0.01)])
def test_twins_agree_on_random_rays(
    most: int, share: float, occ_threshold: float, bounds: tuple[Corner, Corner] | None
) -> None:
    layout = SamplingLayout((-1.5, -1.0, 0.25), 2.5, 2.5 / 20, most, share, occ_threshold, bounds)
    occupancy = uniform(8, 8, 8, seed=7)
    origins, directions, jitter = some_rays(1500, layout, seed=11)
    one = compiled.sample(origins, directions, occupancy, jitter, layout)
    other = plain.sample(origins.double(), directions.double(), occupancy.double(), jitter.double(), layout)
    rounded = one.counts != other.counts  # where a ray's length is a whole number of steps
    assert rounded.float().mean() < 0.01
    assert (one.counts == 0).sum() > 20  # rays that miss, too
    if occ_threshold > 1.0:
        assert one.counts.max() == 0
        return
    assert one.counts.max() >= min(most, 3)
    mine, theirs = ~rounded.repeat_interleave(one.counts), ~rounded.repeat_interleave(other.counts)
    torch.testing.assert_close(one.distances[mine].double(), other.distances[theirs], atol=1e-4, rtol=0.0)
    torch.testing.assert_close(one.lengths[mine].double(), other.lengths[theirs], atol=1e-4, rtol=0.0)
    torch.testing.assert_close(one.positions[mine].double(), other.positions[theirs], atol=1e-4, rtol=0.0)


@TWINS
@pytest.mark.parametrize(("most", "share"), [(1000, 1.0), (12, 0.1)])
def test_samples_lie_on_their_rays_in_occupied_cells_and_stand_for_all_of_them(
    twin: ModuleType, most: int, share: float
) -> None:
    layout = SamplingLayout((-1.5, -1.0, 0.25), 2.5, 2.5 / 20, most, share, 0.5)
    origins, directions, jitter = some_rays(400, layout, seed=41)
    occupancy = uniform(5, 5, 5, seed=5) * 1.5
    samples = twin.sample(origins, directions, occupancy, jitter, layout)
    assert len(samples.distances) > 300
    ray = rays_of(samples)
    world = samples.positions * layout.side + torch.tensor(layout.lower)
    torch.testing.assert_close(world, origins[ray] + samples.distances[:, None] * directions[ray], atol=1e-5, rtol=1e-5)
    x, y, z = (samples.positions * 5).long().clamp(0, 4).unbind(-1)
    assert (occupancy[x, y, z] >= 0.5).float().mean() > 0.99  # but for those on a border
    assert ((samples.distances[1:] >= samples.distances[:-1]) | (ray[1:] != ray[:-1])).all()
    assert samples.lengths.min() > 0.0
    # The lengths of a ray sum to its length in occupied cells: many points on the ray tell it, too.
    along = torch.linspace(0.0, 12.0, 12_001)[1:] - 0.0005
    total = torch.zeros(400).index_add(0, ray, samples.lengths)
    for index in range(0, 400, 9):
        places = (origins[index] + along[:, None] * directions[index] - torch.tensor(layout.lower)) / layout.side * 5
        inside = ((places >= 0) & (places < 5)).all(-1)
        x, y, z = places.long().clamp(0, 4).unbind(-1)
        expected = ((occupancy[x, y, z] >= 0.5) & inside).sum().item() * 0.001
        assert total[index].item() == pytest.approx(expected, abs=0.01)


@TWINS
def test_no_ray_has_more_samples_than_steps_or_than_allowed(twin: ModuleType) -> None:
    layout = SamplingLayout((0.0, 0.0, 0.0), 1.0, 0.125, 6, 0.3, 0.5)
    origins, directions, jitter = some_rays(300, layout, seed=3)
    samples = twin.sample(origins, directions, FULL, jitter, layout)
    total = torch.zeros(300).index_add(0, rays_of(samples), samples.lengths)
    steps = torch.ceil(total / layout.step - 1e-3).clamp(max=6)
    assert ((samples.counts - steps).abs() <= (total / layout.step % 1 < 1e-2)).all()
    assert samples.counts.max() == 6
    assert samples.counts[total > 0].min() >= 1
