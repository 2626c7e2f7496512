"""The interface of scene formats: recognise and load a file layout. Each format is a module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from nerfcl.progress import Track, untracked
from nerfcl.scenes.scene import Scene

MaxSide = int | Literal["auto"] | None

RENDERING_SIDE = 64  # pixels
PHOTOGRAPH_SIDE = 256  # pixels


@dataclass(frozen=True)
class LoadRequest:
    """Options for a loader.

    Attributes:
        size: (width, height) to resize images to (LANCZOS); None keeps their shape.
        max_side: largest width and height of images in pixels, if `size` is None; None keeps their size, and "auto" is
            `RENDERING_SIDE` where the first image is transparent, or else `PHOTOGRAPH_SIDE`.
        spheric_poses: the cameras surround an object and look at it; only set for formats with `HAS_SPHERIC_POSES`.
        track: iterates over the images and may show progress.
    """

    size: tuple[int, int] | None = None
    max_side: MaxSide = None
    spheric_poses: bool = False
    track: Track = untracked


class SceneFormat(Protocol):
    """A file layout of scenes: any module that defines these names and is listed in `nerfcl.scenes.FORMATS`."""

    HAS_SPHERIC_POSES: bool
    """Whether scenes may be forward-facing or inward-facing, so that the user must say which; False if undefined."""

    def recognises(self, root: Path) -> bool:
        """Tell whether a folder is meant to be of this format, even if files are missing or damaged."""
        ...

    def load(self, root: Path, request: LoadRequest) -> Scene:
        """Load the scene.

        Raises:
            NerfclError: a file is missing, damaged or inconsistent with the others; names it.
        """
        ...
