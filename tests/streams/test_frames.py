"""Orders of frames and their chunks, against searches by brute force."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerfcl.errors import NerfclError
from nerfcl.scenes.scene import Views
from nerfcl.streams.frames import frames_in_order, make_trajectory
from support.scenes import Position, ring_pose, scene_of, views_at


def nearest_by_hand(place: tuple[float, ...], others: dict[int, tuple[float, ...]]) -> int:
    return min(others, key=lambda i: math.dist(place, others[i]))


def spiral(count: int, turns: float = 3.0, radius: float = 4.0) -> list[Position]:
    """Cameras on a sphere, from low to high."""
    heights = [0.2 + 0.6 * i / count for i in range(count)]
    angles = [2.0 * math.pi * turns * i / count for i in range(count)]
    return [
        (radius * math.sqrt(1.0 - h * h) * math.cos(a), radius * math.sqrt(1.0 - h * h) * math.sin(a), radius * h)
        for h, a in zip(heights, angles, strict=True)
    ]


def far_spiral(count: int) -> list[Position]:
    """Steps of centimetres, a kilometre from the origin: squares of such coordinates in single precision tell nothing
    of the steps."""
    return [(1000.0 + x, 500.0 + y, z) for x, y, z in spiral(count, turns=0.5)]


points = st.tuples(*[st.floats(-5.0, 5.0, width=32)] * 3)


@given(st.lists(points, min_size=1, max_size=40, unique=True))
def test_nearest_is_a_greedy_tour(places: list[Position]) -> None:
    order = frames_in_order(views_at(places), "nearest")
    assert order[0] == 0
    assert sorted(order) == list(range(len(places)))
    exact = torch.tensor(places).double()
    for at, (here, after) in enumerate(itertools.pairwise(order)):
        step = float((exact[here] - exact[after]).norm())
        shortest = float((exact[order[at + 1 :]] - exact[here]).norm(dim=1).min())
        assert step <= shortest * (1.0 + 1e-5) + 1e-30


def test_nearest_finds_its_way_along_a_dense_trajectory() -> None:
    places = far_spiral(600)
    shuffled = torch.randperm(599, generator=torch.Generator().manual_seed(0)) + 1
    numbers = [0, *shuffled.tolist()]
    order = frames_in_order(views_at([places[i] for i in numbers]), "nearest")
    assert [numbers[i] for i in order] == list(range(600))


def test_azimuth_goes_once_around_from_plus_x() -> None:
    azimuths = (200.0, 20.0, 359.0, 90.0, 1.0, 181.0)
    poses = torch.stack([ring_pose(azimuth, elevation=10.0 * i) for i, azimuth in enumerate(azimuths)])
    views = Views(torch.zeros(6, 2, 2, 3, dtype=torch.uint8), poses, torch.ones(6, 4), ("",) * 6)
    assert frames_in_order(views, "azimuth") == [4, 1, 3, 5, 0, 2]


def test_file_is_the_order_as_it_is() -> None:
    assert frames_in_order(views_at(spiral(7)), "file") == list(range(7))


def test_a_list_of_frame_numbers_is_an_order(tmp_path: Path) -> None:
    path = tmp_path / "order.txt"
    path.write_text("3\n0\n\n 4\n")
    assert frames_in_order(views_at(spiral(5)), str(path)) == [3, 0, 4]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"0\n5\n", "'5' is not a frame number; the scene's frames are 0 to 4"),
        (b"0\n-1\n", "'-1' is not a frame number"),
        (b"0\n1.5\n", "'1.5' is not a frame number"),
        (b"first\n", "'first' is not a frame number"),
        (b"\n \n", "lists no frames"),
        (b"", "lists no frames"),
        (b"\xff\xfe\x00", "is neither file, nearest, azimuth nor a readable file"),
    ],
)
def test_unusable_lists_are_refused(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "order.txt"
    path.write_bytes(content)
    with pytest.raises(NerfclError, match=re.escape(str(path)) + f"'?: {why}"):
        frames_in_order(views_at(spiral(5)), str(path))


@pytest.mark.parametrize("order", ["zigzag", "", "."])
def test_an_unknown_order_is_refused_with_the_known_ones(order: str) -> None:
    with pytest.raises(NerfclError, match=r"order=.*file, nearest, azimuth"):
        frames_in_order(views_at(spiral(5)), order)


@pytest.mark.parametrize(
    ("count", "chunk", "sizes"), [(7, 2, [2, 2, 2, 1]), (6, 3, [3, 3]), (3, 5, [3]), (3, 1, [1] * 3)]
)
def test_chunks_hold_every_frame_once_and_the_last_one_may_be_shorter(count: int, chunk: int, sizes: list[int]) -> None:
    train = views_at(spiral(count))
    stream = make_trajectory(scene_of(train), "file", chunk)
    assert [len(part.train) for part in stream] == sizes
    assert [part.name for part in stream] == [f"chunk {i + 1}/{len(sizes)}" for i in range(len(sizes))]
    assert [name for part in stream for name in part.train.names] == list(train.names)
    assert torch.equal(torch.cat([part.train.images for part in stream]), train.images)
    assert torch.equal(torch.cat([part.train.poses for part in stream]), train.poses)
    assert not any(part.announced for part in stream)


@pytest.mark.parametrize("order", ["file", "nearest", "azimuth"])
@pytest.mark.parametrize("frames", [None, 9])
def test_val_and_test_views_belong_to_the_chunk_with_the_nearest_camera(order: str, frames: int | None) -> None:
    generator = torch.Generator().manual_seed(3)
    clouds = [torch.randn(count, 3, generator=generator) for count in (23, 31, 40)]
    train, val, test = (views_at([tuple(place) for place in cloud.tolist()]) for cloud in clouds)
    stream = make_trajectory(scene_of(train, val, test), order, 4, frames)
    taken = frames_in_order(train, order)[:frames]
    track = {position: tuple(train.poses[number, :3, 3].tolist()) for position, number in enumerate(taken)}
    assert [name for part in stream for name in part.train.names] == [f"v{number}" for number in taken]
    for split, views in (("val", val), ("test", test)):
        found = {name: chunk for chunk, part in enumerate(stream) for name in getattr(part, split).names}
        assert sum(len(getattr(part, split)) for part in stream) == len(views)
        for i, name in enumerate(views.names):
            assert found[name] == nearest_by_hand(tuple(views.poses[i, :3, 3].tolist()), track) // 4


def test_views_beside_a_dense_trajectory_belong_to_the_nearest_chunk_too() -> None:
    places = far_spiral(600)
    train = views_at(places)
    chosen = list(range(3, 600, 97))
    stream = make_trajectory(scene_of(train, views_at(places[:1]), views_at([places[i] for i in chosen])), "file", 1)
    assert [i for i, part in enumerate(stream) if len(part.test)] == chosen


def test_a_chunk_may_have_no_test_view() -> None:
    train = views_at([(float(i), 0.0, 0.0) for i in range(6)])
    near = views_at([(0.1, 0.0, 0.0), (5.2, 0.0, 0.0), (9.0, 0.0, 0.0)])
    stream = make_trajectory(scene_of(train, near, near), "file", 2)
    assert [len(part.test) for part in stream] == [1, 0, 2]


@pytest.mark.parametrize(
    ("chunk", "frames", "message"),
    [
        (0, None, "chunk_frames=0: must be at least 1"),
        (-3, None, "chunk_frames=-3: must be at least 1"),
        (2, 0, "frames=0: must lie between 1 and 5"),
        (2, 6, "frames=6: must lie between 1 and 5"),
    ],
)
def test_numbers_out_of_range_are_refused_by_argument(chunk: int, frames: int | None, message: str) -> None:
    with pytest.raises(NerfclError, match=f"^{message}"):
        make_trajectory(scene_of(views_at(spiral(5))), "file", chunk, frames)
