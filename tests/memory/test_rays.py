"""The memory of rays: its capacity, its bytes, what it hands out, and its state."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memory.ray_memories import (
    DURING_TRAINING,
    WHEN_OVER,
    WITH_LOSSES,
    held,
    levels,
    places_held,
    ray_memory,
    teacher_with,
    views_seen,
)
from nerfcl.errors import NerfclError
from nerfcl.memory.draw import DRAWS
from nerfcl.memory.fill import FILLS, TeacherOutput
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.streams.pixels import pixels_at
from support.learning import same
from support.scenes import numbered_views


@given(st.integers(1, 60), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 1000))
def test_capacity_is_never_exceeded_and_always_used(capacity: int, fills: list[int], seed: int) -> None:
    memory = ray_memory(capacity, seed)
    first = 0
    for count in fills:
        memory.fill(numbered_views(count, first=first, width=3, height=2))
        first += count
        rays = held(memory)
        assert len(memory) == min(capacity, first * 6)
        assert all(view < first and row < 2 and column < 3 for view, row, column in rays)


@pytest.mark.parametrize("capacity", [None, 80])
@pytest.mark.parametrize("fill", [fill for fill in WHEN_OVER if fill != "loss-grid"])
def test_everything_is_kept_where_there_is_room(fill: str, capacity: int | None) -> None:
    memory = ray_memory(capacity, fill=fill)
    for first, count in ((0, 2), (2, 3)):
        memory.fill(numbered_views(count, first=first), teacher_with(levels(48)))
    assert sorted(places_held(memory)) == list(range(80))
    assert memory.replaced == 0


def test_a_resized_memory_holds_so_many_rays_from_the_next_fill_on() -> None:
    memory = ray_memory(40)
    memory.fill(numbered_views(4))
    memory.resize(10)
    assert len(memory) == 40
    memory.fill(numbered_views(4, first=4))
    assert len(held(memory)) == 10


# --- bytes ---


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("fill", FILLS)
def test_bytes_by_hand(fill: str, draw: str) -> None:
    memory, views = ray_memory(None, fill=fill, draw=draw), numbered_views(3)
    assert memory.nbytes == 0
    memory.open(views)
    memory.offer(pixels_at(views, torch.arange(48)), levels(48))
    memory.fill(views, teacher_with(levels(48)))
    memory.draw(5)
    frames = 1 if fill == "loss-grid" else 3
    # A ray is a frame and a pixel in int32 and three channels, and where it is needed a loss in bfloat16; a camera is a
    # 3x4 pose and 4 intrinsics in float32, and width, height and time of arrival in int32.
    each = 4 + 4 + 3 + (2 if fill in ("topk", "highest", "lowest") or draw in ("weighted", "topk") else 0)
    assert memory.nbytes == frames * (16 * each + 12 * 4 + 4 * 4 + 2 * 4 + 4)
    assert memory.settings.bytes_per_ray == each
    assert memory.settings.fill_policy.offers(views) == (frames, frames * 16)
    assert 2_000_000 * each + 1000 * 76 < 32_000_000, "two million rays of a long stream fit into 32 MB"


def test_frames_without_a_ray_are_not_kept() -> None:
    memory = ray_memory(1)
    memory.fill(numbered_views(6))
    memory.fill(numbered_views(6, first=6))
    assert memory.nbytes == 11 + 76
    views_seen(memory.draw(4))
    memory = ray_memory(5, seed=4)
    memory.fill(numbered_views(30))
    frames = {view for view, _, _ in held(memory)}
    assert memory.nbytes == 5 * 11 + len(frames) * 76
    assert memory.metrics()["frames_kept"] == len(frames)


# --- colours and losses ---


@pytest.mark.parametrize("capacity", [None, 37, 3])
def test_drawn_rays_are_those_of_the_source_views(capacity: int | None) -> None:
    memory = ray_memory(capacity, seed=2)
    for first, count in ((0, 3), (3, 1), (4, 5)):
        memory.fill(numbered_views(count, first=first, width=5, height=3))
        pixels = memory.draw(200)
        assert (len(pixels), pixels.new) == (200, 0)
        view = views_seen(pixels)
        assert set(zip(view.tolist(), pixels.rows.tolist(), pixels.columns.tolist(), strict=True)) <= set(held(memory))


def test_filling_and_drawing_leave_the_views_alone() -> None:
    views = numbered_views(3)
    before = copy.deepcopy(views)
    memory = ray_memory(None)
    memory.fill(views)
    memory.draw(5).colours.zero_()
    assert torch.equal(views.images, before.images)
    assert torch.equal(views.poses, before.poses)


@pytest.mark.parametrize("settings", WITH_LOSSES)
def test_losses_are_stored_to_bfloat16_beside_their_rays(settings: dict[str, Any]) -> None:
    memory, losses = ray_memory(20, **settings), torch.rand(96, generator=torch.Generator().manual_seed(1))
    memory.fill(numbered_views(3), teacher_with(losses[:48]))
    memory.fill(numbered_views(3, first=3), teacher_with(losses[48:]))
    places = torch.tensor(places_held(memory))
    assert memory.losses.dtype == torch.bfloat16
    assert torch.equal(memory.losses, losses[places].to(torch.bfloat16))
    assert (memory.losses.float() / losses[places] - 1.0).abs().max() <= 2**-8


def test_new_losses_are_nothing_to_a_memory_without_losses() -> None:
    memory = ray_memory(10)
    memory.fill(numbered_views(3))
    before = memory.nbytes
    memory.set_losses(torch.tensor([0, 3]), torch.tensor([1.0, 1.0]))
    assert memory.nbytes == before
    memory.draw(5)


@pytest.mark.parametrize(("settings", "asked"), [({"draw": "weighted"}, [10, 5]), ({"soft_replay": True}, [10, 5]),
                                                 ({"fill": "topk"}, [48, 48]), ({}, [])])  # fmt: skip
def test_a_teacher_renders_only_what_is_needed(settings: dict[str, Any], asked: list[int]) -> None:
    rendered: list[int] = []

    def teach(indices: Tensor) -> TeacherOutput:
        rendered.append(len(indices))
        return teacher_with(levels(48))(indices)

    memory = ray_memory(10, **settings)
    memory.fill(numbered_views(3), teach)
    memory.fill(numbered_views(3, first=3), teach)
    assert rendered == asked


@pytest.mark.parametrize("settings", [*WITH_LOSSES, {"soft_replay": True}])
def test_a_memory_that_needs_a_teacher_says_so(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        ray_memory(5, **settings).fill(numbered_views(1))


@pytest.mark.parametrize("fill", WHEN_OVER)
def test_soft_colours_are_stored_instead_of_the_true_ones(fill: str) -> None:
    memory = ray_memory(20, fill=fill, soft_replay=True)
    memory.fill(numbered_views(3), teacher_with(levels(48)))
    pixels = memory.draw(20)
    place = pixels.poses[:, 0, 3].long() * 16 + pixels.rows * 4 + pixels.columns
    expected = torch.stack([place, torch.full_like(place, 7), torch.full_like(place, 9)], -1) / 255.0
    torch.testing.assert_close(pixels.colours, expected, atol=1e-6, rtol=0.0)


# --- age ---


def test_median_age_by_hand() -> None:
    memory = ray_memory(None)
    assert memory.median_age == 0.0
    memory.clock = 10
    memory.fill(numbered_views(1))  # 16 rays
    memory.clock = 30
    memory.fill(numbered_views(2, first=1))  # 32 rays
    memory.clock = 100
    assert memory.metrics() == {"num_replacements": 0.0, "median_age": 70.0, "frames_kept": 3.0}


def test_frames_whose_rays_are_taken_during_training_are_born_when_their_experience_begins() -> None:
    memory, views = ray_memory(9, fill="highest"), numbered_views(1)
    memory.clock = 5
    memory.open(views)
    memory.clock = 12
    memory.offer(pixels_at(views, torch.arange(9)), torch.ones(9))
    assert memory.median_age == 7.0


# --- state ---


def learn(memory: RayMemory, first: int, steps: range, log: list[Any]) -> None:
    """Some of six steps of an experience of two views; it is opened at step 0, and over at step 5."""
    views, generator = numbered_views(2, first=first), torch.Generator().manual_seed(first)
    losses = torch.rand(6, 12, generator=generator)
    places = torch.stack([torch.randperm(32, generator=generator)[:12] for _ in range(6)])
    rendered = torch.rand(2, 4, 4, generator=generator)
    for step in steps:
        if step == 0:
            memory.open(views)
        if memory.fills and len(memory):
            drawn = memory.draw(7)
            log.append([drawn.colours.tolist(), drawn.poses.tolist(), drawn.indices.tolist()])
            memory.set_losses(drawn.indices, losses[step, :7])
        memory.clock += 1
        memory.offer(pixels_at(views, places[step]), losses[step])
        if step == 5:
            memory.fill(views, teacher_with(rendered))
        log.append((memory.nbytes, memory.metrics(), memory.offered, memory.fills))


DRAW_SETTINGS = [*({"draw": draw} for draw in DRAWS), {"draw": "weighted", "exploration": 0.5, "centre_weight": 0.25}]
ALL_SETTINGS = [
    {"fill": fill, **draw, "soft_replay": soft}
    for fill, draw, soft in itertools.product(FILLS, DRAW_SETTINGS, (False, True))
    if not (soft and fill in DURING_TRAINING)
]


@pytest.mark.parametrize("capacity", [20, None])
@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_every_combination_goes_on_exactly_from_within_an_experience(
    settings: dict[str, Any], capacity: int | None
) -> None:
    straight, resumed = ray_memory(capacity, 1, **settings), ray_memory(capacity, 99, **settings)
    for first in (0, 2):
        learn(straight, first, range(6), [])
        if settings["fill"] in WHEN_OVER:
            assert len(straight) == min(capacity or straight.offered, straight.offered)
        assert len(straight) <= (capacity or 64)
    learn(straight, 4, range(3), [])
    saved = straight.state_dict()
    frozen = copy.deepcopy(saved)
    resumed.load_state_dict(saved)
    logs: list[list[Any]] = [[], []]
    for memory, log in zip((straight, resumed), logs, strict=True):
        learn(memory, 4, range(3, 6), log)
        learn(memory, 6, range(6), log)
    assert logs[0] == logs[1]
    assert same(straight.state_dict(), resumed.state_dict())
    assert same(saved, frozen), "a saved state stays as it was, whoever goes on from it"


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rays": 0}, "rays=0: must be at least 1"),
        ({"rays": -3}, "rays=-3: must be at least 1"),
        ({"fill": "best"}, "fill='best': must be one of random, uniform"),
        ({"draw": "best"}, "draw='best': must be one of random, weighted, topk"),
        ({"draw": "weighted", "exploration": -0.1}, "exploration=-0.1: must lie between 0 and 1"),
        ({"draw": "weighted", "exploration": float("nan")}, "exploration=nan: must lie"),
        ({"draw": "weighted", "centre_weight": 1.5}, "centre_weight=1.5: must lie"),
        ({"exploration": 0.5}, "exploration=0.5: needs a draw policy with weights"),
        ({"draw": "topk", "centre_weight": 0.5}, "centre_weight=0.5: needs a draw policy with weights"),
        ({"fill": "highest", "soft_replay": True}, "soft_replay=True: not with fill 'highest'"),
        ({"fill": "lowest", "soft_replay": True}, "soft_replay=True: not with fill 'lowest'"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(NerfclError, match=message):
        RayMemorySettings(**settings)
