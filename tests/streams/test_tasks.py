from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerfcl.errors import NerfclError
from nerfcl.scenes.scene import Box, Scene, Views
from nerfcl.streams.tasks import azimuth, in_sector, make_stream, on_side, select_views

Position = tuple[float, float, float]

# x = -0.0 and x = 0.0 are neither side's by sign; by the rule they are left.
PLACES: tuple[Position, ...] = (
    (3.0, 0.1, 1.0),
    (-3.0, 0.1, 1.0),
    (0.0, 2.0, 1.0),
    (1e-6, -2.0, 1.0),
    (-0.0, -2.0, 1.0),
    (2.0, -2.0, 5.0),
)


def views_at(*places: Position) -> Views:
    """Views from these positions, named after their place in the list."""
    poses = torch.eye(4).repeat(len(places), 1, 1)
    for index, place in enumerate(places):
        poses[index, :3, 3] = torch.tensor(place)
    images = torch.arange(len(places), dtype=torch.uint8)[:, None, None, None].repeat(1, 2, 3, 3)
    return Views(images, poses, torch.ones(len(places), 4), tuple(f"v{i}" for i in range(len(places))))


def scene_of(
    train: tuple[Position, ...], val: tuple[Position, ...] | None = None, test: tuple[Position, ...] | None = None
) -> Scene:
    train_views = views_at(*train)
    val_views = train_views if val is None else views_at(*val)
    test_views = train_views if test is None else views_at(*test)
    return Scene("toy", train_views, val_views, test_views, (1.0, 1.0, 1.0), Box((0.0, 0.0, 0.0), 1.0))


def around(*degrees: float, radius: float = 3.0) -> tuple[Position, ...]:
    return tuple((radius * math.cos(math.radians(d)), radius * math.sin(math.radians(d)), 1.0) for d in degrees)


def test_sides_and_zero_counts_as_left() -> None:
    views = views_at(*PLACES)
    assert on_side(views, "right") == [0, 3, 5]
    assert on_side(views, "left") == [1, 2, 4]


def test_stream_of_two_sides_in_the_order_asked_for() -> None:
    scene = scene_of(PLACES, PLACES[:3], PLACES[1:])
    left, right = make_stream(scene, ["left", "right"])
    assert (left.name, right.name) == ("left", "right")
    assert left.train.names == ("v1", "v2", "v4")
    assert left.val.names == ("v1", "v2")
    assert left.test.names == ("v0", "v1", "v3")  # places 1, 2 and 4 of all
    assert right.train.names == ("v0", "v3", "v5")
    assert right.val.names == ("v0",)
    assert right.test.names == ("v2", "v4")
    assert torch.equal(right.train.images[:, 0, 0, 0], torch.tensor([0, 3, 5], dtype=torch.uint8))
    assert torch.equal(right.train.poses, scene.train.poses[[0, 3, 5]])
    assert left.announced
    assert right.announced


def test_all_views_are_one_experience() -> None:
    scene = scene_of(PLACES)
    (everything,) = make_stream(scene, ["all"])
    assert everything.name == "all"
    assert everything.train.names == scene.train.names
    assert torch.equal(everything.test.poses, scene.test.poses)


def test_azimuth_by_hand() -> None:
    poses = views_at((2.0, 0.0, 9.0), (1.0, 1.0, -3.0), (0.0, 5.0, 0.0), (-4.0, 0.0, 1.0), (3.0, -3.0, 2.0)).poses
    assert azimuth(poses) == pytest.approx([0.0, math.pi / 4, math.pi / 2, math.pi, 7 * math.pi / 4])


def test_sectors_by_hand() -> None:
    # Four sectors are the quadrants, counter-clockwise from world +x.
    places = around(10, 100, 190, 280, 350, 80, 170)
    stream = make_stream(scene_of(places), ["sectors:4"])
    assert [experience.name for experience in stream] == [f"sector {i}/4" for i in (1, 2, 3, 4)]
    assert [e.train.names for e in stream] == [("v0", "v5"), ("v1", "v6"), ("v2",), ("v3", "v4")]


def test_sector_begins_with_its_first_angle() -> None:
    views = views_at((2.0, 0.0, 0.0), (0.0, 2.0, 0.0), (-2.0, 0.0, 0.0), (0.0, -2.0, 0.0))
    assert [in_sector(views, sector, 4) for sector in range(4)] == [[0], [1], [2], [3]]


def test_one_sector_holds_everything() -> None:
    (only,) = make_stream(scene_of(PLACES), ["sectors:1"])
    assert only.train.names == tuple(f"v{i}" for i in range(6))


@given(st.lists(st.tuples(*[st.floats(-5.0, 5.0, width=32)] * 3), min_size=1, max_size=20), st.integers(1, 40))
def test_every_view_is_in_exactly_one_sector(places: list[Position], count: int) -> None:
    views = views_at(*places)
    found = sorted(index for sector in range(count) for index in in_sector(views, sector, count))
    assert found == list(range(len(places)))


@given(st.floats(0.0, 359.9), st.integers(1, 40))
def test_view_is_in_the_sector_of_its_angle(degrees: float, count: int) -> None:
    place = degrees / 360 * count
    if abs(place - round(place)) > 1e-3:  # positions are float32
        assert in_sector(views_at(*around(degrees)), math.floor(place), count) == [0]


@given(st.lists(st.tuples(*[st.floats(-5.0, 5.0, width=32)] * 3), min_size=1, max_size=20))
def test_every_view_is_on_exactly_one_side(places: list[Position]) -> None:
    views = views_at(*places)
    assert sorted(on_side(views, "left") + on_side(views, "right")) == list(range(len(places)))
    assert on_side(views, "right") == [i for i, place in enumerate(places) if place[0] > 0]


def test_select_views_by_the_names_that_experiences_have() -> None:
    views = views_at(*PLACES)
    assert select_views(views, "all") == [0, 1, 2, 3, 4, 5]
    assert select_views(views, "right") == [0, 3, 5]
    assert select_views(views, "left") == [1, 2, 4]
    places = views_at(*around(10, 100, 190, 280))
    assert [select_views(places, f"sector {i}/4") for i in (1, 2, 3, 4)] == [[0], [1], [2], [3]]


@pytest.mark.parametrize("task", ["up", "Right", "", "sector 0/4", "sector 5/4", "sector 1", "sector a/b"])
def test_unknown_task_is_refused(task: str) -> None:
    with pytest.raises(NerfclError, match="unknown") as caught:
        make_stream(scene_of(PLACES), ["right", task])
    message = str(caught.value)
    assert f"'{task}'" in message
    assert "sectors:N" in message
    assert "\n" not in message


@pytest.mark.parametrize("count", ["0", "-3", "1001", "x", "", "2.5", "1 0"])
def test_bad_number_of_sectors_is_refused(count: str) -> None:
    with pytest.raises(NerfclError, match="--tasks sectors:") as caught:
        make_stream(scene_of(PLACES), [f"sectors:{count}"])
    assert "between 1 and 1000" in str(caught.value)


def test_no_task_is_refused() -> None:
    with pytest.raises(NerfclError, match="at least one task"):
        make_stream(scene_of(PLACES), [])


@pytest.mark.parametrize(
    "tasks", [["right", "right"], ["left", "right", "left"], ["sectors:2", "sectors:2"], ["sector 1/2", "sectors:2"]]
)
def test_task_named_twice_is_refused(tasks: list[str]) -> None:
    scene = scene_of(around(10, 100, 190, 280))
    with pytest.raises(NerfclError, match=r"twice|stand alone"):
        make_stream(scene, tasks)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_side_without_a_view_is_refused_before_any_training(split: str) -> None:
    right_only = tuple(place for place in PLACES if place[0] > 0)
    splits = {"train": PLACES, "val": PLACES, "test": PLACES, split: right_only}
    scene = scene_of(**splits)
    with pytest.raises(NerfclError, match=f"'toy' has no {split} view for task 'left'"):
        make_stream(scene, ["right", "left"])
    assert len(make_stream(scene, ["right"])) == 1


def test_empty_sector_is_refused() -> None:
    with pytest.raises(NerfclError, match="'sector 3/4'"):
        make_stream(scene_of(around(10, 100, 280)), ["sectors:4"])
