"""Fill policies that take rays when an experience is over: which rays are kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memory.ray_memories import WHEN_OVER, check_plain, held, levels, places_held, ray_memory, teacher_with, views_seen
from nerfcl.errors import NerfclError
from nerfcl.memory.fill import FILLS, Candidates, Fill, Teacher
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.scenes.scene import Views
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.pixels import pixels_at
from nerfcl.streams.sampling import sample_by_region
from support.learning import same
from support.scenes import numbered_views, scene_of


@pytest.mark.parametrize("fill", WHEN_OVER)
def test_they_take_no_notice_of_what_is_trained_on(fill: str) -> None:
    memory, views = ray_memory(10, fill=fill), numbered_views(1)
    memory.open(views)
    memory.offer(pixels_at(views, torch.arange(4)), torch.ones(4))
    assert (len(memory), memory.nbytes) == (0, 0)
    with pytest.raises(TypeError, match="takes no rays during training"):
        FILLS[fill].select(torch.ones(4), 2)


# --- random ---


def test_random_keeps_every_ray_ever_offered_with_equal_probability() -> None:
    # 80, 160 and 240 rays are offered to a memory of 60: each stays with probability 1/8.
    runs, counts = 400, torch.zeros(30 * 16)
    for seed in range(runs):
        memory = ray_memory(60, seed)
        for first, count in ((0, 5), (5, 10), (15, 15)):
            memory.fill(numbered_views(count, first=first))
        counts += torch.bincount(torch.tensor(places_held(memory)), minlength=480)
    expected, variance = runs / 8, runs / 8 * 7 / 8
    squares = float(((counts - expected) ** 2 / variance).sum())
    assert 480 - 5 * (2 * 480) ** 0.5 < squares < 480 + 5 * (2 * 480) ** 0.5
    for part in (counts[:80], counts[80:240], counts[240:]):
        assert abs(float(part.mean()) - expected) < 5 * (variance / len(part)) ** 0.5


def test_random_gives_every_experience_its_part_of_what_was_offered() -> None:
    memory = ray_memory(40)
    for first, count, parts in ((0, 2, [32]), (2, 2, [20, 20]), (4, 4, [None, None, 20])):
        memory.fill(numbered_views(count, first=first))
        views = [view for view, _, _ in held(memory)]
        bounds = [range(0, 2), range(2, 4), range(4, 8)][: len(parts)]
        for experience, part in zip(bounds, parts, strict=True):
            assert part is None or sum(view in experience for view in views) == part
        assert len(memory) == min(40, memory.offered)


# --- uniform ---


def test_uniform_keeps_every_kth_ray_and_then_every_kth_of_those() -> None:
    memory = ray_memory(12, fill="uniform")
    memory.fill(numbered_views(3))
    assert places_held(memory) == list(range(0, 48, 4))
    memory.fill(numbered_views(3, first=3))
    assert places_held(memory) == list(range(0, 96, 8))
    odd = ray_memory(5, fill="uniform")
    odd.fill(numbered_views(1))
    assert places_held(odd) == [0, 3, 6, 9, 12]


# --- topk ---


def test_topk_keeps_exactly_the_highest_losses_of_each_part() -> None:
    memory = ray_memory(30, fill="topk")
    first, second = levels(80, 1), levels(80, 2)
    memory.fill(numbered_views(5), teacher_with(first))
    assert sorted(places_held(memory)) == sorted(first.topk(30).indices.tolist())
    memory.fill(numbered_views(5, first=5), teacher_with(second))
    expected = first.topk(15).indices.tolist() + (80 + second.topk(15).indices).tolist()
    assert sorted(places_held(memory)) == sorted(expected)
    views_seen(memory.draw(30))


# --- contrast ---


def test_contrast_keeps_pixels_in_proportion_to_their_contrast_and_a_few_flat_ones() -> None:
    # Half of each image is flat, half a chequerboard: neighbourhoods weigh 0 or c, mean c / 2 but for the seam, so that
    # a flat pixel is kept with 0.025 / (0.025 + 1.025) = 2.4 % of the draws.
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 200
    board[:, :16] = 100
    images = board.byte()[None, :, :, None].repeat(2, 1, 1, 3)
    views = dataclasses.replace(numbered_views(2, width=32, height=32), images=images)
    flat = kept = 0
    for seed in range(200):
        memory = ray_memory(100, seed, fill="contrast")
        memory.fill(views)
        memory.fill(views)
        assert len(memory) == 100
        columns = memory.state_dict()["pixels"] % 32
        flat += int((columns < 15).sum())
        kept += len(columns)
    assert abs(flat / kept - 0.024) < 5 * (0.024 / kept) ** 0.5 + 0.002


# --- reservoir ---


def test_a_reservoir_holds_every_ray_ever_offered_with_equal_probability() -> None:
    # 16, 80, 128 and 240 rays are offered to a memory of 60: each is held with probability 1/4 at the end.
    runs, counts = 400, torch.zeros(240)
    for seed in range(runs):
        memory = ray_memory(60, seed, fill="reservoir")
        for first, count in ((0, 1), (1, 4), (5, 3), (8, 7)):
            memory.fill(numbered_views(count, first=first))
            assert len(memory) == min(60, memory.offered)
        counts += torch.bincount(torch.tensor(places_held(memory)), minlength=240)
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
        memory, first = ray_memory(20, seed, fill="reservoir"), 0
        for count in (*before, 2):
            memory.fill(numbered_views(count, first=first))
            first += count
        taken.append(sum(view >= 3 for view, _, _ in held(memory)))
        assert memory.replaced == taken[-1]
    mean, variance = 20 * 32 / 80, 20 * 0.4 * 0.6 * (80 - 20) / (80 - 1)
    assert abs(np.mean(taken) - mean) < 5 * (variance / 500) ** 0.5
    assert 0.75 * variance < np.var(taken) < 1.25 * variance  # that of equal parts is 0


def test_a_reservoir_goes_on_after_thousands_of_millions_of_rays() -> None:
    # Two minutes of video at 640 x 480; numpy's own hypergeometric numbers end at a thousand million.
    memory = ray_memory(60_000, fill="reservoir")
    memory.fill(numbered_views(40, width=40, height=40))
    memory.offered = 3_000_000_000 - 160_000
    memory.fill(numbered_views(100, first=40, width=40, height=40))
    assert memory.offered == 3_000_000_000
    arrived = sum(view >= 40 for view, _, _ in held(memory))
    assert abs(arrived - 60_000 * 160_000 / 3e9) < 5 * 3.2**0.5 + 1
    assert len(memory) == 60_000


# --- loss-grid ---


def test_regions_get_rays_in_proportion_to_their_mean_losses() -> None:
    # 8 x 12 pixels, 2 x 2 regions of 4 x 6: mean losses 1, 2, 3 and 4, so 2, 4, 6 and 8 of 20 rays.
    losses = torch.zeros(1, 8, 12)
    losses[0, :4, :6], losses[0, :4, 6:] = 1.0, 2.0
    losses[0, 4:, :6] = 3.0
    losses[0, 4:, 6:9], losses[0, 4:, 9:] = 8.0, 0.0  # a mean of 4
    drawn = sample_by_region(losses, 2, 20, torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) == 20
    row, column = drawn // 12, drawn % 12
    counts = [int(((row // 4 == r) & (column // 6 == c)).sum()) for r in (0, 1) for c in (0, 1)]
    assert counts == [2, 4, 6, 8]
    assert (column[(row >= 4) & (column >= 6)] >= 9).any(), "within a region the losses do not matter"


def test_pixels_of_a_region_are_equally_likely() -> None:
    losses, generator, counts = torch.ones(1, 8, 8), torch.Generator().manual_seed(1), torch.zeros(64)
    for _ in range(600):
        counts[sample_by_region(losses, 2, 16, generator)] += 1
    assert counts.view(2, 4, 2, 4).sum((1, 3)).tolist() == [[2400.0] * 2] * 2
    assert float(((counts - 150) ** 2 / (600 * 0.25 * 0.75)).sum()) < 64 + 5 * 128**0.5


@given(st.lists(st.floats(0.0, 1e3), min_size=16, max_size=16), st.integers(1, 2048))
def test_never_more_rays_than_asked_for_and_all_of_them_where_there_is_room(means: list[float], count: int) -> None:
    losses = torch.tensor(means).view(1, 4, 1, 4, 1).expand(-1, -1, 48, -1, 48).reshape(1, 192, 192)
    drawn = sample_by_region(losses, 4, count, torch.Generator().manual_seed(0))
    assert len(drawn) == len(set(drawn.tolist())) == count
    region = drawn // 192 // 48 * 4 + drawn % 192 // 48
    total = sum(means)
    expected = torch.tensor([mean / total if total > 0.0 else 1 / 16 for mean in means]) * count
    assert ((torch.bincount(region, minlength=16) - expected).abs() <= 1.0 + 1e-3).all()


def test_the_loss_grid_takes_2048_rays_of_every_eighth_frame() -> None:
    memory = ray_memory(None, fill="loss-grid")
    views = numbered_views(18, width=64, height=64)
    losses = torch.zeros(18, 64, 64)
    losses[:, :16, :16] = 3.0  # the first of 16 regions, of 256 pixels
    losses[:, 48:, 48:] = 1.0  # the last
    losses[8] = 1.0  # all alike: 128 of each
    memory.fill(views, teacher_with(losses))
    rays = held(memory)
    by_view = {view: [(r // 16, c // 16) for v, r, c in rays if v == view] for view in {v for v, _, _ in rays}}
    assert by_view.keys() == {0, 8, 16}
    for view in (0, 16):  # three quarters of 2048 do not fit into the region
        assert sorted(set(by_view[view])) == [(0, 0), (3, 3)]
        assert [by_view[view].count(region) for region in ((0, 0), (3, 3))] == [256, 256]
    assert {region: by_view[8].count(region) for region in set(by_view[8])} == {
        (r, c): 128 for r in range(4) for c in range(4)
    }
    assert memory.offered == len(memory) == 512 * 2 + 2048


def test_the_loss_grid_gives_equal_parts_where_room_is_short() -> None:
    memory = ray_memory(1000, fill="loss-grid")
    for first in (0, 8):
        memory.fill(numbered_views(8, first=first, width=64, height=64), teacher_with(torch.ones(8, 64, 64)))
        assert len(memory) == 1000
    assert sorted(view for view, _, _ in held(memory)) == [0] * 500 + [8] * 500


# --- a further policy ---


class FirstRow(Fill):
    """Of the first row of each image the rays of lowest loss."""

    needs_losses = True

    def offers(self, views: Views) -> tuple[int, int]:
        return len(views), len(views) * views.width

    def candidates(self, views: Views, teacher: Teacher, generator: torch.Generator) -> Candidates:
        indices = torch.arange(views.pixels).view(len(views), -1)[:, : views.width].flatten()
        output = teacher(indices)
        return Candidates(indices, output.losses, output)

    def take(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        assert candidates.scores is not None
        return candidates.scores.argsort()[:count]


def test_a_further_policy_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NerfclError, match="fill='first-row': must be one of"):
        RayMemorySettings(fill="first-row")
    monkeypatch.setitem(FILLS, "first-row", FirstRow())
    settings = RayMemorySettings(rays=6, fill="first-row")
    check_plain(settings, "replay:memory-rays=6,memory-fill=first-row")
    memory = RayMemory(settings, torch.Generator().manual_seed(0))
    losses = levels(48, 3)
    memory.fill(numbered_views(3), teacher_with(losses))
    first_rows = [view * 16 + column for view in range(3) for column in range(4)]
    lowest = sorted(first_rows, key=lambda place: float(losses[place]))[:6]
    assert sorted(places_held(memory)) == sorted(lowest)
    assert memory.offered == 12
    assert memory.nbytes == 6 * 13 + 76 * len({place // 16 for place in lowest})
    twin = RayMemory(settings, torch.Generator())
    twin.load_state_dict(memory.state_dict())
    for each in (memory, twin):
        each.fill(numbered_views(3, first=3), teacher_with(losses))
        assert len(held(each)) == 6
    assert same(memory.state_dict(), twin.state_dict())

    # Budgets follow what the policy offers.
    stream = make_trajectory(scene_of(numbered_views(6, width=12, height=12)), "file", 2)
    assert settings.bytes_of_past(stream) == 4 * (12 * 13 + 76)
