"""Views, where a pixel's centre is, and the box that cameras see."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.scenes.cameras import camera_rays
from nerfcl.scenes.scene import Views, box_seen_by, with_pixel_center
from support.scenes import numbered_views, ring_pose, scene_of

SPLITS = ("train", "val", "test")


def assert_same(found: Views, expected: Views) -> None:
    assert found.names == expected.names
    for part in ("images", "poses", "intrinsics"):
        assert torch.equal(getattr(found, part), getattr(expected, part)), part


def test_views_are_selected_joined_and_seen_by_their_cameras() -> None:
    views = numbered_views(5, width=3, height=2)
    assert (len(views), views.height, views.width, views.pixels) == (5, 2, 3, 30)
    picked = views.select([4, 1])
    assert_same(picked, Views.concatenate([numbered_views(1, first=n, width=3, height=2) for n in (4, 1)]))
    assert_same(views.first(2), views.select([0, 1]))
    assert_same(views.first(9), views)
    assert (len(views.select([])), views.select([]).width) == (0, 3)
    camera = views.camera(3)
    assert torch.equal(camera.world_from_camera, views.poses[3])
    assert torch.equal(camera.intrinsics, views.intrinsics[3])
    assert (camera.width, camera.height) == (3, 2)


# --- where a pixel's centre is ---


def test_a_pixel_center_of_zero_gives_the_rays_through_upper_left_corners() -> None:
    views = with_pixel_center(scene_of(numbered_views(2)), 0.0).train
    for v in range(2):
        fx, fy, cx, cy = (100.0 * n + v for n in (1, 2, 3, 4))
        directions = camera_rays(views.camera(v)).directions
        by_hand = torch.tensor([[(i - cx) / fx, -(j - cy) / fy] for j in range(4) for i in range(4)])
        torch.testing.assert_close(directions[:, :2] / -directions[:, 2:], by_hand, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("center", [0.5, 0.75])
def test_a_pixel_center_moves_the_principal_points_of_every_split_and_nothing_else(center: float) -> None:
    scene = scene_of(*(numbered_views(count, first=count) for count in (1, 2, 3)))
    moved = with_pixel_center(scene, center)
    assert (moved.box, moved.background, moved.name) == (scene.box, scene.background, scene.name)
    for split in SPLITS:
        old, new = getattr(scene, split), getattr(moved, split)
        shift = torch.tensor([0.0, 0.0, 0.5 - center, 0.5 - center])
        assert_same(new, Views(old.images, old.poses, old.intrinsics + shift, old.names))


@pytest.mark.parametrize("center", [-0.01, 1.01, math.nan, math.inf])
def test_a_pixel_center_outside_the_pixel_is_refused(center: float) -> None:
    with pytest.raises(NerfclError, match=f"pixel_center={center}: must lie between 0 and 1"):
        with_pixel_center(scene_of(numbered_views(1)), center)


# --- the box that cameras see ---


def ring(radius: float, count: int, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    """Poses on a circle around `center`, parallel to the ground, all looking at it."""
    poses = torch.stack([ring_pose(360.0 * i / count, radius=radius, elevation=0.0) for i in range(count)])
    poses[:, :3, 3] += torch.tensor(center)
    return poses


# 20 pixels at focal length 20: at distance d a view reaches d * 10 / 20 to either side.
@pytest.mark.parametrize(
    ("poses", "lower", "side"),
    [
        pytest.param(ring(4.0, 5), (-2.0, -2.0, -2.0), 4.0, id="ring"),
        pytest.param(
            torch.cat([ring(4.0, 6, (1.0, 2.0, 3.0)), ring(6.0, 6, (1.0, 2.0, 3.0))]),
            (-2.0, -1.0, 0.0),
            6.0,
            id="widest view",
        ),
    ],
)
def test_box_seen_by_cameras_by_hand(poses: Tensor, lower: tuple[float, ...], side: float) -> None:
    box = box_seen_by(poses, torch.tensor([20.0, 20.0, 10.0, 10.0]).expand(len(poses), 4), 20)
    assert box.lower == pytest.approx(lower, abs=1e-5)
    assert box.side == pytest.approx(side, abs=1e-5)


def test_cameras_in_one_point_are_refused() -> None:
    poses = ring(4.0, 5)
    poses[:, :3, 3] = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(NerfclError, match="share one position"):
        box_seen_by(poses, torch.tensor([20.0, 20.0, 10.0, 10.0]).expand(5, 4), 20)
