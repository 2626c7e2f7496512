"""Loading scenes: one module for each format, a common image reader, and the camera conventions."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from nerfcl.errors import Argument, NerfclError
from nerfcl.progress import Track, untracked
from nerfcl.scenes.format import LoadRequest, MaxSide, SceneFormat
from nerfcl.scenes.scene import SMALLEST_IMAGE, Box, Ndc, Scene, Views, with_pixel_center

__all__ = ["FORMATS", "Box", "Ndc", "Scene", "Views", "load_scene"]

BUILTIN = "builtin"

# Names -> modules that implement `SceneFormat`. The first one that recognises a folder loads it.
FORMATS = {"llff": "nerfcl.scenes.llff", "transforms": "nerfcl.scenes.transforms"}
# The built-in scene's; it also loads folders that none recognises, so that its errors say what is missing.
_OTHERWISE = "transforms"


def load_scene(
    data: str | Path,
    size: tuple[int, int] | None = None,
    track: Track = untracked,
    *,
    max_side: MaxSide = None,
    spheric_poses: bool = False,
    pixel_center: float = 0.5,
) -> Scene:
    """Load a scene.

    Args:
        data: "builtin" for the built-in truck, or a folder in one of the `FORMATS`.
        size: (width, height) to resize images to (LANCZOS); None keeps their shape.
        track: iterates over the images and may show progress.
        max_side: largest width and height of the images in pixels, if `size` is None; None keeps their size, and "auto"
            is 64 where the images are transparent (renderings), or else 256 (photographs).
        spheric_poses: for formats that support both (LLFF): the cameras surround an object, instead of facing forward.
        pixel_center: where rays pass through pixels: 0.5 is the centre, 0.0 reproduces the reference project.

    Raises:
        NerfclError: the scene does not exist, or one of its files is missing or damaged; names it.
    """
    if size is not None and min(size) < SMALLEST_IMAGE:
        raise NerfclError(Argument("size", size), f": images must be at least {SMALLEST_IMAGE} pixels wide and high")
    if isinstance(max_side, int) and max_side < SMALLEST_IMAGE:
        raise NerfclError(
            Argument("max_side", max_side), f": images must be at least {SMALLEST_IMAGE} pixels wide and high"
        )
    request = LoadRequest(size, max_side, spheric_poses, track)
    root = None if str(data) == BUILTIN else _folder(data)
    known = _format_of(root)
    if spheric_poses and not getattr(known, "HAS_SPHERIC_POSES", False):
        scene = Argument("data", str(data))
        raise NerfclError(Argument("spheric_poses"), ": does not apply to the format of ", scene, "; leave it out")
    if root is None:
        from nerfcl.scenes.builtin import load_builtin

        scene = load_builtin(request)
    else:
        scene = known.load(root, request)
    return with_pixel_center(scene, pixel_center)


def _format_of(root: Path | None) -> SceneFormat:
    modules = {name: cast(SceneFormat, import_module(module)) for name, module in FORMATS.items()}
    recognised = (known for known in modules.values() if root is not None and known.recognises(root))
    return next(recognised, modules[_OTHERWISE])


def _folder(data: str | Path) -> Path:
    root = Path(data)
    try:
        root = root.expanduser()
        found = bool(str(data)) and root.is_dir()
    except (OSError, RuntimeError, ValueError):  # unknown user, name too long, or NUL byte
        found = False
    if not found:
        raise NerfclError(
            Argument("data", str(data)),
            f": no such folder; give a scene folder ({', '.join(FORMATS)}) or '{BUILTIN}'",
        )
    return root
