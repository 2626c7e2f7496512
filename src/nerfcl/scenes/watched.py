"""A watched folder: frames of a growing `transforms.json`, as they are completed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.files import read_json
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.images import UnreadableImage, on_background, read_rgba
from nerfcl.scenes.photos import Photo, check_position, fitted_size, scaled_intrinsics
from nerfcl.scenes.scene import Views
from nerfcl.scenes.transforms import WHITE, Frames

MARKER = "done"  # file whose presence says that all frames are written
PATIENCE = 2.0  # seconds that a file may stay unreadable after the marker appears
_SILENCE = 5.0  # seconds of waiting for the same thing before it is said


@dataclass(frozen=True)
class WatchedFolder:
    """Frames of a `transforms.json` with a growing `frames` list; see `nerfcl.scenes.transforms`.

    Attributes:
        root: the folder.
        request: size of the images.
        poll: seconds between reads of the folder.
        say: called with what is waited for, if that takes long; the default says nothing.
    """

    root: Path
    request: LoadRequest
    poll: float = 0.05
    say: Callable[[str], object] = str

    def frames(self, first: int, stopped: Callable[[], bool]) -> Iterator[Views]:
        """Yield frames from number `first` on, until the marker exists and all are read, or until `stopped`.

        A frame is complete when it is listed and its image can be read to the end; partly written files are waited for.

        Args:
            first: number of the first frame.
            stopped: called before each read; True ends the iteration.

        Yields:
            One frame at a time.

        Raises:
            NerfclError: an entry or an image is invalid, or a file is still unreadable after the marker appeared.
        """
        number, since, said = first, time.monotonic(), False
        while not stopped():
            ended = (self.root / MARKER).exists()
            frame, problem = self.read(number)
            waited = time.monotonic() - since
            if frame is not None:
                yield frame
                number, since, said = number + 1, time.monotonic(), False
                continue
            if ended and problem is None:
                return
            if ended and waited > PATIENCE:
                raise NerfclError(f"{problem}; the marker {self.root / MARKER} says that all frames are written")
            if waited > _SILENCE and not said:
                self.say(f"waiting for frame {number}: {problem or self._next()}")
                said = True
            time.sleep(self.poll)

    def read(self, number: int) -> tuple[Views | None, str | None]:
        """Read the frame with this number, or say why it cannot be read yet; neither if it is not listed yet.

        Raises:
            NerfclError: the entry or the image is invalid, and will not become valid.
        """
        path = self.root / "transforms.json"
        try:
            description = read_json(path)
        except FileNotFoundError:
            return None, None
        except NerfclError as error:  # partly written
            return None, str(error)
        frames = Frames.of(path, description)
        if number >= len(frames):
            return None, None
        try:
            photo = frames.photo(number, frames.image_file(self.root, number))
            rgba = read_rgba(photo.file, upright=photo.is_turned)
            return self._views(photo, rgba), None
        except UnreadableImage as error:
            return None, str(error)

    def _next(self) -> str:
        return f"it is not in {self.root / 'transforms.json'} yet, nor is there a file {self.root / MARKER}"

    def _views(self, photo: Photo, rgba: Image.Image) -> Views:
        check_position(photo)
        size = fitted_size(photo.file, photo.shown, self.request, has_alpha=photo.header.has_alpha)
        images = torch.from_numpy(on_background(rgba, size, WHITE))[None]
        pose = torch.from_numpy(photo.pose.astype(np.float32))[None]
        intrinsics = torch.tensor([scaled_intrinsics(photo, size)], dtype=torch.float32)
        return Views(images, pose, intrinsics, (photo.file.stem,))
