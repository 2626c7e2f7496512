"""A phone's capture in instant-ngp's format as a scene, for whichever nerfcl is imported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nerfcl.scenes.scene import Box, Scene, Views

_SIDE = 12.0  # of the box, in units of the file: room for what lies behind the fox
_EVERY = 8  # photographs: the first of these is for testing, the fifth for validation


def phone_capture(folder: Path, width: int) -> Scene:
    """Photographs of one `transforms.json`, made `width` pixels wide; lens distortion is left as it is."""
    file = json.loads((folder / "transforms.json").read_text())
    frames = [frame for frame in file["frames"] if (folder / frame["file_path"]).exists()]
    factor = width / file["w"]
    size = (width, round(file["h"] * factor))
    images = [
        np.asarray(Image.open(folder / frame["file_path"]).convert("RGB").resize(size, Image.Resampling.LANCZOS))
        for frame in frames
    ]
    views = Views(
        torch.from_numpy(np.stack(images)),
        torch.tensor([frame["transform_matrix"] for frame in frames]),
        (torch.tensor([file[key] for key in ("fl_x", "fl_y", "cx", "cy")]) * factor).repeat(len(frames), 1),
        tuple(Path(frame["file_path"]).name for frame in frames),
    )
    kinds = [{0: "test", _EVERY // 2: "val"}.get(index % _EVERY, "train") for index in range(len(frames))]
    train, val, test = (
        views.select([index for index, kind in enumerate(kinds) if kind == split]) for split in ("train", "val", "test")
    )
    return Scene(folder.name, train, val, test, (1.0, 1.0, 1.0), Box.around((0.0, 0.0, 0.0), _SIDE))
