"""Memories of a stream: what is kept while nobody says where a task ends, against twins in plain Python."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.memory.rays import FILLS, STREAMING, MemorySettings, RayMemory, Recall, Recalled
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.sampling import draw_by_region


def views_from(first: int, count: int, width: int = 4, height: int = 4) -> Views:
    """Views number `first` and on: a pixel's colour is its (view, row, column), its pose's x the view."""
    numbers = torch.arange(first, first + count)
    view, row, column = torch.meshgrid(numbers, torch.arange(height), torch.arange(width), indexing="ij")
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, 0, 3] = numbers.float()
    intrinsics = torch.stack([100.0 + numbers, 200.0 + numbers, 300.0 + numbers, 400.0 + numbers], -1)
    return Views(torch.stack([view, row, column], -1).byte(), poses, intrinsics, tuple(map(str, numbers.tolist())))


def memory(capacity: int | None, fill: str, seed: int = 0, **knobs: Any) -> RayMemory:
    return RayMemory(MemorySettings(capacity, fill, **knobs), torch.Generator().manual_seed(seed))


def recall_of(losses: Tensor) -> Recall:
    return lambda indices: Recalled(torch.zeros(len(indices), 3, dtype=torch.uint8), losses.flatten()[indices])


def held(full: RayMemory) -> list[tuple[int, ...]]:
    """The (view, row, column) of every ray held, after comparing its frame and pixel with its colour."""
    state = full.state_dict()
    frames = state["frames"].long()
    rays = state["colours"].long()
    width = state["sizes"][frames][:, 0].long()
    assert torch.equal(state["poses"][frames][:, 0, 3].long(), rays[:, 0])
    assert torch.equal(state["intrinsics"][frames][:, 2].long() - 300, rays[:, 0])
    assert torch.equal(state["pixels"].long() // width, rays[:, 1])
    assert torch.equal(state["pixels"].long() % width, rays[:, 2])
    found = [tuple(ray) for ray in rays.tolist()]
    assert len(set(found)) == len(found) == len(full), "no ray twice"
    return found


# --- reservoir ---


def test_a_reservoir_holds_every_ray_ever_offered_with_equal_probability() -> None:
    # 16, 80, 128 and 240 rays are offered to a memory of 60: each is held with probability 1/4 at the end.
    runs, counts = 400, torch.zeros(240)
    for seed in range(runs):
        full = memory(60, "reservoir", seed)
        for first, count in ((0, 1), (1, 4), (5, 3), (8, 7)):
            full.fill(views_from(first, count))
            assert len(full) == min(60, full.offered)
        number = torch.tensor([view * 16 + row * 4 + column for view, row, column in held(full)])
        counts += torch.bincount(number, minlength=240)
    variance = runs * 0.25 * 0.75
    squares = float(((counts - runs / 4) ** 2 / variance).sum())
    assert 240 - 5 * 480**0.5 < squares < 240 + 5 * 480**0.5
    for part in (counts[:16], counts[16:80], counts[80:128], counts[128:]):
        assert abs(float(part.mean()) - runs / 4) < 5 * (variance / len(part)) ** 0.5


@pytest.mark.parametrize("before", [(3,), (1, 2)])
def test_how_many_rays_a_reservoir_takes_varies_as_in_a_draw_without_replacement(before: tuple[int, ...]) -> None:
    # 48 rays, then 32: of a sample of 20 from 80, the number of the last 32 is hypergeometric.
    taken = []
    for seed in range(500):
        full, first = memory(20, "reservoir", seed), 0
        for count in (*before, 2):
            full.fill(views_from(first, count))
            first += count
        taken.append(sum(view >= 3 for view, _, _ in held(full)))
        assert full.replaced == taken[-1]
    mean, variance = 20 * 32 / 80, 20 * 0.4 * 0.6 * (80 - 20) / (80 - 1)
    assert abs(np.mean(taken) - mean) < 5 * (variance / 500) ** 0.5
    assert 0.75 * variance < np.var(taken) < 1.25 * variance  # that of equal shares is 0


def test_a_reservoir_goes_on_after_thousands_of_millions_of_rays() -> None:
    # Two minutes of video at 640 x 480; numpy's own hypergeometric numbers end at a thousand million.
    full = memory(60_000, "reservoir")
    full.fill(views_from(0, 40, 40, 40))
    full.offered = 3_000_000_000 - 160_000
    full.fill(views_from(40, 100, 40, 40))
    assert full.offered == 3_000_000_000
    arrived = sum(view >= 40 for view, _, _ in held(full))
    assert abs(arrived - 60_000 * 160_000 / 3e9) < 5 * 3.2**0.5 + 1
    assert len(full) == 60_000


# --- equal shares ---


def test_random_gives_every_chunk_the_share_of_what_it_offered() -> None:
    full = memory(40, "random")
    for first, count, shares in ((0, 2, [32]), (2, 2, [20, 20]), (4, 4, [None, None, 20])):
        full.fill(views_from(first, count))
        views = [view for view, _, _ in held(full)]
        bounds = [range(0, 2), range(2, 4), range(4, 8)][: len(shares)]
        for chunk, share in zip(bounds, shares, strict=True):
            assert share is None or sum(view in chunk for view in views) == share
        assert len(full) == min(40, full.offered)


def test_everything_is_kept_without_a_capacity() -> None:
    for fill in ("random", "reservoir"):
        full = memory(None, fill)
        for first in range(0, 6, 2):
            full.fill(views_from(first, 2))
        assert sorted(held(full)) == [(v, r, c) for v in range(6) for r in range(4) for c in range(4)]
        assert full.replaced == 0


# --- highest and lowest ---


class Twin:
    """What `highest` and `lowest` shall do, ray by ray: the best `capacity` of what is held and what comes."""

    def __init__(self, capacity: int, sign: float) -> None:
        self.capacity, self.sign = capacity, sign
        self.losses: dict[tuple[int, int, int], float] = {}
        self.replaced = 0

    def offer(self, batch: dict[tuple[int, int, int], float]) -> None:
        self.losses.update({ray: loss for ray, loss in batch.items() if ray in self.losses})
        new = {ray: loss for ray, loss in batch.items() if ray not in self.losses}
        best = sorted({**self.losses, **new}.items(), key=lambda item: -self.sign * item[1])[: self.capacity]
        self.replaced = sum(ray not in dict(best) for ray in self.losses)
        self.losses = dict(best)


def distinct(seed: int) -> Iterator[float]:
    """Different losses that bfloat16 holds exactly, in random order: no ties."""
    generator = torch.Generator().manual_seed(seed)
    values = [(1.0 + m / 128.0) * 2.0**e for e in range(-40, 1) for m in range(128)]
    yield from (values[i] for i in torch.randperm(len(values), generator=generator).tolist())


def batch_of(views: Views, first: int, places: list[int], losses: list[float], past: int = 0) -> Any:
    """The pixels at these places, followed by some of the past that must be left alone."""
    new = pixels_at(views, torch.tensor(places))
    pixels = new.with_past(pixels_at(views_from(90, 1), torch.arange(past))) if past else new
    rays = [(first + p // 16, p % 16 // 4, p % 4) for p in places]
    return pixels, torch.tensor([*losses, *[0.5] * past]), dict(zip(rays, losses, strict=True))


@pytest.mark.parametrize("fill", STREAMING)
@given(st.integers(0, 10_000), st.integers(1, 60), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_highest_and_lowest_keep_what_a_naive_twin_keeps(
    fill: str, seed: int, capacity: int, chunks: list[int]
) -> None:
    rng, losses, first = np.random.default_rng(seed), distinct(seed), 0
    full, twin = memory(capacity, fill, seed), Twin(capacity, 1.0 if fill == "highest" else -1.0)
    for count in chunks:
        views = views_from(first, count)
        full.open(views)
        for _ in range(3):
            places = rng.choice(count * 16, rng.integers(1, 13), replace=False).tolist()
            pixels, errors, batch = batch_of(views, first, places, [next(losses) for _ in places], int(rng.integers(3)))
            full.offer(pixels, errors)
            twin.offer(batch)
            assert len(full) <= capacity
            kept = dict(zip(held(full), full.state_dict()["losses"].tolist(), strict=True))
            assert kept == twin.losses
            assert full.replaced == twin.replaced
        full.fill(views)
        assert set(held(full)) == set(twin.losses)
        assert full.frames == len({view for view, _, _ in twin.losses}), "cameras of frames without a ray are gone"
        first += count


def test_highest_by_hand() -> None:
    full, views = memory(3, "highest"), views_from(0, 1)
    full.open(views)
    full.offer(pixels_at(views, torch.tensor([0, 1, 2])), torch.tensor([0.5, 0.25, 0.75]))
    assert sorted(held(full)) == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]
    assert full.replaced == 0
    # 0 sinks below 1, so that 5 takes its place; 6 is too small.
    full.offer(pixels_at(views, torch.tensor([5, 6, 0])), torch.tensor([1.0, 0.0625, 0.125]))
    losses = full.state_dict()["losses"].tolist()
    assert dict(zip(held(full), losses, strict=True)) == {(0, 0, 1): 0.25, (0, 0, 2): 0.75, (0, 1, 1): 1.0}
    assert full.replaced == 1


def test_drawn_rays_have_the_cameras_and_colours_of_their_frames() -> None:
    full = memory(30, "highest", draw="weighted")
    for first in (0, 3):
        views = views_from(first, 3)
        full.open(views)
        full.offer(pixels_at(views, torch.arange(48)), torch.rand(48, generator=torch.Generator().manual_seed(first)))
        drawn = full.draw(25)
        rays = (drawn.colours * 255.0).round().long()
        assert torch.equal(drawn.colours, rays.float() / 255.0)
        assert torch.equal(drawn.poses[:, 0, 3].long(), rays[:, 0])
        assert torch.equal(drawn.rows, rays[:, 1])
        assert torch.equal(drawn.columns, rays[:, 2])
        full.fill(views)
    assert {view for view, _, _ in held(full)} > {4, 5}


def test_colours_are_exact_to_every_one_of_256_levels() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3).contiguous()
    views = Views(images, torch.eye(4)[None], torch.ones(1, 4), ("",))
    full = memory(None, "lowest")
    full.open(views)
    full.offer(pixels_at(views, torch.arange(256)), torch.rand(256))
    state = full.state_dict()
    assert torch.equal(state["colours"][:, 0].int(), state["pixels"])


def test_other_fills_take_no_notice_of_what_is_trained_on() -> None:
    for fill in set(FILLS) - set(STREAMING):
        full, views = memory(10, fill), views_from(0, 1)
        full.open(views)
        full.offer(pixels_at(views, torch.arange(4)), torch.ones(4))
        assert (len(full), full.nbytes) == (0, 0)


def test_soft_colours_and_streaming_fills_exclude_each_other() -> None:
    for fill in STREAMING:
        with pytest.raises(NerfclError, match=f"--soft-replay: not with --memory-fill {fill}"):
            MemorySettings(5, fill, soft=True)


# --- contrast ---


def test_contrast_keeps_pixels_in_proportion_to_their_contrast_and_a_few_flat_ones() -> None:
    # Half of each image is flat, half a chequerboard: neighbourhoods weigh 0 or c, mean c / 2 but for the seam, so that
    # a flat pixel is kept with 0.025 / (0.025 + 1.025) = 2.4 % of the draws.
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 200
    board[:, :16] = 100
    images = board.byte()[None, :, :, None].repeat(2, 1, 1, 3)
    views = replace(views_from(0, 2, 32, 32), images=images)
    flat = kept = 0
    for seed in range(200):
        full = memory(100, "contrast", seed)
        full.fill(views)
        full.fill(views)
        assert len(full) == 100
        columns = full.state_dict()["pixels"] % 32
        flat += int((columns < 15).sum())
        kept += len(columns)
    assert abs(flat / kept - 0.024) < 5 * (0.024 / kept) ** 0.5 + 0.002


# --- loss-grid ---


def test_regions_get_rays_in_proportion_to_their_mean_losses() -> None:
    # 8 x 12 pixels, 2 x 2 regions of 4 x 6: mean losses 1, 2, 3 and 4, so 2, 4, 6 and 8 of 20 rays.
    losses = torch.zeros(1, 8, 12)
    losses[0, :4, :6], losses[0, :4, 6:] = 1.0, 2.0
    losses[0, 4:, :6] = 3.0
    losses[0, 4:, 6:9], losses[0, 4:, 9:] = 8.0, 0.0  # a mean of 4
    drawn = draw_by_region(losses, 2, 20, torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) == 20
    row, column = drawn // 12, drawn % 12
    counts = [int(((row // 4 == r) & (column // 6 == c)).sum()) for r in (0, 1) for c in (0, 1)]
    assert counts == [2, 4, 6, 8]
    assert (column[(row >= 4) & (column >= 6)] >= 9).any(), "within a region the losses do not matter"


def test_pixels_of_a_region_are_equally_likely() -> None:
    losses, generator, counts = torch.ones(1, 8, 8), torch.Generator().manual_seed(1), torch.zeros(64)
    for _ in range(600):
        counts[draw_by_region(losses, 2, 16, generator)] += 1
    assert counts.view(2, 4, 2, 4).sum((1, 3)).tolist() == [[2400.0] * 2] * 2
    assert float(((counts - 150) ** 2 / (600 * 0.25 * 0.75)).sum()) < 64 + 5 * 128**0.5


@given(st.lists(st.floats(0.0, 1e3), min_size=16, max_size=16), st.integers(1, 2048))
def test_never_more_rays_than_asked_for_and_all_of_them_where_there_is_room(means: list[float], count: int) -> None:
    losses = torch.tensor(means).view(1, 4, 1, 4, 1).expand(-1, -1, 48, -1, 48).reshape(1, 192, 192)
    drawn = draw_by_region(losses, 4, count, torch.Generator().manual_seed(0))
    assert len(drawn) == len(set(drawn.tolist())) == count
    region = drawn // 192 // 48 * 4 + drawn % 192 // 48
    total = sum(means)
    expected = torch.tensor([mean / total if total > 0.0 else 1 / 16 for mean in means]) * count
    assert ((torch.bincount(region, minlength=16) - expected).abs() <= 1.0 + 1e-3).all()


def test_the_loss_grid_takes_2048_rays_of_every_eighth_frame() -> None:
    full = memory(None, "loss-grid")
    views = views_from(0, 18, 64, 64)
    losses = torch.zeros(18, 64, 64)
    losses[:, :16, :16] = 3.0  # the first of 16 regions, of 256 pixels
    losses[:, 48:, 48:] = 1.0  # the last
    losses[8] = 1.0  # all alike: 128 of each
    full.fill(views, recall_of(losses))
    rays = held(full)
    by_view = {view: [(r // 16, c // 16) for v, r, c in rays if v == view] for view in {v for v, _, _ in rays}}
    assert by_view.keys() == {0, 8, 16}
    for view in (0, 16):  # three quarters of 2048 do not fit into the region
        assert sorted(set(by_view[view])) == [(0, 0), (3, 3)]
        assert [by_view[view].count(region) for region in ((0, 0), (3, 3))] == [256, 256]
    assert {region: by_view[8].count(region) for region in set(by_view[8])} == {
        (r, c): 128 for r in range(4) for c in range(4)
    }
    assert full.offered == len(full) == 512 * 2 + 2048


def test_the_loss_grid_gives_equal_shares_where_room_is_short() -> None:
    full = memory(1000, "loss-grid")
    for first in (0, 8):
        full.fill(views_from(first, 8, 64, 64), recall_of(torch.ones(8, 64, 64)))
        assert len(full) == 1000
    assert sorted(view for view, _, _ in held(full)) == [0] * 500 + [8] * 500


# --- all of them ---


def test_median_age_by_hand() -> None:
    full = memory(None, "random")
    assert full.median_age == 0.0
    full.clock = 10
    full.fill(views_from(0, 1))  # 16 rays
    full.clock = 30
    full.fill(views_from(1, 2))  # 32 rays
    full.clock = 100
    assert full.median_age == 70.0
    full = memory(17, "random")
    full.clock = 4
    full.fill(views_from(0, 1))
    assert full.median_age == 0.0
    full.clock = 9
    assert full.median_age == 5.0


def test_frames_of_streaming_fills_are_born_when_their_chunk_begins() -> None:
    full, views = memory(9, "highest"), views_from(0, 1)
    full.clock = 5
    full.open(views)
    full.clock = 12
    full.offer(pixels_at(views, torch.arange(9)), torch.ones(9))
    assert full.median_age == 7.0


def act(full: RayMemory, fill: str, first: int, steps: range, log: list[Any]) -> None:
    """Some steps of a chunk of two frames; opened at step 0, filled at step 5."""
    views = views_from(first, 2)
    generator = torch.Generator().manual_seed(first)
    losses = torch.rand(6, 12, generator=generator)
    places = torch.stack([torch.randperm(32, generator=generator)[:12] for _ in range(6)])
    for step in steps:
        if step == 0:
            full.open(views)
        if full.fills and len(full):
            drawn: Pixels = full.draw(7)
            log.append(drawn.colours.tolist())
        full.clock += 1
        full.offer(pixels_at(views, places[step]), losses[step])
        if step == 5:
            full.fill(views, recall_of(torch.rand(2, 4, 4, generator=generator)))
        log.append((sorted(held(full)), full.nbytes, full.replaced, full.median_age, full.offered, full.fills))


@pytest.mark.parametrize("draw", ["random", "weighted"])
@pytest.mark.parametrize("capacity", [20, None])
@pytest.mark.parametrize("fill", FILLS)
def test_a_memory_goes_on_exactly_from_within_a_chunk(fill: str, capacity: int | None, draw: str) -> None:
    straight, resumed = memory(capacity, fill, 1, draw=draw), memory(capacity, fill, 99, draw=draw)
    for first in (0, 2):
        act(straight, fill, first, range(6), [])
    act(straight, fill, 4, range(3), [])
    saved = straight.state_dict()
    frozen = copy.deepcopy(saved)
    resumed.load_state_dict(saved)
    logs: list[list[Any]] = [[], []]
    for full, log in zip((straight, resumed), logs, strict=True):
        act(full, fill, 4, range(3, 6), log)
        act(full, fill, 6, range(6), log)
    assert logs[0] == logs[1]
    for name, part in saved.items():
        same = torch.equal(part, frozen[name]) if isinstance(part, Tensor) else part == frozen[name]
        assert same, f"{name}: a saved state stays as it was, whoever goes on from it"


@pytest.mark.parametrize("fill", [*FILLS])
def test_two_million_rays_take_less_than_32_megabytes(fill: str) -> None:
    # A tenth of it: 50 frames of 64 x 64 are 204,800 rays; a memory of 200,000.
    full, views = memory(200_000, fill), views_from(0, 50, 64, 64)
    full.open(views)
    full.offer(pixels_at(views, torch.arange(204_800)), torch.rand(204_800))
    full.fill(views, recall_of(torch.rand(50, 64, 64)))
    expected = 7 * 2048 if fill == "loss-grid" else 200_000
    assert len(full) == expected
    assert full.nbytes / expected * 2_000_000 < 32_000_000
    assert full.nbytes == expected * (13 if fill in ("topk", *STREAMING) else 11) + 76 * full.frames
