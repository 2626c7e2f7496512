"""The LLFF layout of photographs (Mildenhall et al. 2019): poses_bounds.npy and images, images_2, images_4, ..."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nerfcl.errors import Argument, NerfclError
from nerfcl.scenes.cameras import pixel_rays
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.images import IMAGE_SUFFIXES, Size, open_image, read_images
from nerfcl.scenes.names import view_names
from nerfcl.scenes.photos import fitted_size, stretching
from nerfcl.scenes.scene import Box, Ndc, Scene, Views, box_seen_by
from nerfcl.scenes.splits import FEWEST, SPLITS, split_of

HAS_SPHERIC_POSES = True

_BLACK = (0.0, 0.0, 0.0)
_NEAREST = 4 / 3  # depth of the nearest point after scaling; leaves a margin to the near plane
_NEAR = 1.0  # depth of the near plane
_FARTHEST = 1e6  # from the origin to a camera, after scaling
_FLATTEST = 0.1  # least component along -z of a view's corner rays: up to 84 degrees off the axis


def recognises(root: Path) -> bool:
    """Tell whether a folder contains poses of this layout, or only images, so that the loader says what is missing."""
    if (root / "poses_bounds.npy").exists():
        return True
    other = any((root / name).exists() for name in ("transforms_train.json", "transforms.json"))
    return not other and any(_image_folders(root))


def load(root: Path, request: LoadRequest) -> Scene:
    """Load a scene in LLFF layout, in the world frame of `average_pose` or `upright_pose`.

    Poses are scaled so that the smallest near bound is 4/3. The images sorted by name are divided by `split_of`.

    Args:
        root: folder with `poses_bounds.npy` and folders `images`, `images_2`, `images_4`, ... The smallest images at
            least as large as requested are read, or else the largest.
        request: image size, progress tracking, and whether the cameras surround an object and look at it; if not, they
            must face forward, and the scene has normalised device coordinates.

    Raises:
        NerfclError: a file is missing, damaged or inconsistent with the others; names it.
    """
    path = root / "poses_bounds.npy"
    rows = read_rows(path)
    files, original, size = _image_files(root, request, rows)
    poses = opengl_poses(rows)
    world = upright_pose(poses) if request.spheric_poses else average_pose(poses)
    poses = np.linalg.inv(world) @ poses
    poses[:, :3, 3] *= _NEAREST / rows[:, 15].min()
    _check(
        path,
        np.abs(poses[:, :3, 3]).max(1) <= _FARTHEST,
        f"a position more than {_FARTHEST:,.0f} times as far from the others as the smallest near bound",
    )
    images = read_images(files, original, size, _BLACK, request.track(files, "loading images"))
    views = Views(
        images,
        torch.from_numpy(poses.astype(np.float32)),
        _intrinsics(rows, images.shape[2], images.shape[1]),
        tuple(split_of(index) + name for index, name in enumerate(view_names("", files, root))),
    )
    train, val, test = (views.select([i for i in range(len(views)) if split_of(i) == split]) for split in SPLITS)
    name = root.resolve().name
    notes = tuple(stretching(original, size))
    if request.spheric_poses:
        box = box_seen_by(train.poses, train.intrinsics, train.width)
        return Scene(name, train, val, test, _BLACK, box, notes=notes)
    ndc = ndc_seen_by(train.poses, train.intrinsics, train.width, train.height)
    if ndc is None:
        raise NerfclError(
            f"{path}: the cameras do not all look forward; if they surround an object, use ",
            Argument("spheric_poses"),
        )
    return Scene(name, train, val, test, _BLACK, Box((-1.0, -1.0, -1.0), 2.0), ndc, notes=notes)


def read_rows(path: Path) -> np.ndarray:
    """Read `poses_bounds.npy`.

    A row holds a 3x5 matrix in row-major order and the near and far depth bounds of its image. The columns of the
    matrix are the camera's down, right and backward axes, its position, and (height, width, focal length in pixels).

    Returns:
        (N, 17) float64, N >= 4.

    Raises:
        NerfclError: the file is missing or damaged; names it and the row.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise NerfclError(f"{path}: is not a file; restore it from its source")
        with path.open("rb") as file:
            rows = np.asarray(np.load(file, allow_pickle=False), dtype=np.float64)
    except FileNotFoundError:
        raise NerfclError(f"{path}: no such file; restore it, or compute it with LLFF's imgs2poses.py") from None
    except NerfclError:
        raise
    except Exception as error:  # numpy may raise anything on a malformed file
        reason = " ".join(str(error).split())
        raise NerfclError(f"{path}: is not an array of numbers ({reason}); restore it from its source") from None
    if rows.ndim != 2 or rows.shape[1] != 17:
        raise NerfclError(f"{path}: must be an N x 17 array, found shape {rows.shape}; restore it from its source")
    if len(rows) < FEWEST:
        raise NerfclError(f"{path}: has {len(rows)} poses; at least {FEWEST} are needed for train, val and test views")
    _check(path, np.isfinite(rows).min(1), "NaN or infinity")
    positive = rows[:, [4, 9, 14, 15]].min(1) > 0.0
    _check(path, positive, "a height, width, focal length or near bound that is not positive")
    rotations = opengl_poses(rows)[:, :3, :3]
    skew = np.abs(rotations.transpose(0, 2, 1) @ rotations - np.eye(3)).max((1, 2))
    _check(
        path, (skew < 1e-3) & (np.linalg.det(rotations) > 0.0), "a matrix whose first three columns are not a rotation"
    )
    return rows


def _check(path: Path, good: np.ndarray, fault: str) -> None:
    if not good.all():
        raise NerfclError(f"{path}: row {int(good.argmin())} has {fault}; fix it, or remove it and its image")


def opengl_poses(rows: np.ndarray) -> np.ndarray:
    """Convert rows of `poses_bounds.npy` to poses (N, 4, 4) with OpenGL camera axes (right, up, backward)."""
    down, right, backward, position, _ = np.moveaxis(rows[:, :15].reshape(-1, 3, 5), 2, 0)  # (N, 3) each
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = np.stack([right, -down, backward, position], 2)
    return poses


def average_pose(poses: np.ndarray) -> np.ndarray:
    """Compute the average of forward-facing poses: mean position, mean backward axis, and approximate mean up axis.

    Relative to it, cameras look along -z, and x > 0 is to the right.

    Args:
        poses: (N, 4, 4).

    Returns:
        (4, 4).

    Raises:
        NerfclError: the cameras have no common viewing or up direction.
    """
    backward, up = poses[:, :3, 2].mean(0), poses[:, :3, 1].mean(0)
    return _pose(np.cross(up, backward), backward, poses[:, :3, 3].mean(0))


def upright_pose(poses: np.ndarray) -> np.ndarray:
    """Compute the pose of a world frame for inward-facing cameras.

    Its origin is their mean position, z their mean up axis, and x approximately the right axis of the first one.

    Args:
        poses: (N, 4, 4).

    Returns:
        (4, 4).

    Raises:
        NerfclError: the cameras have no common up direction.
    """
    return _pose(poses[0, :3, 0], poses[:, :3, 1].mean(0), poses[:, :3, 3].mean(0))


def _pose(right: np.ndarray, z: np.ndarray, position: np.ndarray) -> np.ndarray:
    y = np.cross(z, right)
    if min(np.linalg.norm(z), np.linalg.norm(y)) < 1e-6:
        raise NerfclError(
            "the cameras of this scene have no common viewing direction, or no common up direction; forward-facing "
            "ones need both, ones that surround an object need ",
            Argument("spheric_poses"),
        )
    y, z = y / np.linalg.norm(y), z / np.linalg.norm(z)
    pose = np.eye(4)
    pose[:3] = np.stack([np.cross(y, z), y, z, position], 1)
    return pose


def ndc_seen_by(poses: Tensor, intrinsics: Tensor, width: int, height: int) -> Ndc | None:
    """Find the normalised device coordinates whose cube tightly holds all rays of these views beyond the near plane.

    Args:
        poses: (N, 4, 4) world from camera.
        intrinsics: (N, 4) fx, fy, cx, cy in pixels.
        width: image width in pixels.
        height: image height in pixels.

    Returns:
        The coordinates; None if any ray does not point along -z.
    """
    # Straight lines stay straight and the cube is convex, so the ends of the corner rays suffice.
    corners = torch.tensor([[0, 0], [width, 0], [0, height], [width, height]], dtype=torch.float64)
    first = torch.zeros(len(poses), dtype=torch.float64)
    rays = pixel_rays(poses.double(), intrinsics.double(), first, first, corners)
    origins, directions = rays.origins, rays.directions
    if not (directions[:, 2] < -_FLATTEST).all():
        return None
    slopes = directions[:, :2] / -directions[:, 2:]  # (R, 2), the ends at infinity
    depth = (-origins[:, 2:]).clamp(min=_NEAR)
    starts = (origins[:, :2] + (depth + origins[:, 2:]) * slopes) / depth  # (R, 2)
    x, y = torch.cat([slopes, starts]).abs().amax(0).tolist()
    fx, fy = intrinsics[:, :2].amin(0).tolist()
    return Ndc(min(2.0 * fx / width, 1.0 / x), min(2.0 * fy / height, 1.0 / y), _NEAR)


def _intrinsics(rows: np.ndarray, width: int, height: int) -> Tensor:
    """Compute (N, 4) fx, fy, cx, cy in pixels for images of this size; resizing may stretch them."""
    fx, fy = rows[:, 14] * width / rows[:, 9], rows[:, 14] * height / rows[:, 4]
    centers = np.full((2, len(rows)), [[width / 2], [height / 2]])
    return torch.from_numpy(np.stack([fx, fy, *centers], 1).astype(np.float32))


def _image_folders(root: Path) -> list[Path]:
    """List the folders "images", "images_2", "images_4", ...; others, as of masks, are none of the layout's."""
    return [path for path in root.glob("images*") if re.fullmatch(r"images(_\d+)?", path.name) and path.is_dir()]


def _image_files(root: Path, request: LoadRequest, rows: np.ndarray) -> tuple[list[Path], Size, Size]:
    """Find the images to read, one per row and sorted by name, their (width, height), and that of their views."""
    folders: dict[tuple[int, int], list[Path]] = {}
    for folder in sorted(_image_folders(root)):
        files = sorted(f for f in folder.glob("[!.]*") if f.suffix.lower() in IMAGE_SUFFIXES)
        if files:
            with open_image(files[0]) as first:
                folders.setdefault(first.size, files)
    if not folders:
        raise NerfclError(f"{root}: has no folder 'images' or 'images_N' with images next to poses_bounds.npy; add one")
    largest = max(folders)
    size = fitted_size(folders[largest][0], largest, request)
    original = min((known for known in folders if known[0] >= size[0]), default=largest)
    files = folders[original]
    if len(files) != len(rows):
        raise NerfclError(
            f"{files[0].parent}: has {len(files)} images, but poses_bounds.npy has {len(rows)} poses; "
            "restore the missing images, or remove those that do not belong there"
        )
    height, width = rows[0, [4, 9]]
    if abs(original[0] / original[1] / (width / height) - 1.0) > 0.02:
        raise NerfclError(
            f"{files[0]}: is {original[0]}x{original[1]}, but poses_bounds.npy is for images of "
            f"{width:.0f}x{height:.0f}; restore the images that the poses were computed from"
        )
    return files, original, size
