"""What every loader returns: posed images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfcl.cameras import Camera
from nerfcl.errors import NerfclError

SMALLEST_IMAGE = 11  # pixels; the window of SSIM does not fit into less


@dataclass(frozen=True)
class Views:
    """Posed images of one size.

    Attributes:
        images: (N, H, W, 3) uint8, sRGB, composited on the scene's background.
        poses: (N, 4, 4) float32, world from camera.
        intrinsics: (N, 4) float32, fx, fy, cx, cy in pixels.
        names: the images' names, N of them.
    """

    images: Tensor
    poses: Tensor
    intrinsics: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def height(self) -> int:
        return self.images.shape[1]

    @property
    def width(self) -> int:
        return self.images.shape[2]

    def select(self, indices: Sequence[int]) -> Views:
        """The views at these positions, in this order."""
        chosen = torch.as_tensor(list(indices), dtype=torch.long)
        return Views(
            self.images[chosen],
            self.poses[chosen],
            self.intrinsics[chosen],
            tuple(self.names[i] for i in chosen.tolist()),
        )

    def camera(self, index: int) -> Camera:
        """The camera of one view."""
        return Camera(self.poses[index], self.intrinsics[index], self.width, self.height)

    @staticmethod
    def concatenate(parts: Sequence[Views]) -> Views:
        """All views of several sets, in order."""
        return Views(
            torch.cat([part.images for part in parts]),
            torch.cat([part.poses for part in parts]),
            torch.cat([part.intrinsics for part in parts]),
            tuple(name for part in parts for name in part.names),
        )


@dataclass(frozen=True)
class Box:
    """The cube of world space that a field covers.

    Attributes:
        lower: its corner with the smallest coordinates, world units.
        side: its edge length, world units.
    """

    lower: tuple[float, float, float]
    side: float


@dataclass(frozen=True)
class Scene:
    """Views to train on, to choose settings with, and to test on.

    Attributes:
        name: short, for titles and file names.
        train, val, test: the three sets of views.
        background: colour behind everything, sRGB in [0, 1].
        box: where the scene lies.
    """

    name: str
    train: Views
    val: Views
    test: Views
    background: tuple[float, float, float]
    box: Box


def box_seen_by(poses: Tensor, intrinsics: Tensor, width: int) -> Box:
    """The cube around the point that inward-looking cameras look at, as wide as their images are there.

    The centre is the point nearest to all optical axes (least squares); the half side is the half width of the
    widest view at the centre's depth.

    Raises:
        NerfclError: the cameras do not look at anything together.
    """
    origins, forward = poses[:, :3, 3].double(), -poses[:, :3, 2].double()
    forward = torch.nn.functional.normalize(forward, dim=-1)
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]  # (N, 3, 3)
    center = torch.linalg.lstsq(across.sum(0), (across @ origins[:, :, None]).sum(0)).solution[:, 0]
    depths = ((center - origins) * forward).sum(-1)
    half = float((depths * 0.5 * width / intrinsics[:, 0].double()).abs().max())
    nearest = float((center - origins).norm(dim=-1).min())
    if not half > 1e-6 or not nearest > 1e-6:
        raise NerfclError(
            "the cameras stand in one point or look past each other, so that there is no place that they look at; "
            "scenes must be seen from around"
        )
    x, y, z = (center - half).tolist()
    return Box((x, y, z), 2.0 * half)
