"""What every loader returns: posed images, the box that they show, and the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerfcl.errors import Argument, NerfclError, require
from nerfcl.scenes.cameras import Camera
from nerfcl.scenes.lenses import PINHOLE, joined

LARGEST = 1e12  # world units of a box; single precision still computes with it
SMALLEST_IMAGE = 11  # pixels; the window size of SSIM

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Views:
    """Posed images of one size.

    Attributes:
        images: (N, H, W, 3) uint8, sRGB, composited on the scene's background.
        poses: (N, 4, 4) float32, world from camera, OpenGL axes.
        intrinsics: (N, 4) float32, fx, fy, cx, cy in pixels; or (N, 20) with lenses, see `nerfcl.scenes.lenses`.
        names: N image names.

    Example:
        >>> import nerfcl
        >>> views = nerfcl.load_scene("builtin", size=(16, 16)).train
        >>> len(views), views.width, views.pixels
        (100, 16, 25600)
    """

    images: Tensor
    poses: Tensor
    intrinsics: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def height(self) -> int:
        """Image height in pixels."""
        return self.images.shape[1]

    @property
    def width(self) -> int:
        """Image width in pixels."""
        return self.images.shape[2]

    @property
    def pixels(self) -> int:
        """Total number of pixels of all images."""
        return len(self) * self.height * self.width

    def select(self, indices: Sequence[int]) -> Views:
        """Return the views at these indices, in this order."""
        chosen = torch.as_tensor(list(indices), dtype=torch.long)
        return Views(
            self.images[chosen],
            self.poses[chosen],
            self.intrinsics[chosen],
            tuple(self.names[i] for i in chosen.tolist()),
        )

    def first(self, count: int) -> Views:
        """Return the first `count` views, or all if there are fewer."""
        return self.select(range(min(count, len(self))))

    def with_pixel_center(self, center: float) -> Views:
        """Return the views with rays that pass `center` pixels to the right of and below each pixel's top-left corner.

        0.5 changes nothing; 0.0 reproduces the reference project, whose rays pass through pixel corners.
        """
        shift = torch.tensor([0.0, 0.0, 0.5 - center, 0.5 - center])
        shift = torch.nn.functional.pad(shift, (0, self.intrinsics.shape[1] - PINHOLE))
        return replace(self, intrinsics=self.intrinsics + shift)

    def camera(self, index: int) -> Camera:
        """Return the camera of one view."""
        return Camera(self.poses[index], self.intrinsics[index], self.width, self.height)

    @staticmethod
    def concatenate(parts: Sequence[Views]) -> Views:
        """Concatenate views of the same size, in order."""
        return Views(
            torch.cat([part.images for part in parts]),
            torch.cat([part.poses for part in parts]),
            joined([part.intrinsics for part in parts]),
            tuple(name for part in parts for name in part.names),
        )


@dataclass(frozen=True)
class Box:
    """The cube of space that a field covers.

    Attributes:
        lower: corner with the smallest coordinates, world units.
        side: edge length, world units.

    Example:
        >>> Box.around((0.0, 0.0, 1.0), side=2.0).lower
        (-1.0, -1.0, 0.0)
    """

    lower: tuple[float, float, float]
    side: float

    def __post_init__(self) -> None:
        near = len(self.lower) == 3 and all(abs(number) <= LARGEST for number in self.lower)
        require(near, self, "lower", f"must be three finite numbers of at most {LARGEST:.0e}")
        require(0.0 < self.side <= LARGEST, self, "side", f"must be a positive number of at most {LARGEST:.0e}")

    @staticmethod
    def around(center: tuple[float, float, float], side: float) -> Box:
        """Build the cube with this centre and edge length, in world units.

        Raises:
            NerfclError: they are not finite, or not three numbers and a positive one.
        """
        if len(center) != 3:
            raise NerfclError(Argument("center", tuple(center)), ": must be three numbers")
        x, y, z = (middle - 0.5 * side for middle in center)
        return Box((x, y, z), side)


@dataclass(frozen=True)
class Ndc:
    """Normalised device coordinates: map all that forward-facing cameras see, out to infinity, to the cube [-1, 1]^3.

    A world point (x, y, z) with z < 0 is mapped to (-scale_x x / z, -scale_y y / z, 1 + 2 near / z): the plane
    z = -near to -1, infinity to 1. Straight lines stay straight (Mildenhall et al. 2020, appendix C).

    Attributes:
        scale_x: factor on -x / z, positive; with 2 fx / width, the view of a camera at the origin fills the cube.
        scale_y: factor on -y / z, positive.
        near: distance of the near plane from the origin, world units, positive.
    """

    scale_x: float
    scale_y: float
    near: float


@dataclass(frozen=True)
class Scene:
    """Train, validation and test views, and the space that they show.

    Attributes:
        name: short name, for titles and file names.
        train: views for training.
        val: views for choosing settings.
        test: views for testing.
        background: background colour, sRGB in [0, 1].
        box: cube that the field covers, in normalised device coordinates if `ndc` is given, else in the world.
        ndc: how models warp world rays before sampling; None disables warping. Views and rays are in world coordinates
            everywhere else.
        offset: what was subtracted from the positions in the scene's files, world units.
        notes: what the user should know of how the scene was read, a sentence each.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> scene.name, len(scene.train), tuple(scene.train.images.shape[1:])
        ('truck', 100, (16, 16, 3))
    """

    name: str
    train: Views
    val: Views
    test: Views
    background: Colour
    box: Box
    ndc: Ndc | None = None
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    notes: tuple[str, ...] = ()


def with_pixel_center(scene: Scene, center: float) -> Scene:
    """Apply `Views.with_pixel_center` to all views of a scene.

    Raises:
        NerfclError: `center` is not between 0 and 1.
    """
    if not 0.0 <= center <= 1.0:
        raise NerfclError(Argument("pixel_center", center), ": must lie between 0 and 1")
    if center == 0.5:
        return scene
    splits = {split: getattr(scene, split).with_pixel_center(center) for split in ("train", "val", "test")}
    return replace(scene, **splits)


def box_seen_by(poses: Tensor, intrinsics: Tensor, width: int) -> Box:
    """Find the cube around the point that inward-facing cameras look at, as wide as their images at that depth.

    The centre is the point nearest to all optical axes (least squares); the side is the width of the widest view at the
    centre's depth.

    Args:
        poses: (N, 4, 4) world from camera.
        intrinsics: (N, 4) fx, fy, cx, cy in pixels.
        width: image width in pixels.

    Raises:
        NerfclError: the cameras do not look at a common point.
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
            "the cameras share one position or do not look at a common point; "
            "a scene needs views of it from several sides"
        )
    x, y, z = (center - half).tolist()
    return Box((x, y, z), 2.0 * half)
