"""Splits of a scene into announced tasks, by rules worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerfcl.errors import NerfclError
from nerfcl.streams.tasks import azimuth, in_sector, make_stream, on_side, select_views
from support.scenes import Position, scene_of, views_at

# x = -0.0 and x = 0.0 are neither side's by sign; by the rule they are left.
PLACES: tuple[Position, ...] = (
    (3.0, 0.1, 1.0),
    (-3.0, 0.1, 1.0),
    (0.0, 2.0, 1.0),
    (1e-6, -2.0, 1.0),
    (-0.0, -2.0, 1.0),
    (2.0, -2.0, 5.0),
)


def around(*degrees: float, radius: float = 3.0) -> tuple[Position, ...]:
    return tuple((radius * math.cos(math.radians(d)), radius * math.sin(math.radians(d)), 1.0) for d in degrees)


def test_sides_and_zero_counts_as_left() -> None:
    views = views_at(PLACES)
    assert on_side(views, "right") == [0, 3, 5]
    assert on_side(views, "left") == [1, 2, 4]


def test_views_are_selected_by_the_names_that_experiences_have() -> None:
    views = views_at(around(10, 100, 190, 280))
    names = ("all", "right", "left", "sector 1/4", "sector 2/4", "sector 3/4", "sector 4/4")
    assert [select_views(views, name) for name in names] == [[0, 1, 2, 3], [0, 3], [1, 2], [0], [1], [2], [3]]


def test_stream_of_two_sides_in_the_order_asked_for() -> None:
    scene = scene_of(views_at(PLACES), views_at(PLACES[:3]), views_at(PLACES[1:]))
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
    scene = scene_of(views_at(PLACES))
    (everything,) = make_stream(scene, ["all"])
    assert everything.name == "all"
    assert everything.train.names == scene.train.names
    assert torch.equal(everything.test.poses, scene.test.poses)


def test_azimuth_by_hand() -> None:
    poses = views_at([(2.0, 0.0, 9.0), (1.0, 1.0, -3.0), (0.0, 5.0, 0.0), (-4.0, 0.0, 1.0), (3.0, -3.0, 2.0)]).poses
    assert azimuth(poses) == pytest.approx([0.0, math.pi / 4, math.pi / 2, math.pi, 7 * math.pi / 4])


def test_sectors_by_hand() -> None:
    # Four sectors are the quadrants, counter-clockwise from world +x.
    places = around(10, 100, 190, 280, 350, 80, 170)
    stream = make_stream(scene_of(views_at(places)), ["sectors:4"])
    assert [experience.name for experience in stream] == [f"sector {i}/4" for i in (1, 2, 3, 4)]
    assert [e.train.names for e in stream] == [("v0", "v5"), ("v1", "v6"), ("v2",), ("v3", "v4")]


def test_sector_begins_with_its_first_angle() -> None:
    views = views_at([(2.0, 0.0, 0.0), (0.0, 2.0, 0.0), (-2.0, 0.0, 0.0), (0.0, -2.0, 0.0)])
    assert [in_sector(views, sector, 4) for sector in range(4)] == [[0], [1], [2], [3]]


@given(st.lists(st.tuples(*[st.floats(-5.0, 5.0, width=32)] * 3), min_size=1, max_size=20), st.integers(1, 40))
def test_every_view_is_in_exactly_one_sector(places: list[Position], count: int) -> None:
    views = views_at(places)
    found = sorted(index for sector in range(count) for index in in_sector(views, sector, count))
    assert found == list(range(len(places)))


@given(st.floats(0.0, 359.9), st.integers(1, 40))
def test_view_is_in_the_sector_of_its_angle(degrees: float, count: int) -> None:
    place = degrees / 360 * count
    if abs(place - round(place)) > 1e-3:  # positions are float32
        assert in_sector(views_at(around(degrees)), math.floor(place), count) == [0]


@given(st.lists(st.tuples(*[st.floats(-5.0, 5.0, width=32)] * 3), min_size=1, max_size=20))
def test_every_view_is_on_exactly_one_side(places: list[Position]) -> None:
    views = views_at(places)
    assert sorted(on_side(views, "left") + on_side(views, "right")) == list(range(len(places)))
    assert on_side(views, "right") == [i for i, place in enumerate(places) if place[0] > 0]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        *(
            (["right", task], f"task '{task}' is unknown; .*sectors:N")
            for task in ("up", "Right", "", "sector 0/4", "sector 5/4", "sector 1", "sector a/b")
        ),
        *(
            ([f"sectors:{count}"], f"tasks=.*'sectors:{count}'.*: write sectors:N with N between 1 and 1000")
            for count in ("0", "-3", "1001", "x", "", "2.5", "1 0")
        ),
        ([], "tasks=.*: name at least one task"),
        (["right", "right"], "tasks=.*: names a task twice"),
        (["left", "right", "left"], "tasks=.*: names a task twice"),
        (["sectors:2", "sectors:2"], "tasks=.*: names a task twice"),
        (["sector 1/2", "sectors:2"], "tasks=.*cannot be combined"),
        (["right", "all"], "tasks=.*cannot be combined"),
        (["sectors:4"], "'toy' has no train view for task 'sector 3/4'"),
    ],
)
def test_unusable_tasks_are_refused(tasks: Sequence[str], message: str) -> None:
    with pytest.raises(NerfclError, match=message) as caught:
        make_stream(scene_of(views_at(around(10, 100, 280))), tasks)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_side_without_a_view_is_refused_before_any_training(split: str) -> None:
    right_only = views_at([place for place in PLACES if place[0] > 0])
    scene = scene_of(
        **{"train": views_at(PLACES), "val": views_at(PLACES), "test": views_at(PLACES), split: right_only}
    )
    with pytest.raises(NerfclError, match=f"'toy' has no {split} view for task 'left'"):
        make_stream(scene, ["right", "left"])
    assert len(make_stream(scene, ["right"])) == 1
