"""What several test files need: a tiny scene on disk, and the shared test data where there is any."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from nerfcl.scenes.cameras import Camera, camera_rays, focal_from_angle, look_at

# The machines that run the tests differ in speed, and a failure must come back when it is looked into.
settings.register_profile("nerfcl", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("nerfcl")

LEGO = Path(__file__).resolve().parents[2] / "shared/data/nerf_synthetic/lego"

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
    """Writes a scene in Blender layout, 16x16 pixels: 6 train views (3 right), 4 val (2 right), 4 test (2 right).

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


@pytest.fixture
def tiny_scene_folder(tmp_path: Path) -> Path:
    """A tiny scene that the test may change."""
    return write_tiny_scene(tmp_path / "tiny")


@pytest.fixture(scope="session")
def shared_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny scene that is shared by many tests, and must not be changed."""
    return write_tiny_scene(tmp_path_factory.mktemp("scene") / "tiny")


@pytest.fixture(scope="session")
def lego() -> Path:
    """The folder of the "lego" scene; skips where the shared test data is absent."""
    if not LEGO.is_dir():
        pytest.skip(f"no test data at {LEGO}")
    return LEGO
