"""The Blender layout of the NeRF synthetic dataset: transforms_{train,val,test}.json and RGBA PNGs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfcl.errors import NerfclError
from nerfcl.files import read_json
from nerfcl.progress import Track
from nerfcl.scenes.cameras import FARTHEST, focal_from_angle, is_rotation
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.images import IMAGE_SUFFIXES, check_all_there, read_images, size_of_first
from nerfcl.scenes.names import view_names
from nerfcl.scenes.scene import Scene, Views, box_seen_by

HAS_SPHERIC_POSES = False

WHITE = (1.0, 1.0, 1.0)
NARROWEST = 1e-4  # radians between an angle of view and 0 or pi


def recognises(root: Path) -> bool:
    """Tell whether a folder contains camera files of this layout."""
    return (root / "transforms_train.json").exists()


def load(root: Path, request: LoadRequest) -> Scene:
    """Load a scene in Blender layout, composited on white.

    Args:
        root: folder with `transforms_{train,val,test}.json`.
        request: image size and progress tracking.

    Raises:
        NerfclError: a file is missing, damaged or inconsistent with the others; names it.
    """
    train, val, test = (_load_views(root, split, request.size, request.track) for split in ("train", "val", "test"))
    box = box_seen_by(train.poses, train.intrinsics, train.width)
    return Scene(root.resolve().name, train, val, test, WHITE, box)


def _load_views(root: Path, split: str, size: tuple[int, int] | None, track: Track) -> Views:
    path = root / f"transforms_{split}.json"
    description = _read_cameras(root, path, split)
    frames = description.get("frames")
    if not isinstance(frames, list) or not frames:
        raise NerfclError(f"{path}: has no 'frames' list; is this a scene in Blender layout?")
    angle = read_angle(path, description)
    poses = np.stack([read_pose(path, index, frame) for index, frame in enumerate(frames)])
    files = [image_file(root, path, index, frame) for index, frame in enumerate(frames)]
    check_all_there(files)
    original = size_of_first(files[0], size)
    images = read_images(files, original, size, WHITE, track(files, f"loading {split} views"))
    height, width = images.shape[1:3]
    focal = focal_from_angle(angle, width)
    aspect = (original[0] / original[1]) / (width / height)  # fy / fx; resizing may stretch
    intrinsics = torch.tensor([focal, focal * aspect, width / 2, height / 2], dtype=torch.float32)
    return Views(
        images,
        torch.from_numpy(poses),
        intrinsics.repeat(len(frames), 1),
        view_names(split, files, root),
    )


def _read_cameras(root: Path, path: Path, split: str) -> dict[str, Any]:
    """Read a split's camera file, which must contain a JSON object; say what to do if there is none."""
    try:
        description = read_json(path)
    except FileNotFoundError:
        if (root / "transforms_train.json").exists():
            why = f"a scene needs {split} views; move some frames of transforms_train.json there"
        elif (root / "transforms.json").exists():
            why = "divide the frames of transforms.json among transforms_train.json, transforms_val.json and "
            why += "transforms_test.json"
        else:
            why = "is this a scene folder in Blender layout?"
        raise NerfclError(f"{path}: no such file; {why}") from None
    if not isinstance(description, dict):
        raise NerfclError(f"{path}: must contain a JSON object, found a {type(description).__name__}")
    return description


def read_angle(path: Path, description: dict[str, Any]) -> float:
    """Read `camera_angle_x` (radians), the horizontal angle of view.

    Raises:
        NerfclError: it is missing, or not between 0 and pi; names the file.
    """
    angle = description.get("camera_angle_x")
    if not isinstance(angle, int | float) or not NARROWEST < angle < math.pi - NARROWEST:
        raise NerfclError(f"{path}: 'camera_angle_x' must be an angle between 0 and pi (radians), found {angle!r:.40}")
    return float(angle)


def read_pose(path: Path, index: int, frame: Any) -> np.ndarray:
    """Read a frame's `transform_matrix`.

    Args:
        path: file of the frame, for error messages.
        index: index of the frame, for error messages.
        frame: JSON object of the frame.

    Returns:
        (4, 4) float32, world from camera.

    Raises:
        NerfclError: the matrix is missing or not a rigid transformation; names the file and the frame.
    """
    matrix = frame.get("transform_matrix") if isinstance(frame, dict) else None
    try:
        with np.errstate(over="ignore"):
            pose = np.asarray(matrix, dtype=np.float64).astype(np.float32)
    except (TypeError, ValueError, OverflowError):
        pose = np.empty(0)
    if pose.shape != (4, 4):
        raise NerfclError(f"{path}: frame {index} has no 4x4 'transform_matrix' of numbers; add it or remove the frame")
    if not np.isfinite(pose).all():
        raise NerfclError(f"{path}: frame {index} has NaN or infinity in 'transform_matrix'; fix or remove the frame")
    if not is_rotation(torch.from_numpy(pose[:3, :3])):
        raise NerfclError(
            f"{path}: frame {index} has a 'transform_matrix' whose upper 3x3 part is not a rotation; "
            "fix or remove the frame"
        )
    if np.abs(pose[:3, 3]).max() > FARTHEST:
        raise NerfclError(
            f"{path}: frame {index} has a camera farther than {FARTHEST:,.0f} units from the origin; subtract a common "
            "offset from all positions, or fix the frame"
        )
    return pose


def image_file(root: Path, path: Path, index: int, frame: Any) -> Path:
    """Find a frame's image: `file_path`, with ".png" appended unless it ends like an image.

    Args:
        root: folder of the scene.
        path, index, frame: see `read_pose`.

    Raises:
        NerfclError: the frame has no usable path; names the file and the frame.
    """
    name = frame.get("file_path") if isinstance(frame, dict) else None
    try:
        usable = isinstance(name, str) and bool(Path(name).name) and b"\0" not in name.encode()
    except UnicodeEncodeError:  # surrogates, which no file name can hold
        usable = False
    if not isinstance(name, str) or not usable:
        raise NerfclError(f"{path}: frame {index} has no usable 'file_path'; add it or remove the frame")
    file = root / name
    return file if file.suffix.lower() in IMAGE_SUFFIXES else file.with_name(file.name + ".png")
