"""Photographs with their cameras, as a scene's files describe them, and how they become views of one size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nerfcl.errors import NerfclError
from nerfcl.progress import Track
from nerfcl.scenes.cameras import FARTHEST
from nerfcl.scenes.format import PHOTOGRAPH_SIDE, RENDERING_SIDE, LoadRequest
from nerfcl.scenes.images import Header, Size, check_memory, read_image
from nerfcl.scenes.lenses import PINHOLE, joined
from nerfcl.scenes.scene import SMALLEST_IMAGE, Colour, Views

_SAME_ASPECT = 0.02  # relative difference between the aspects of images that are stretched to one size
_FAR = 100.0  # times the extent of the cameras, from the origin to them: single precision would show
_AT_ONCE = min(os.cpu_count() or 1, 8)  # images that are read at the same time


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph and its camera.

    Attributes:
        file: image file.
        header: what the file's header says.
        pose: (4, 4) float64, world from camera, OpenGL axes.
        intrinsics: fx, fy, cx, cy in pixels, followed by the lens where it is no pinhole; see `nerfcl.scenes.lenses`.
        size: (width, height) of the image that the intrinsics belong to, of which the file holds a scaled copy.
        entry: where its camera is described, for messages.
    """

    file: Path
    header: Header
    pose: np.ndarray
    intrinsics: tuple[float, ...]
    size: Size
    entry: str

    def __post_init__(self) -> None:
        if not any(_same_aspect(self.size, size) for size in (self.header.size, self.header.upright)):
            raise NerfclError(
                f"{self.file}: is {_shape(self.header.size)}, but {self.entry} is for images of {_shape(self.size)}; "
                "restore the image that the camera was computed from, or correct its size"
            )

    @property
    def is_turned(self) -> bool:
        """Whether the camera belongs to the picture as its EXIF orientation turns it."""
        return not _same_aspect(self.size, self.header.size)

    @property
    def shown(self) -> Size:
        """(width, height) of the picture that the camera belongs to, in the file's pixels."""
        return self.header.upright if self.is_turned else self.header.size


def fitted_size(file: Path, shown: Size, request: LoadRequest, *, has_alpha: bool = False) -> Size:
    """Return the requested (width, height) of views of a picture, or its own, scaled as requested.

    Raises:
        NerfclError: that is too small; names the file.
    """
    side = request.max_side
    if side == "auto":
        side = RENDERING_SIDE if has_alpha else PHOTOGRAPH_SIDE
    factor = 1.0 if side is None else min(side / max(shown), 1.0)
    size = request.size or (round(shown[0] * factor), round(shown[1] * factor))
    if min(size) < SMALLEST_IMAGE:
        scaled = f", {_shape(size)} when scaled" if factor < 1.0 else ""
        raise NerfclError(
            f"{file}: is {_shape(shown)} pixels{scaled}; images must be at least {SMALLEST_IMAGE} pixels wide and high"
        )
    return size


def stretching(shown: Size, size: Size) -> list[str]:
    """Say that pictures of a (width, height) are stretched to another shape, in one sentence, or nothing."""
    if _same_aspect(shown, size):
        return []
    return [f"images of {_shape(shown)} are stretched to {_shape(size)}; max_side keeps their shape"]


def common_size(photos: Sequence[Photo], request: LoadRequest) -> Size:
    """Choose the (width, height) of a scene's views, which is that of the first; see `fitted_size`.

    Raises:
        NerfclError: an image is too small, or of another shape than the first; names it.
    """
    first = photos[0].shown
    size = fitted_size(photos[0].file, first, request, has_alpha=photos[0].header.has_alpha)
    for photo in photos:
        if not _same_aspect(photo.shown, first):
            raise NerfclError(
                f"{photo.file}: is {_shape(photo.shown)}, but the first image is {_shape(first)}; all images of a "
                "scene must have the same shape"
            )
    return size


def load_views(
    photos: Sequence[Photo], names: Sequence[str], size: Size, background: Colour, track: Track, what: str
) -> Views:
    """Read photographs, several at a time, and scale them and their cameras.

    Args:
        photos: the photographs.
        names: their names.
        size: (width, height) of the views; see `common_size`.
        background: composited behind transparent pixels, sRGB in [0, 1].
        track: iterates over the photographs and may show progress.
        what: what is done, for the progress.

    Raises:
        NerfclError: an image is damaged, or all do not fit into memory.
    """
    width, height = size
    check_memory(photos[0].file.parent, len(photos), size)
    images = np.empty((len(photos), height, width, 3), np.uint8)

    def read(photo: Photo) -> np.ndarray:
        return read_image(photo.file, photo.header.size, size, background, upright=photo.is_turned)

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for index, (_, image) in enumerate(zip(track(photos, what), pool.map(read, photos), strict=True)):
            images[index] = image
    finally:
        pool.shutdown(cancel_futures=True)
    poses = np.stack([photo.pose for photo in photos])
    rows = [torch.tensor([scaled_intrinsics(photo, size)], dtype=torch.float32) for photo in photos]
    return Views(torch.from_numpy(images), torch.from_numpy(poses.astype(np.float32)), joined(rows), tuple(names))


def scaled_intrinsics(photo: Photo, size: Size) -> list[float]:
    """Return the intrinsics of a photograph that is scaled, maybe stretched, to this (width, height)."""
    factors = [size[0] / photo.size[0], size[1] / photo.size[1]] * 2
    return [*np.multiply(photo.intrinsics[:PINHOLE], factors).tolist(), *photo.intrinsics[PINHOLE:]]


def check_position(photo: Photo) -> None:
    """Raise a NerfclError if a camera is farther from the origin than single precision allows."""
    if np.abs(photo.pose[:3, 3]).max() > FARTHEST:
        raise NerfclError(
            f"{photo.entry} has a camera farther than {FARTHEST:,.0f} units from the origin; subtract a common offset "
            "from all positions, or fix the frame"
        )


def offset_of(photos: Sequence[Photo]) -> np.ndarray:
    """Find what is subtracted from all positions, so that single precision holds them: 0 unless they lie far out.

    Returns:
        (3,) float64.

    Raises:
        NerfclError: a camera is farther from the others than single precision allows; names it.
    """
    positions = np.stack([photo.pose[:3, 3] for photo in photos])
    middle = np.median(positions, 0)
    away = np.abs(positions - middle).max(1)
    if away.max() > FARTHEST:
        raise NerfclError(
            f"{photos[int(away.argmax())].entry} has a camera farther than {FARTHEST:,.0f} units from the others; fix "
            "or remove it"
        )
    is_far = np.abs(middle).max() > _FAR * max(float(away.max()), 1e-12)
    return middle if is_far else np.zeros(3)


def _same_aspect(one: Size, other: Size) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1.0) <= _SAME_ASPECT


def _shape(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
