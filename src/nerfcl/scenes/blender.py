"""The Blender layout of the NeRF synthetic dataset: transforms_{train,val,test}.json and RGBA PNGs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfcl.errors import NerfclError
from nerfcl.progress import Track
from nerfcl.scenes.cameras import focal_from_angle, is_rotation
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.images import IMAGE_SUFFIXES, read_image, size_of_first
from nerfcl.scenes.scene import Scene, Views, box_seen_by

HAS_SPHERIC_POSES = False

WHITE = (1.0, 1.0, 1.0)


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
    description = read_json(path)
    frames = description.get("frames")
    if not isinstance(frames, list) or not frames:
        raise NerfclError(f"{path}: has no 'frames' list; is this a scene in Blender layout?")
    angle = description.get("camera_angle_x")
    if not isinstance(angle, int | float) or not 0.0 < angle < math.pi:
        raise NerfclError(f"{path}: 'camera_angle_x' must be an angle between 0 and pi (radians), found {angle!r}")
    poses = np.stack([read_pose(path, index, frame) for index, frame in enumerate(frames)])
    files = [_image_file(root, path, index, frame) for index, frame in enumerate(frames)]
    original = size_of_first(files[0], size)
    images = np.stack([read_image(file, original, size, WHITE) for file in track(files, f"loading {split} views")])
    height, width = images.shape[1:3]
    focal = focal_from_angle(angle, width)
    aspect = (original[0] / original[1]) / (width / height)  # fy / fx; resizing may stretch
    intrinsics = torch.tensor([focal, focal * aspect, width / 2, height / 2], dtype=torch.float32)
    return Views(
        torch.from_numpy(images),
        torch.from_numpy(poses),
        intrinsics.repeat(len(frames), 1),
        tuple(f"{split}/{file.stem}" for file in files),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        NerfclError: the file is missing or does not contain a JSON object; names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NerfclError(f"{path}: no such file; is this a scene folder in Blender layout?") from None
    except OSError as error:
        raise NerfclError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise NerfclError(f"{path}: is not valid JSON ({error}); restore it from its source") from None
    if not isinstance(content, dict):
        raise NerfclError(f"{path}: must contain a JSON object, found a {type(content).__name__}")
    return content


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
    return pose


def _image_file(root: Path, path: Path, index: int, frame: Any) -> Path:
    name = frame.get("file_path")
    if not isinstance(name, str) or not Path(name).name or "\0" in name:
        raise NerfclError(f"{path}: frame {index} has no usable 'file_path'; add it or remove the frame")
    file = root / name
    return file if file.suffix.lower() in IMAGE_SUFFIXES else file.with_name(file.name + ".png")
