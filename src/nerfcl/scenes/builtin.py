"""The scene that is shipped inside the package: a brick-built truck."""

from __future__ import annotations

from importlib.resources import as_file, files

from nerfcl.progress import Track, untracked
from nerfcl.scenes.blender import load_blender
from nerfcl.scenes.scene import Scene


def load_builtin(size: tuple[int, int] | None, track: Track = untracked) -> Scene:
    """The truck: 100 train, 50 val and 100 test views of 128x128 pixels, or resized to `size` (width, height)."""
    with as_file(files("nerfcl.scenes") / "data" / "truck") as root:
        return load_blender(root, size, track)
