"""A watched folder: frames of a growing `transforms.json`, as they are completed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.scenes.blender import read_pose
from nerfcl.scenes.cameras import focal_from_angle
from nerfcl.scenes.images import on_background
from nerfcl.scenes.scene import Views

MARKER = "done"  # file whose presence says that all frames are written
PATIENCE = 2.0  # seconds that a file may stay unreadable after the marker appears


@dataclass(frozen=True)
class WatchedFolder:
    """Frames in Blender layout: `transforms.json` with `camera_angle_x` and a growing `frames` list.

    Attributes:
        root: the folder.
        size: (width, height) to resize images to.
        poll: seconds between reads of the folder.
    """

    root: Path
    size: tuple[int, int]
    poll: float = 0.05

    def frames(self, first: int, stopped: Callable[[], bool]) -> Iterator[Views]:
        """Yield frames from number `first` on, until the marker exists and all are read, or until `stopped`.

        A frame is complete when it is listed and its image can be read to the end; partly written files are waited for.

        Args:
            first: number of the first frame.
            stopped: called before each read; True ends the iteration.

        Yields:
            One frame at a time.

        Raises:
            NerfclError: an entry is invalid, or a file is still unreadable after the marker appeared.
        """
        number, since = first, None
        while not stopped():
            ended = (self.root / MARKER).exists()
            frame, problem = self._read(number)
            if frame is not None:
                yield frame
                number, since = number + 1, None
            elif ended and problem is None:
                return
            else:
                since = since or time.monotonic()
                if ended and problem is not None and time.monotonic() - since > PATIENCE:
                    raise NerfclError(f"{problem}; the marker {self.root / MARKER} says that all frames are written")
                time.sleep(self.poll)

    def _read(self, number: int) -> tuple[Views | None, str | None]:
        """Read the frame with this number, or say why it cannot be read yet; neither if it is not listed yet."""
        path = self.root / "transforms.json"
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None, None
        except (OSError, ValueError) as error:
            return None, f"{path}: cannot be read ({error})"
        entries = description.get("frames") if isinstance(description, dict) else None
        angle = description.get("camera_angle_x") if isinstance(description, dict) else None
        if not isinstance(entries, list) or not isinstance(angle, int | float) or not 0.0 < angle < np.pi:
            raise NerfclError(f"{path}: needs 'camera_angle_x' (radians) and a 'frames' list")
        if number >= len(entries):
            return None, None
        entry = entries[number]
        pose = read_pose(path, number, entry)
        name = entry.get("file_path")
        if not isinstance(name, str) or not Path(name).name:
            raise NerfclError(f"{path}: frame {number} has no usable 'file_path'")
        file = self.root / name if Path(name).suffix else self.root / f"{name}.png"
        try:
            with Image.open(file) as image:
                rgba = image.convert("RGBA")  # reads the file to its end
        except (OSError, SyntaxError, ValueError) as error:
            return None, f"{file}: cannot be read ({error})"
        return self._views(rgba, pose, float(angle), file.stem), None

    def _views(self, rgba: Image.Image, pose: np.ndarray, angle: float, name: str) -> Views:
        aspect = (rgba.width / rgba.height) / (self.size[0] / self.size[1])
        focal = focal_from_angle(angle, self.size[0])
        intrinsics = torch.tensor([[focal, focal * aspect, self.size[0] / 2, self.size[1] / 2]])
        images = torch.from_numpy(on_background(rgba, self.size, (1.0, 1.0, 1.0)))[None]
        return Views(images, torch.from_numpy(pose)[None], intrinsics, (name,))
