"""What a camera does that writes its frames into a folder."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from support.scenes import TINY_ANGLE, picture_of_ball, ring_pose


def png_of(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture_of_ball(ring_pose(40.0 * number))).save(file, "PNG")
    return file.getvalue()


def list_of(count: int) -> str:
    """The content of `transforms.json` with so many frames."""
    entries = [{"file_path": f"./images/r_{i}", "transform_matrix": ring_pose(40.0 * i).tolist()} for i in range(count)]
    return json.dumps({"camera_angle_x": TINY_ANGLE, "frames": entries})


def record(folder: Path, numbers: Iterable[int], *, pause: float = 0.0, listed_first: bool = False) -> None:
    """Write image and entry of one frame after the other, each in two halves over what was there before."""
    for i in numbers:
        image = (folder / f"images/r_{i}.png", png_of(i))
        entry = (folder / "transforms.json", list_of(i + 1).encode())
        for path, content in (entry, image) if listed_first else (image, entry):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                time.sleep(pause)
                file.write(content[len(content) // 2 :])
