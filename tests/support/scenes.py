"""Small scenes: on disk, in Blender layout, and in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nerfcl.scenes.cameras import Camera, camera_rays, focal_from_angle, look_at
from nerfcl.scenes.lenses import Lens, lens_row
from nerfcl.scenes.scene import Box, Scene, Views

Position = tuple[float, float, float]

TINY_SIZE = 16
TINY_ANGLE = 0.7
# Azimuths of the cameras in degrees; None is a camera whose world x is exactly 0.
TINY_AZIMUTHS: dict[str, tuple[float | None, ...]] = {
    "train": (20.0, 75.0, 320.0, 130.0, 220.0, None),
    "val": (50.0, 300.0, 110.0, 200.0),
    "test": (10.0, 340.0, 160.0, None),
}


def ring_pose(azimuth: float | None, *, radius: float = 4.0, elevation: float = 25.0) -> torch.Tensor:
    """Pose of a camera on a ring that looks at the origin; azimuth and elevation in degrees."""
    flat = radius * math.cos(math.radians(elevation))
    x = 0.0 if azimuth is None else flat * math.cos(math.radians(azimuth))
    y = -flat if azimuth is None else flat * math.sin(math.radians(azimuth))
    position = torch.tensor([x, y, radius * math.sin(math.radians(elevation))])
    return look_at(position, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))


def picture_of_ball(pose: torch.Tensor) -> np.ndarray:
    """(H, W, 4) uint8: a unit ball, red on its right half and blue on its left, greener upwards, on nothing."""
    focal = focal_from_angle(TINY_ANGLE, TINY_SIZE)
    intrinsics = torch.tensor([focal, focal, TINY_SIZE / 2, TINY_SIZE / 2])
    rays = camera_rays(Camera(pose, intrinsics, TINY_SIZE, TINY_SIZE))
    closest = -(rays.origins * rays.directions).sum(-1)
    inside = 1.0 - (rays.origins.square().sum(-1) - closest.square())  # half chord, squared
    hits = rays.origins + (closest - inside.clamp(min=0.0).sqrt())[:, None] * rays.directions
    right = hits[:, 0] > 0.0
    colours = torch.stack([0.9 * right, 0.5 + 0.4 * hits[:, 2], 0.9 * ~right, 1.0 * (inside > 0.0)], -1)
    return (colours.clamp(0.0, 1.0) * 255.0).round().byte().view(TINY_SIZE, TINY_SIZE, 4).numpy()


def write_tiny_scene(root: Path) -> Path:
    """Write a scene in Blender layout, 16x16 pixels: 6 train views (3 right), 4 val (2 right), 4 test (2 right).

    One train view and one test view have world x exactly 0.
    """
    for split, azimuths in TINY_AZIMUTHS.items():
        (root / split).mkdir(parents=True)
        frames = []
        for index, azimuth in enumerate(azimuths):
            pose = ring_pose(azimuth)
            Image.fromarray(picture_of_ball(pose)).save(root / split / f"r_{index}.png")
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose.tolist()})
        description = {"camera_angle_x": TINY_ANGLE, "frames": frames}
        (root / f"transforms_{split}.json").write_text(json.dumps(description))
    return root


def numbered_views(count: int, *, first: int = 0, width: int = 4, height: int = 4) -> Views:
    """Views number `first` and on. A pixel's colour is its (view, row, column); x of the pose is the view's number, and
    its intrinsics are 100, 200, 300 and 400 more."""
    numbers = torch.arange(first, first + count)
    view, row, column = torch.meshgrid(numbers, torch.arange(height), torch.arange(width), indexing="ij")
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, 0, 3] = numbers.float()
    intrinsics = torch.stack([100.0 + numbers, 200.0 + numbers, 300.0 + numbers, 400.0 + numbers], -1)
    return Views(torch.stack([view, row, column], -1).byte(), poses, intrinsics, tuple(map(str, numbers.tolist())))


def with_lens(views: Views, k1: float = 0.1) -> Views:
    """The same views, taken through a lens."""
    rows = [lens_row(row, Lens.PERSPECTIVE, {"k1": k1}) for row in views.intrinsics.tolist()]
    return replace(views, intrinsics=torch.tensor(rows))


def views_at(places: Sequence[Position]) -> Views:
    """A 3x2 view from every place; its colour is its number, and its name is "v" and that."""
    poses = torch.eye(4).repeat(len(places), 1, 1)
    poses[:, :3, 3] = torch.tensor(places).view(-1, 3)
    images = torch.arange(len(places))[:, None, None, None].expand(-1, 2, 3, 3).byte()
    return Views(images, poses, torch.ones(len(places), 4), tuple(f"v{i}" for i in range(len(places))))


def scene_of(train: Views, val: Views | None = None, test: Views | None = None) -> Scene:
    """A scene with these views on white; those that are not given are the train views."""
    return Scene("toy", train, val or train, test or train, (1.0, 1.0, 1.0), Box((-1.0, -1.0, -1.0), 2.0))
