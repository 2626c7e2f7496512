"""Validation of frames that a caller provides, and their conversion to `Views`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.scenes.cameras import is_rotation
from nerfcl.scenes.scene import Views


def posed_frame(image: np.ndarray | Tensor, world_from_camera: Any, intrinsics: Any, number: int) -> Views:
    """Validate and copy one frame.

    Args:
        image: (H, W, 3) uint8 sRGB.
        world_from_camera: (4, 4) pose, OpenGL axes, world units.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
        number: frame number, for error messages.

    Returns:
        One unnamed view.

    Raises:
        NerfclError: the frame is invalid; says why.
    """
    try:
        pixels, pose, lens = _copy(image), _copy(world_from_camera).double(), _copy(intrinsics).double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise NerfclError(f"frame {number}: is not an image with a pose and intrinsics ({error})") from None
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.numel():
        raise NerfclError(
            f"frame {number}: the image must be a (height, width, 3) array of uint8, found {tuple(pixels.shape)} of "
            f"{pixels.dtype}"
        )
    if pose.shape != (4, 4) or not torch.isfinite(pose.float()).all():
        raise NerfclError(f"frame {number}: the pose must be a 4x4 matrix of finite numbers")
    if not is_rotation(pose[:3, :3]):
        raise NerfclError(f"frame {number}: the pose's upper 3x3 part is not a rotation")
    if lens.shape != (4,) or not torch.isfinite(lens.float()).all() or (lens[:2] <= 0.0).any():
        raise NerfclError(f"frame {number}: the intrinsics must be fx, fy, cx, cy in pixels, with positive fx and fy")
    return unnamed_views(pixels[None], pose.float()[None], lens.float()[None])


def unnamed_views(images: Tensor, poses: Tensor, intrinsics: Tensor) -> Views:
    """Build views without names; see `Views`."""
    return Views(images, poses, intrinsics, ("",) * len(images))


def _copy(value: Any) -> Tensor:
    return value.detach().cpu().clone() if isinstance(value, Tensor) else torch.as_tensor(np.array(value))
