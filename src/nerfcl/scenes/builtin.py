"""The built-in scene, shipped with the package: a truck built from toy bricks."""

from __future__ import annotations

from importlib.resources import as_file, files

from nerfcl.scenes import transforms
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.scene import Scene


def load_builtin(request: LoadRequest) -> Scene:
    """Load the truck: 100 train, 50 validation and 100 test views of 128x128 pixels, resized on request."""
    with as_file(files("nerfcl.scenes") / "data" / "truck") as root:
        return transforms.load(root, request)
