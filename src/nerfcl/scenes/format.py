"""What a scene format is: a file layout that is recognised and loaded. Each has a module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nerfcl.progress import Track, untracked
from nerfcl.scenes.scene import Scene


@dataclass(frozen=True)
class LoadRequest:
    """What is asked of a loader.

    Attributes:
        size: (width, height) to resize images to (LANCZOS); None keeps the files' size.
        spheric_poses: the cameras stand around something and look at it. Only asked of formats that have the choice.
        track: iterates over the images, and may show how far it has come.
    """

    size: tuple[int, int] | None = None
    spheric_poses: bool = False
    track: Track = untracked


class SceneFormat(Protocol):
    """A file layout of scenes: any module with these names, and a line in `nerfcl.scenes.FORMATS`."""

    HAS_SPHERIC_POSES: bool
    """Whether such scenes may be forward-facing or seen from around, so that the user must say which; False where it is
    missing."""

    def recognises(self, root: Path) -> bool:
        """Tell whether a folder is meant to be of this format, even where files are missing or damaged."""
        ...

    def load(self, root: Path, request: LoadRequest) -> Scene:
        """Load the scene.

        Raises:
            NerfclError: a file is missing, damaged or does not fit the others; names it.
        """
        ...
