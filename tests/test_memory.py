from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nerfcl.memory import RayMemory
from nerfcl.pixels import Pixels, draw_pixels, pixels_at
from nerfcl.scenes.scene import Views


def views_from(first: int, count: int, width: int = 4, height: int = 4) -> Views:
    """Views number `first` and on: a pixel's colour is its (view, row, column), poses and intrinsics tell the view."""
    numbers = torch.arange(first, first + count)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    view = numbers[:, None, None].expand(-1, height, width)
    images = torch.stack([view, rows.expand_as(view), columns.expand_as(view)], -1).byte()
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, :3, :3] *= 1.0 + numbers[:, None, None] / 100.0
    poses[:, 0, 3] = numbers.float()
    poses[:, 1, 3] = -numbers.float()
    intrinsics = torch.stack([100.0 + numbers, 200.0 + numbers, 300.0 + numbers, 400.0 + numbers], -1)
    return Views(images, poses, intrinsics, tuple(f"v{i}" for i in numbers.tolist()))


def memory(capacity: int | None, seed: int = 0) -> RayMemory:
    return RayMemory(capacity, torch.Generator().manual_seed(seed))


def held(full: RayMemory) -> list[tuple[int, int, int]]:
    """The (view, row, column) of every ray held."""
    return [tuple(colour) for colour in full.state_dict()["colours"].tolist()]


def check_pixels_against_their_views(pixels: Pixels) -> Tensor:
    """Every pixel has the pose, intrinsics and place of the view that its colour names; those views' numbers."""
    levels = pixels.colours * 255.0
    assert pixels.colours.dtype == torch.float32
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0.0)
    view, row, column = levels.round().long().unbind(-1)
    assert torch.equal(row, pixels.rows)
    assert torch.equal(column, pixels.columns)
    assert (pixels.columns.dtype, pixels.rows.dtype) == (torch.int64, torch.int64)
    assert torch.equal(pixels.poses, views_from(0, 60, 1, 1).poses[view])
    assert torch.equal(pixels.intrinsics, torch.stack([view + 100.0 * i for i in (1, 2, 3, 4)], -1))
    return view


def test_pixels_at_are_row_major() -> None:
    views = views_from(7, 3, width=5, height=2)
    pixels = pixels_at(views, torch.tensor([0, 4, 5, 9, 10, 29]))
    assert check_pixels_against_their_views(pixels).tolist() == [7, 7, 7, 7, 8, 9]
    assert list(zip(pixels.rows.tolist(), pixels.columns.tolist(), strict=True)) == [
        (0, 0), (0, 4), (1, 0), (1, 4), (0, 0), (1, 4),
    ]  # fmt: skip
    assert pixels.new == len(pixels) == 6


def test_drawn_pixels_of_the_present_are_uniform() -> None:
    views = views_from(0, 3, width=4, height=2)
    pixels = draw_pixels(views, 24 * 500, torch.Generator().manual_seed(5))
    view = check_pixels_against_their_views(pixels)
    counts = torch.bincount(view * 8 + pixels.rows * 4 + pixels.columns, minlength=24).double()
    assert pixels.new == len(pixels)
    assert float(((counts - 500) ** 2 / 500).sum()) < 23 + 5 * (2 * 23) ** 0.5


def test_pixels_of_the_past_follow_those_of_the_present() -> None:
    new, past = pixels_at(views_from(1, 1), torch.tensor([3, 7])), pixels_at(views_from(2, 1), torch.tensor([0, 5, 9]))
    both = new.with_past(past)
    assert (len(both), both.new) == (5, 2)
    assert check_pixels_against_their_views(both).tolist() == [1, 1, 2, 2, 2]


@given(st.integers(0, 60), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 1000))
def test_capacity_is_never_exceeded_and_always_used(capacity: int, fills: list[int], seed: int) -> None:
    full = memory(capacity, seed)
    first = 0
    for count in fills:
        full.fill(views_from(first, count, width=3, height=2))
        first += count
        rays = held(full)
        assert len(full) == len(rays) == min(capacity, first * 6)
        assert len(set(rays)) == len(rays)  # no ray twice
        assert all(view < first and row < 2 and column < 3 for view, row, column in rays)


def test_unlimited_memory_keeps_everything() -> None:
    full = memory(None)
    full.fill(views_from(0, 2))
    full.fill(views_from(2, 3))
    everything = [(view, row, column) for view in range(5) for row in range(4) for column in range(4)]
    assert sorted(held(full)) == everything
    assert len(full) == 80


def test_capacity_as_large_as_what_is_offered_keeps_everything() -> None:
    full = memory(80)
    full.fill(views_from(0, 2))
    full.fill(views_from(2, 3))
    assert len(set(held(full))) == 80


def test_bytes_by_hand() -> None:
    full = memory(None)
    assert full.nbytes == 0
    full.fill(views_from(0, 3))
    # 48 rays of 4 + 4 + 3 bytes; 3 frames of a 3x4 pose and 4 intrinsics in float32 and a width in int32.
    assert full.nbytes == 48 * 11 + 3 * (12 * 4 + 4 * 4 + 4)


def test_frames_without_a_ray_are_not_kept() -> None:
    full = memory(1)
    full.fill(views_from(0, 6))
    full.fill(views_from(6, 6))
    assert full.nbytes == 11 + 68
    check_pixels_against_their_views(full.draw(4))
    few = memory(5, seed=4)
    few.fill(views_from(0, 30))
    frames = {view for view, _, _ in held(few)}
    assert few.nbytes == 5 * 11 + len(frames) * 68


@pytest.mark.parametrize("capacity", [None, 37, 3])
def test_drawn_rays_are_those_of_the_source_views(capacity: int | None) -> None:
    full = memory(capacity, seed=2)
    for first, count in ((0, 3), (3, 1), (4, 5)):
        full.fill(views_from(first, count, width=5, height=3))
        pixels = full.draw(200)
        assert (len(pixels), pixels.new) == (200, 0)
        view = check_pixels_against_their_views(pixels)
        drawn = set(zip(view.tolist(), pixels.rows.tolist(), pixels.columns.tolist(), strict=True))
        assert drawn <= set(held(full))


def test_colours_are_exact_to_the_image() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 16, 16, 3), generator=rng, dtype=torch.uint8)
    full = memory(None)
    full.fill(Views(images, torch.eye(4).repeat(2, 1, 1), torch.tensor([[1.0, 1, 1, 1], [2.0, 2, 2, 2]]), ("a", "b")))
    pixels = full.draw(2000)
    view = pixels.intrinsics[:, 0].long() - 1
    assert torch.equal(pixels.colours, images[view, pixels.rows, pixels.columns].float() / 255.0)


def test_every_ray_ever_offered_is_held_with_equal_probability() -> None:
    # 80, 160 and 240 rays are offered to a memory of 60: each stays with probability 1/8.
    runs, counts = 400, torch.zeros(30 * 16)
    for seed in range(runs):
        full = memory(60, seed)
        for first, count in ((0, 5), (5, 10), (15, 15)):
            full.fill(views_from(first, count))
        number = torch.tensor([view * 16 + row * 4 + column for view, row, column in held(full)])
        counts += torch.bincount(number, minlength=480)
    expected, variance = runs / 8, runs / 8 * 7 / 8
    assert abs(float(counts.mean()) - expected) < 1e-4
    squares = float(((counts - expected) ** 2 / variance).sum())
    assert 480 - 5 * (2 * 480) ** 0.5 < squares < 480 + 5 * (2 * 480) ** 0.5
    for part in (counts[:80], counts[80:240], counts[240:]):
        assert abs(float(part.mean()) - expected) < 5 * (variance / len(part)) ** 0.5


def test_draws_are_uniform_over_what_is_held() -> None:
    full = memory(50, seed=9)
    full.fill(views_from(0, 20))
    pixels = full.draw(50 * 400)
    view = check_pixels_against_their_views(pixels)
    _, counts = torch.unique(view * 16 + pixels.rows * 4 + pixels.columns, return_counts=True)
    assert len(counts) == 50
    assert float(((counts.double() - 400) ** 2 / 400).sum()) < 49 + 5 * (2 * 49) ** 0.5


def test_state_goes_on_exactly() -> None:
    straight = memory(40, seed=1)
    straight.fill(views_from(0, 4))
    straight.draw(10)
    resumed = memory(40, seed=77)
    saved = straight.state_dict()
    resumed.load_state_dict({name: part.clone() if isinstance(part, Tensor) else part for name, part in saved.items()})
    for full in (straight, resumed):
        full.fill(views_from(4, 3))
    assert straight.nbytes == resumed.nbytes
    assert held(straight) == held(resumed)
    first, second = straight.draw(100), resumed.draw(100)
    for part in ("poses", "intrinsics", "columns", "rows", "colours"):
        assert torch.equal(getattr(first, part), getattr(second, part))
    assert (resumed.fills, resumed.offered) == (2, 7 * 16)


def test_state_stays_as_it_was_when_the_memory_goes_on() -> None:
    full = memory(20)
    full.fill(views_from(0, 4))
    saved = full.state_dict()
    before = saved["colours"].clone()
    full.fill(views_from(4, 8))
    assert torch.equal(saved["colours"], before)
    assert len(saved["frames"]) == 20


def test_filling_leaves_the_views_alone() -> None:
    views = views_from(0, 3)
    images, poses = views.images.clone(), views.poses.clone()
    full = memory(None)
    full.fill(views)
    full.draw(5).colours.zero_()
    assert torch.equal(views.images, images)
    assert torch.equal(views.poses, poses)
