"""The scene that is shipped inside the package: a truck built of toy bricks."""

from __future__ import annotations

from importlib.resources import as_file, files

from nerfcl.scenes import blender
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.scene import Scene


def load_builtin(request: LoadRequest) -> Scene:
    """Load the truck: 100 train, 50 val and 100 test views of 128x128 pixels, or resized."""
    with as_file(files("nerfcl.scenes") / "data" / "truck") as root:
        return blender.load(root, request)
