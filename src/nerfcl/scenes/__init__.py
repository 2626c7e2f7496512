"""Files on disk -> `Scene`."""

from __future__ import annotations

from pathlib import Path

from nerfcl.errors import NerfclError
from nerfcl.scenes.scene import SMALLEST_IMAGE, Box, Scene, Views
from nerfcl.tracking import Track, untracked

__all__ = ["Box", "Scene", "Views", "load_scene"]


def load_scene(data: str | Path, size: tuple[int, int] | None = None, track: Track = untracked) -> Scene:
    """Loads a scene.

    Args:
        data: "builtin" for the shipped scene, or a folder in Blender layout.
        size: (width, height) to resize images to; None keeps their size.
        track: passes on what it is given to iterate over, and may show how far it has come.

    Raises:
        NerfclError: there is no such scene, or a file of it is missing or damaged.
    """
    if size is not None and min(size) < SMALLEST_IMAGE:
        raise NerfclError(
            f"--img-wh {size[0]} {size[1]}: images must be at least {SMALLEST_IMAGE} pixels wide and high"
        )
    if str(data) == "builtin":
        from nerfcl.scenes.builtin import load_builtin

        return load_builtin(size, track)
    root = Path(data)
    try:
        root = root.expanduser()
        found = bool(str(data)) and root.is_dir()
    except (OSError, RuntimeError, ValueError):  # no such user, a name that is too long, a NUL
        found = False
    if not found:
        raise NerfclError(f"--data {data}: no such folder; name a scene folder in Blender layout, or 'builtin'")
    from nerfcl.scenes.blender import load_blender

    return load_blender(root, size, track)
