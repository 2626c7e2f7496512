"""Camera conventions: pose, intrinsics and pixel -> rays.

World units, OpenGL camera axes (+x right, +y up, -z forward). Pixel (column i, row j) has its centre at
(i + 0.5, j + 0.5) and covers [i, i + 1) x [j, j + 1); row 0 is the top of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfcl.errors import Argument, NerfclError
from nerfcl.scenes.lenses import PINHOLE, lens_directions

FARTHEST = 1e6  # world units from the origin to a camera; beyond, single precision is too coarse
MOST_PER_PIXEL = 1024  # rays through a pixel


@dataclass(frozen=True)
class Rays:
    """Rays in world space.

    Attributes:
        origins: (R, 3), world units.
        directions: (R, 3), unit length.
        per_pixel: number of consecutive rays per pixel, whose colour is their mean.

    Example:
        >>> import nerfcl
        >>> camera = nerfcl.load_scene("builtin", size=(16, 16)).test.camera(0)
        >>> len(camera_rays(camera, per_pixel=4))
        1024
    """

    origins: Tensor
    directions: Tensor
    per_pixel: int = 1

    def __len__(self) -> int:
        return self.origins.shape[0]


@dataclass(frozen=True)
class Camera:
    """A camera.

    Attributes:
        world_from_camera: (4, 4) pose, camera to world, OpenGL axes.
        intrinsics: (4,) focal lengths and principal point fx, fy, cx, cy, in pixels, of a pinhole; (20,) of another
            lens, see `nerfcl.scenes.lenses`.
        width: image width in pixels.
        height: image height in pixels.

    Example:
        >>> pose = look_at(torch.tensor([0.0, -4.0, 1.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
        >>> focal = focal_from_angle(0.7, 64)
        >>> camera = Camera(pose, torch.tensor([focal, focal, 32.0, 32.0]), 64, 64)
        >>> camera_rays(camera).directions.shape
        torch.Size([4096, 3])
    """

    world_from_camera: Tensor
    intrinsics: Tensor
    width: int
    height: int


def focal_from_angle(angle_x: float, width: int) -> float:
    """Compute the focal length in pixels from the horizontal field of view `angle_x` (radians)."""
    return 0.5 * width / math.tan(0.5 * angle_x)


def is_rotation(matrix: Tensor) -> bool:
    """Tell whether a (3, 3) matrix is a rotation, with a tolerance of 0.001."""
    matrix = matrix.double()
    product = matrix.T @ matrix
    return bool((product - torch.eye(3, dtype=matrix.dtype)).abs().max() <= 1e-3 and torch.linalg.det(matrix) > 0.0)


def pixel_rays(poses: Tensor, intrinsics: Tensor, columns: Tensor, rows: Tensor, offsets: Tensor) -> Rays:
    """Cast rays through points within pixels.

    Args:
        poses: (N, 4, 4) world from camera, one per pixel.
        intrinsics: (N, 4) fx, fy, cx, cy in pixels, one row per pixel; or (N, 20) with lenses, see
            `nerfcl.scenes.lenses`.
        columns: (N,) pixel columns.
        rows: (N,) pixel rows.
        offsets: (N, S, 2) or (S, 2) points within each pixel as (x, y) fractions; (0.5, 0.5) is its centre.

    Returns:
        N * S rays; those of one pixel are consecutive.
    """
    count, per_pixel = columns.shape[0], offsets.shape[-2]
    x = columns[:, None] + offsets[..., 0]  # (N, S)
    y = rows[:, None] + offsets[..., 1]  # (N, S)
    fx, fy, cx, cy = intrinsics[:, :PINHOLE, None].unbind(1)  # (N, 1) each
    across, up = (x - cx) / fx, (cy - y) / fy  # (N, S)
    if intrinsics.shape[1] == PINHOLE:
        inverse_length = torch.rsqrt(across.square() + up.square() + 1.0)
        local = torch.stack([across, up, -torch.ones_like(across)], -1) * inverse_length[..., None]  # (N, S, 3)
    else:
        right_down_forward = lens_directions(across, -up, intrinsics[:, PINHOLE:])  # (N, S, 3)
        local = right_down_forward * right_down_forward.new_tensor([1.0, -1.0, -1.0])
    directions = torch.bmm(local, poses[:, :3, :3].transpose(1, 2))  # (N, S, 3)
    origins = poses[:, None, :3, 3].expand(count, per_pixel, 3)
    return Rays(origins.reshape(-1, 3), directions.reshape(-1, 3), per_pixel)


def pixel_offsets(per_pixel: int, *, device: torch.device | None = None) -> Tensor:
    """Place points on a regular grid over a pixel's area, for evaluation.

    Args:
        per_pixel: number of points S, a square number.
        device: device of the result.

    Returns:
        (S, 2) fractions of a pixel.

    Raises:
        NerfclError: `per_pixel` is not a square number.
    """
    side = _square_root(per_pixel)
    steps = (torch.arange(side, device=device) + 0.5) / side
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)


def stratified_offsets(
    count: int, per_pixel: int, generator: torch.Generator, *, device: torch.device | None = None
) -> Tensor:
    """Place points for training: one at the pixel centre, or several stratified over a regular grid.

    Args:
        count: number of pixels.
        per_pixel: points per pixel, a square number.
        generator: source of randomness; unused for single points.
        device: device of the result.

    Returns:
        (count, per_pixel, 2) fractions of a pixel.

    Raises:
        NerfclError: `per_pixel` is not a square number.
    """
    grid = pixel_offsets(per_pixel, device=device)  # (S, 2)
    if per_pixel == 1:
        return grid.expand(count, 1, 2)
    side = _square_root(per_pixel)
    jitter = torch.rand(count, per_pixel, 2, generator=generator).to(grid.device)
    return grid + (jitter - 0.5) / side


def camera_rays(camera: Camera, *, per_pixel: int = 1) -> Rays:
    """Cast all height * width * per_pixel rays of an image, row by row."""
    device = camera.world_from_camera.device
    rows, columns = torch.meshgrid(
        torch.arange(camera.height, device=device), torch.arange(camera.width, device=device), indexing="ij"
    )
    count = camera.height * camera.width
    return pixel_rays(
        camera.world_from_camera.expand(count, 4, 4),
        camera.intrinsics.expand(count, -1),
        columns.reshape(-1),
        rows.reshape(-1),
        pixel_offsets(per_pixel, device=device),
    )


def look_at(position: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Build the (4, 4) pose of a camera at `position` (3,) that looks at `target` (3,), with `up` (3,) upwards."""
    backward = torch.nn.functional.normalize(position - target, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(up, backward), dim=0)
    pose = torch.eye(4, dtype=position.dtype)
    pose[:3, :4] = torch.stack([right, torch.linalg.cross(backward, right), backward, position], 1)
    return pose


def _square_root(per_pixel: int) -> int:
    side = math.isqrt(max(per_pixel, 0))
    if side < 1 or side * side != per_pixel:
        raise NerfclError(Argument("rays_per_pixel", per_pixel), ": must be a square number (1, 4, 9, 16, ...)")
    if per_pixel > MOST_PER_PIXEL:
        raise NerfclError(Argument("rays_per_pixel", per_pixel), f": must be at most {MOST_PER_PIXEL}")
    return side
