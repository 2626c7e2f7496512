"""Files on disk -> `Scene`."""

from __future__ import annotations

from pathlib import Path

from nerfcl.errors import NerfclError
from nerfcl.progress import Track, untracked
from nerfcl.scenes.scene import SMALLEST_IMAGE, Box, Ndc, Scene, Views

__all__ = ["Box", "Ndc", "Scene", "Views", "load_scene"]


def load_scene(
    data: str | Path,
    size: tuple[int, int] | None = None,
    track: Track = untracked,
    *,
    spheric_poses: bool = False,
) -> Scene:
    """Loads a scene.

    Args:
        data: "builtin" for the shipped scene, or a folder in Blender or LLFF layout.
        size: (width, height) to resize images to; None keeps their size.
        track: passes on what it is given to iterate over, and may show how far it has come.
        spheric_poses: LLFF layout only: the cameras stand around something and look at it, instead of all forward.

    Raises:
        NerfclError: there is no such scene, or a file of it is missing or damaged.
    """
    if size is not None and min(size) < SMALLEST_IMAGE:
        raise NerfclError(
            f"--img-wh {size[0]} {size[1]}: images must be at least {SMALLEST_IMAGE} pixels wide and high"
        )
    root = None if str(data) == "builtin" else _folder(data)
    if root is not None and _is_llff(root):
        from nerfcl.scenes.llff import load_llff

        return load_llff(root, size, track, spheric_poses=spheric_poses)
    if spheric_poses:
        raise NerfclError(f"--spheric-poses: is for scenes in LLFF layout, and --data {data} is none; leave it out")
    if root is None:
        from nerfcl.scenes.builtin import load_builtin

        return load_builtin(size, track)
    from nerfcl.scenes.blender import load_blender

    return load_blender(root, size, track)


def _folder(data: str | Path) -> Path:
    root = Path(data)
    try:
        root = root.expanduser()
        found = bool(str(data)) and root.is_dir()
    except (OSError, RuntimeError, ValueError):  # no such user, a name that is too long, a NUL
        found = False
    if not found:
        raise NerfclError(f"--data {data}: no such folder; name a scene folder in Blender or LLFF layout, or 'builtin'")
    return root


def _is_llff(root: Path) -> bool:
    """Whether there are poses of that layout, or its images only, so that the loader can say what is missing."""
    if (root / "poses_bounds.npy").exists():
        return True
    return not (root / "transforms_train.json").exists() and any(folder.is_dir() for folder in root.glob("images*"))
