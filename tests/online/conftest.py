"""What the tests of the online learner share: a tiny scene whose frames are pushed, and settings of its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.scenes import load_scene
from nerfcl.scenes.scene import Scene


@pytest.fixture(scope="session")
def scene(shared_scene: Path) -> Scene:
    return load_scene(shared_scene)


@pytest.fixture(scope="session")
def model(scene: Scene) -> OccupancyModelSettings:
    return OccupancyModelSettings.for_scene(HashGridSettings(max_resolution=16), scene)
