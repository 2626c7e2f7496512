"""Read image files and composite them on a background; errors name the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from nerfcl.errors import Argument, NerfclError
from nerfcl.scenes.scene import Colour

Size = tuple[int, int]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
MOST_PIXELS = 2**26  # of one image file

_FORMATS = ("PNG", "JPEG", "MPO", "WEBP")  # MPO: what some phones call their JPEGs


@dataclass(frozen=True)
class Header:
    """What the header of an image file says.

    Attributes:
        size: (width, height) in pixels, as stored.
        upright: (width, height) in pixels, turned as the EXIF orientation says.
        has_alpha: whether pixels may be transparent.
    """

    size: Size
    upright: Size
    has_alpha: bool


class UnreadableImage(NerfclError):
    """An image file that is missing, or does not hold a complete image; it may still be being written."""


def open_image(file: Path) -> Image.Image:
    """Open an image without reading its pixels.

    Raises:
        UnreadableImage: the file is missing or not an image.
        NerfclError: the image has more than `MOST_PIXELS` pixels.
    """
    if not file.is_file():  # opening a pipe would block
        why = "is not a file; replace it by an image" if file.exists() else "no such image; restore it"
        raise UnreadableImage(f"{file}: {why}, or remove its frame from the JSON file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise NerfclError(f"{file}: {_TOO_LARGE}") from None
    except Exception as error:  # a damaged header may raise anything
        raise UnreadableImage(f"{file}: is not a readable image ({error}); restore it from its source") from None
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise NerfclError(f"{file}: {_TOO_LARGE}")
    return image


_TOO_LARGE = f"has more than {MOST_PIXELS:,} pixels; make it smaller"


def read_header(file: Path) -> Header:
    """Read the header of an image.

    Raises:
        UnreadableImage: the file is missing or not an image.
        NerfclError: the image has more than `MOST_PIXELS` pixels.
    """
    with open_image(file) as image:
        try:
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        except Exception:  # a damaged EXIF block may raise anything, and says nothing
            turned = False
        width, height = image.size
        upright = (height, width) if turned else (width, height)
        has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        return Header((width, height), upright, has_alpha)


def read_rgba(file: Path, original: tuple[int, int] | None = None, *, upright: bool = False) -> Image.Image:
    """Read an 8-bit image, with or without alpha.

    Args:
        file: the image.
        original: (width, height) of the scene's first image, which it must match; None accepts any.
        upright: whether to turn it as its EXIF orientation says.

    Returns:
        The image in mode RGBA.

    Raises:
        UnreadableImage: the image is missing, damaged or truncated.
        NerfclError: it is of a different size, or has more than 8 bits per channel.
    """
    with open_image(file) as image:
        if original is not None and image.size != original:
            raise NerfclError(
                f"{file}: is {image.size[0]}x{image.size[1]}, but the first image is {original[0]}x{original[1]}; "
                "all images of a scene must have the same size"
            )
        if image.mode.startswith(("I", "F")):
            raise NerfclError(f"{file}: has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
        try:
            rgba = image.convert("RGBA")  # reads the file to its end
            return ImageOps.exif_transpose(rgba) if upright else rgba
        except Exception as error:  # damaged data may raise anything
            why = f"is damaged or truncated ({error}); restore it from its source"
            raise UnreadableImage(f"{file}: {why}") from None


def read_image(
    file: Path, original: tuple[int, int], size: tuple[int, int] | None, background: Colour, *, upright: bool = False
) -> np.ndarray:
    """Read, resize and composite an image.

    Args:
        file: an 8-bit image, with or without alpha.
        original: (width, height) of the scene's first image, which it must match.
        size: (width, height) to resize to (LANCZOS); None keeps its size.
        background: sRGB in [0, 1].
        upright: whether to turn it as its EXIF orientation says.

    Returns:
        (H, W, 3) uint8.

    Raises:
        NerfclError: the image is missing, damaged, of a different size, or has more than 8 bits per channel.
    """
    return on_background(read_rgba(file, original, upright=upright), size, background)


def read_images(
    files: Sequence[Path],
    original: tuple[int, int],
    size: tuple[int, int] | None,
    background: Colour,
    tracked: Iterable[Path],
) -> Tensor:
    """Read, resize and composite a scene's images.

    Args:
        files: the images.
        original, size, background: see `read_image`.
        tracked: iterates over `files`, and may show progress.

    Returns:
        (N, H, W, 3) uint8.

    Raises:
        NerfclError: an image is invalid, see `read_image`, or all of them do not fit into this machine's memory.
    """
    width, height = size or original
    check_memory(files[0].parent, len(files), (width, height))
    images = np.empty((len(files), height, width, 3), np.uint8)
    for index, file in enumerate(tracked):
        images[index] = read_image(file, original, size, background)
    return torch.from_numpy(images)


def check_memory(folder: Path, count: int, size: Size) -> None:
    """Raise a NerfclError if so many images of this size take more than half of this machine's memory."""
    needed, memory = count * size[0] * size[1] * 3, _memory()
    if needed > memory // 2:
        raise NerfclError(
            f"{folder}: {count} images of {size[0]}x{size[1]} pixels take {needed / 1e9:.0f} GB, more than half of "
            f"this machine's {memory / 1e9:.0f} GB of memory; give a smaller ",
            Argument("size"),
        )


def check_all_there(files: Sequence[Path]) -> None:
    """Reject missing images, all of them at once.

    Raises:
        UnreadableImage: names the first few.
    """
    missing = [file for file in files if not file.exists()]
    if len(missing) == 1:
        raise UnreadableImage(f"{missing[0]}: no such image; restore it, or remove its frame from the JSON file")
    if missing:
        named = ", ".join(map(str, missing[:3])) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UnreadableImage(
            f"{named}: {len(missing)} of {len(files)} images are missing; restore them, or remove their frames from "
            "the JSON file"
        )


def on_background(rgba: Image.Image, size: tuple[int, int] | None, background: Colour) -> np.ndarray:
    """Resize an RGBA image (LANCZOS) if a size is given, then composite it on a background.

    Args:
        rgba: image in mode RGBA.
        size: (width, height); None keeps its size.
        background: sRGB in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    if size is not None and rgba.size != size:
        rgba = rgba.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(rgba, dtype=np.float32) / 255.0  # (H, W, 4)
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    return np.round((colour * alpha + (1.0 - alpha) * np.array(background, np.float32)) * 255.0).astype(np.uint8)


def _memory() -> int:
    """Return this machine's memory in bytes; a guess where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**35
