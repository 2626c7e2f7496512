"""What the tests of strategies share: a tiny scene, and a stream of its two sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from nerfcl.scenes import load_scene
from nerfcl.scenes.scene import Scene
from nerfcl.streams.stream import Stream
from nerfcl.streams.tasks import make_stream


@pytest.fixture(scope="session")
def scene(shared_scene: Path) -> Scene:
    return load_scene(shared_scene)


@pytest.fixture(scope="session")
def stream(scene: Scene) -> Stream:
    """Two announced tasks of three train views of 16x16 pixels each."""
    return make_stream(scene, ["right", "left"])
