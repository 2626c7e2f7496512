"""transforms.json of instant-ngp and nerfstudio: one file or, as in the NeRF synthetic dataset, one for each split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfcl.errors import NerfclError
from nerfcl.files import read_json
from nerfcl.scenes.cameras import focal_from_angle, is_rotation
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.images import IMAGE_SUFFIXES, Size, check_all_there, read_header
from nerfcl.scenes.lenses import COEFFICIENTS, Lens, covers, lens_row
from nerfcl.scenes.names import view_names
from nerfcl.scenes.photos import Photo, common_size, load_views, offset_of, stretching
from nerfcl.scenes.scene import Scene, box_seen_by
from nerfcl.scenes.splits import FEWEST, SPLITS, split_of, without_validation

HAS_SPHERIC_POSES = False

WHITE = (1.0, 1.0, 1.0)
NARROWEST = 1e-4  # radians between an angle of view and 0 or pi

_WHOLE = "transforms.json"
_CONTRADICTION = 1.2  # ratio of two focal lengths of one camera
_MOST_PIXELS_WIDE = 1e6
_LENSES = {
    "": Lens.PERSPECTIVE,
    **dict.fromkeys(("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"), Lens.PERSPECTIVE),
    **dict.fromkeys(("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE"), Lens.FISHEYE),
    "EQUIRECTANGULAR": Lens.EQUIRECTANGULAR,
}
_UNUSED = ("mask_path", "depth_file_path")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


def recognises(root: Path) -> bool:
    """Tell whether a folder contains camera files of this layout."""
    return any((root / name).exists() for name in (_WHOLE, *map(_file_of, SPLITS)))


def load(root: Path, request: LoadRequest) -> Scene:
    """Load a scene, composited on white where images are transparent.

    Of one `transforms.json`, frames without an image are left out; its lists `train_filenames`, `val_filenames` and
    `test_filenames` say what they are for, or else their names in order, see `split_of`. With a file for each split,
    every image must be there. Missing validation views are taken from the train views.

    Args:
        root: folder with `transforms.json`, or with `transforms_{train,val,test}.json`.
        request: image size and progress tracking.

    Raises:
        NerfclError: a file is missing, damaged or inconsistent with the others; names it.
    """
    notes: list[str] = []
    whole = root / _WHOLE
    is_split = any((root / _file_of(split)).exists() for split in SPLITS)
    splits = _split_files(root, notes) if is_split or not whole.exists() else _split_frames(root, whole, notes)
    if not splits["val"]:
        splits["train"], splits["val"] = without_validation(splits["train"])
        count = len(splits["val"])
        notes.append(f"there are no validation views; {count} train view{'s' * (count > 1)} became such")
    photos = [photo for split in SPLITS for photo in splits[split]]
    offset = offset_of(photos)
    size = common_size(photos, request)
    notes.extend(stretching(photos[0].shown, size))
    views = {}
    for split in SPLITS:
        named = view_names(split, [photo.file for photo in splits[split]], root)
        moved = [_moved(photo, offset) for photo in splits[split]]
        views[split] = load_views(moved, named, size, WHITE, request.track, f"loading {split} views")
    train = views["train"]
    box = box_seen_by(train.poses, train.intrinsics, train.width)
    return Scene(
        root.resolve().name, train, views["val"], views["test"], WHITE, box, offset=_corner(offset), notes=tuple(notes)
    )


def _split_files(root: Path, notes: list[str]) -> dict[str, list[Photo]]:
    """Read the photographs of a file for each split."""
    splits: dict[str, list[Photo]] = {"val": []}
    for split in SPLITS:
        path = root / _file_of(split)
        if split == "val" and not path.exists():
            continue
        frames = Frames.read(path, _advice(root))
        notes.extend(frames.unused())
        files = [frames.image_file(root, index) for index in range(len(frames))]
        check_all_there(files)
        splits[split] = [frames.photo(index, file) for index, file in enumerate(files)]
    return splits


def _split_frames(root: Path, path: Path, notes: list[str]) -> dict[str, list[Photo]]:
    """Read the photographs of one file, and divide them."""
    frames = Frames.read(path, "restore it")
    notes.extend(frames.unused())
    files = [frames.image_file(root, index) for index in range(len(frames))]
    there = [index for index, file in enumerate(files) if file.exists()]
    if len(there) < len(files):
        missing = next(file for file in files if not file.exists())
        notes.append(
            f"{path.name} lists {len(files)} frames, {len(files) - len(there)} of which have no image and are left "
            f"out ({missing.name} is the first)"
        )
    if len(there) < FEWEST:
        check_all_there(files)
        raise NerfclError(
            f"{path}: lists {len(there)} frames; at least {FEWEST} are needed for train, val and test views"
        )
    lists = {split: _listed(path, frames.shared, split) for split in SPLITS}
    if lists["train"]:
        places = {_find(root, name): split for split, names in lists.items() for name in names}
        chosen = {index: places.get(files[index]) for index in there}
    else:
        ordered = sorted(there, key=lambda index: files[index].as_posix())
        chosen = {index: split_of(place) for place, index in enumerate(ordered)}
        there = ordered
    splits = {split: [frames.photo(i, files[i]) for i in there if chosen[i] == split] for split in SPLITS}
    for split in ("train", "test"):
        if not splits[split]:
            raise NerfclError(
                f"{path}: '{split}_filenames' names no image that is there; correct it, or remove the lists"
            )
    if not lists["train"]:
        counts = ", ".join(f"{len(splits[split])} {split}" for split in SPLITS)
        notes.append(f"no split is given: of the frames by name, every 8th is a test view ({counts})")
    return splits


@dataclass(frozen=True)
class Frames:
    """The frames of a camera file.

    Attributes:
        path: the file.
        shared: its content, whose camera is that of every frame that has none.
        entries: content of its frames.
    """

    path: Path
    shared: Mapping[str, Any]
    entries: Sequence[Any]

    @staticmethod
    def read(path: Path, advice: str) -> Frames:
        """Read a camera file.

        Raises:
            NerfclError: it is missing, or has no frames; names it.
        """
        try:
            description = read_json(path)
        except FileNotFoundError:
            raise NerfclError(f"{path}: no such file; {advice}") from None
        frames = Frames.of(path, description)
        if not len(frames):
            raise NerfclError(f"{path}: has no 'frames' list; is this a scene's camera file?")
        return frames

    @staticmethod
    def of(path: Path, description: Any) -> Frames:
        """Take the frames, if any yet, from the content of a camera file.

        Raises:
            NerfclError: it is no JSON object with a list of frames.
        """
        if not isinstance(description, dict):
            raise NerfclError(f"{path}: must contain a JSON object, found a {type(description).__name__}")
        entries = description.get("frames")
        if not isinstance(entries, list):
            raise NerfclError(f"{path}: has no 'frames' list; is this a scene's camera file?")
        shared = {key: value for key, value in description.items() if key != "frames"}
        for angle in ("camera_angle_x", "camera_angle_y"):
            if angle in shared:
                _angle(path, shared, angle)
        return Frames(path, shared, entries)

    def __len__(self) -> int:
        return len(self.entries)

    def unused(self) -> list[str]:
        """Say what the frames have that is not used."""
        frames = [entry for entry in self.entries if isinstance(entry, dict)]
        counts = {key: sum(key in entry for entry in frames) for key in _UNUSED}
        return [f"{self.path.name}: '{key}' of {count} frames is not used" for key, count in counts.items() if count]

    def image_file(self, root: Path, index: int) -> Path:
        """Find a frame's image from its `file_path`, which may lack a suffix or come from another machine.

        Raises:
            NerfclError: the frame has no usable path; names the file and the frame.
        """
        entry = self.entries[index]
        if not isinstance(entry, dict) or not entry:
            raise NerfclError(
                f"{self.path}: frame {index} must be an object with 'file_path' and 'transform_matrix'; add them or "
                "remove the frame"
            )
        name = entry.get("file_path")
        try:
            usable = isinstance(name, str) and bool(Path(name).name) and b"\0" not in name.encode()
        except UnicodeEncodeError:  # surrogates, which no file name can hold
            usable = False
        if not isinstance(name, str) or not usable:
            raise NerfclError(f"{self.path}: frame {index} has no usable 'file_path'; add it or remove the frame")
        return _find(root, name)

    def photo(self, index: int, file: Path) -> Photo:
        """Describe a frame's photograph.

        Args:
            index: number of the frame.
            file: its image.

        Raises:
            NerfclError: camera or image are missing, damaged or contradict each other; names the file and the frame.
        """
        pose = self.pose(index)
        header = read_header(file)
        camera = {**self.shared, **self.entries[index]}
        where = f"{self.path}: frame {index}" if _CAMERA_KEYS & self.entries[index].keys() else str(self.path)
        size = _size(where, camera) or header.size
        return Photo(file, header, pose, _intrinsics(where, camera, size), size, f"{self.path}: frame {index}")

    def pose(self, index: int) -> np.ndarray:
        """Read a frame's `transform_matrix`; a scaled rotation is normalised.

        Returns:
            (4, 4) float64, world from camera.

        Raises:
            NerfclError: the matrix is missing or no rigid transformation; names the file and the frame.
        """
        entry, where = self.entries[index], f"{self.path}: frame {index}"
        try:
            matrix = np.asarray(entry.get("transform_matrix"), dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            matrix = np.empty(0)
        if matrix.shape == (3, 4):
            matrix = np.concatenate([matrix, [[0.0, 0.0, 0.0, 1.0]]])
        if matrix.shape != (4, 4):
            raise NerfclError(f"{where} has no 4x4 'transform_matrix' of numbers; add it or remove the frame")
        if not (np.abs(matrix) < np.finfo(np.float32).max).all():
            raise NerfclError(f"{where} has NaN or infinity in 'transform_matrix'; fix or remove the frame")
        if np.abs(matrix[3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-6:
            raise NerfclError(f"{where} has a 'transform_matrix' whose last row is not 0 0 0 1; is it transposed?")
        scale = np.linalg.norm(matrix[:3, :3], axis=0).mean()
        rotation = matrix[:3, :3] / max(scale, 1e-12)
        if not is_rotation(torch.from_numpy(rotation)):
            raise NerfclError(
                f"{where} has a 'transform_matrix' whose upper 3x3 part is not a rotation; fix or remove the frame"
            )
        if abs(scale - 1.0) > 1e-3:  # else as it is given, to the last bit
            matrix[:3, :3] = rotation
        return matrix


_CAMERA_KEYS = {"fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y", *_DISTORTION}


def _intrinsics(where: str, camera: Mapping[str, Any], size: Size) -> tuple[float, ...]:
    width, height = size
    lens = _lens(where, camera)
    middle = (
        _number(where, camera, "cx", -width, 2 * width, width / 2),
        _number(where, camera, "cy", -height, 2 * height, height / 2),
    )
    if lens is Lens.EQUIRECTANGULAR:
        return tuple(lens_row((width / (2 * math.pi), height / math.pi, *middle), lens, {}))
    fx = _focal(where, camera, "x", width)
    if fx is None:
        raise NerfclError(f"{where}: has no focal length; give 'fl_x' (pixels) or 'camera_angle_x' (radians)")
    fy = _focal(where, camera, "y", height) or fx
    distortion = {name: _number(where, camera, name, -1e6, 1e6, 0.0) for name in _DISTORTION}
    if lens is Lens.PERSPECTIVE and not any(distortion.values()):
        return (fx, fy, *middle)
    row = lens_row((fx, fy, *middle), lens, distortion)
    if not covers(row, size):
        raise NerfclError(
            f"{where} has a distortion ({', '.join(name for name in COEFFICIENTS if distortion.get(name))}) that folds "
            "the image over itself; correct it"
        )
    return tuple(row)


def _lens(where: str, camera: Mapping[str, Any]) -> Lens:
    model = camera.get("camera_model") or ""
    if camera.get("is_fisheye") is True:
        return Lens.FISHEYE
    if not isinstance(model, str) or model.upper() not in _LENSES:
        known = ", ".join(name for name in _LENSES if name)
        raise NerfclError(f"{where} has the 'camera_model' {model!r:.40}; known are {known}")
    return _LENSES[model.upper()]


def _focal(where: str, camera: Mapping[str, Any], axis: str, pixels: int) -> float | None:
    """Read a focal length in pixels, or compute it from the angle of view; they must agree."""
    length, angle = f"fl_{axis}", f"camera_angle_{axis}"
    given = _number(where, camera, length, 1e-3, 1e9, None) if length in camera else None
    if angle not in camera:
        return given
    computed = focal_from_angle(_angle(where, camera, angle), pixels)
    if given is not None and not 1 / _CONTRADICTION < given / computed < _CONTRADICTION:
        raise NerfclError(
            f"{where} has '{length}' {given:g}, but '{angle}' {camera[angle]:g} is {computed:.6g} for images of "
            f"{pixels} pixels; remove the one that is wrong"
        )
    return computed if given is None else given


def _size(where: str, camera: Mapping[str, Any]) -> Size | None:
    if "w" not in camera or "h" not in camera:
        return None
    width, height = (_number(where, camera, name, 1.0, _MOST_PIXELS_WIDE, None) for name in "wh")
    return round(width), round(height)


def _angle(where: str | Path, camera: Mapping[str, Any], name: str) -> float:
    """Read an angle of view (radians)."""
    angle = camera.get(name)
    if isinstance(angle, bool) or not isinstance(angle, int | float) or not NARROWEST < angle < math.pi - NARROWEST:
        raise NerfclError(f"{where}: '{name}' must be an angle between 0 and pi (radians), found {angle!r:.40}")
    return float(angle)


def _number(
    where: str, camera: Mapping[str, Any], name: str, least: float, most: float, missing: float | None
) -> float:
    value = camera.get(name, missing)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise NerfclError(f"{where}: '{name}' must be a number between {least:g} and {most:g}, found {value!r:.40}")
    return float(value)


def _find(root: Path, name: str) -> Path:
    """Find a file by a path that may be relative, absolute, of another machine, and without its suffix."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    tails = (
        [root.joinpath(*parts[i:]) for i in range(len(parts))] if Path(name).is_absolute() or ":" in parts[0] else []
    )
    plain = root / name if "\\" not in name else root.joinpath(*parts)
    for file in (plain, *tails):
        has_suffix = file.suffix.lower() in IMAGE_SUFFIXES
        candidates = [file] if has_suffix else [file.with_name(file.name + suffix) for suffix in _SUFFIXES]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    return plain if plain.suffix.lower() in IMAGE_SUFFIXES else plain.with_name(plain.name + _SUFFIXES[0])


_SUFFIXES = (".png", *sorted(IMAGE_SUFFIXES - {".png"}))


def _listed(path: Path, shared: Mapping[str, Any], split: str) -> list[str]:
    names = shared.get(f"{split}_filenames", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise NerfclError(f"{path}: '{split}_filenames' must be a list of file names; correct or remove it")
    return names


def _moved(photo: Photo, offset: np.ndarray) -> Photo:
    pose = photo.pose.copy()
    pose[:3, 3] -= offset
    return replace(photo, pose=pose)


def _corner(position: np.ndarray) -> tuple[float, float, float]:
    x, y, z = position.tolist()
    return x, y, z


def _file_of(split: str) -> str:
    return f"transforms_{split}.json"


def _advice(root: Path) -> str:
    if (root / _file_of("train")).exists():
        return "a scene needs train and test views; move some frames of transforms_train.json there"
    if (root / _WHOLE).exists():
        return "restore it, or remove the files of the other splits, to divide the frames of transforms.json"
    return "is this a scene folder?"
