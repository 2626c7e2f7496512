"""Read image files and composite them on a background; errors name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.scenes.scene import SMALLEST_IMAGE, Colour

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def open_image(file: Path) -> Image.Image:
    """Open an image without reading its pixels.

    Raises:
        NerfclError: the file is missing or not an image.
    """
    try:
        return Image.open(file)
    except FileNotFoundError:
        raise NerfclError(f"{file}: no such image; restore it or remove its frame from the JSON file") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise NerfclError(f"{file}: is not a readable image ({error}); restore it from its source") from None


def size_of_first(file: Path, size: tuple[int, int] | None) -> tuple[int, int]:
    """Read the (width, height) of a scene's first image, which all others must match.

    Args:
        file: the image.
        size: size that images are resized to; None keeps the original, which must then be large enough.

    Raises:
        NerfclError: the image is missing, damaged or too small.
    """
    with open_image(file) as first:
        width, height = first.size
    if size is None and min(width, height) < SMALLEST_IMAGE:
        raise NerfclError(
            f"{file}: is {width}x{height} pixels; images must be at least {SMALLEST_IMAGE} pixels wide and high"
        )
    return width, height


def read_image(file: Path, original: tuple[int, int], size: tuple[int, int] | None, background: Colour) -> np.ndarray:
    """Read, resize and composite an image.

    Args:
        file: an 8-bit image, with or without alpha.
        original: (width, height) of the scene's first image, which it must match.
        size: (width, height) to resize to (LANCZOS); None keeps its size.
        background: sRGB in [0, 1].

    Returns:
        (H, W, 3) uint8.

    Raises:
        NerfclError: the image is missing, damaged, of a different size, or has more than 8 bits per channel.
    """
    with open_image(file) as image:
        if image.size != original:
            raise NerfclError(
                f"{file}: is {image.size[0]}x{image.size[1]}, but the first image is {original[0]}x{original[1]}; "
                "all images of a scene must have the same size"
            )
        if image.mode.startswith(("I", "F")):
            raise NerfclError(f"{file}: has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
        try:
            rgba = image.convert("RGBA")
        except (OSError, SyntaxError, ValueError) as error:
            raise NerfclError(f"{file}: is damaged or truncated ({error}); restore it from its source") from None
    return on_background(rgba, size, background)


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
