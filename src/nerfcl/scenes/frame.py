"""Validation of frames that a caller provides, and their conversion to `Views`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.scenes.cameras import FARTHEST, is_rotation
from nerfcl.scenes.images import MOST_PIXELS
from nerfcl.scenes.lenses import PINHOLE, ROW
from nerfcl.scenes.scene import Views


def posed_frame(image: np.ndarray | Tensor, world_from_camera: Any, intrinsics: Any, number: int) -> Views:
    """Validate and copy one frame.

    Args:
        image: (H, W, 3) uint8 sRGB.
        world_from_camera: (4, 4) pose, OpenGL axes, world units.
        intrinsics: (4,) fx, fy, cx, cy in pixels; or (20,) with a lens, see `nerfcl.scenes.lenses`.
        number: frame number, for error messages.

    Returns:
        One unnamed view.

    Raises:
        NerfclError: the frame is invalid; says why.
    """
    if math.prod(getattr(image, "shape", ())) > 3 * MOST_PIXELS:  # before it is copied
        raise NerfclError(f"frame {number}: the image has more than {MOST_PIXELS:,} pixels; make it smaller")
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
    if pose[:3, 3].abs().max() > FARTHEST:
        raise NerfclError(f"frame {number}: the camera is farther than {FARTHEST:,.0f} units from the origin")
    if lens.shape not in ((PINHOLE,), (ROW,)) or not torch.isfinite(lens.float()).all() or (lens[:2] <= 0.0).any():
        raise NerfclError(f"frame {number}: the intrinsics must be fx, fy, cx, cy in pixels, with positive fx and fy")
    return Views(pixels[None], pose.float()[None], lens.float()[None], ("",))


def _copy(value: Any) -> Tensor:
    return value.detach().cpu().clone() if isinstance(value, Tensor) else torch.as_tensor(np.array(value))
