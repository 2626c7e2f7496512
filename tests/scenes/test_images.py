"""Image files -> arrays, against the definition of compositing and Pillow's own resizing."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.scenes import images
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.images import UnreadableImage, read_header, read_image, read_images
from nerfcl.scenes.photos import fitted_size
from support.pictures import noise

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def saved(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_transparent_pixels_show_the_background_and_others_are_mixed(tmp_path: Path) -> None:
    file = saved(np.array([[[200, 100, 40, alpha] for alpha in (0, 255, 128)]], np.uint8), tmp_path / "a.png")
    # a = 128 / 255 = 0.50196: 200 a + 255 (1 - a) = 227.39, 100 a + 127 = 177.20, 40 a + 127 = 147.08
    white = [[255, 255, 255], [200, 100, 40], [227, 177, 147]]
    assert read_image(file, (3, 1), None, WHITE).tolist() == [white]
    # 200 a = 100.39, 100 a = 50.20, 40 a = 20.08
    assert read_image(file, (3, 1), None, BLACK).tolist() == [[[0, 0, 0], [200, 100, 40], [100, 50, 20]]]


def test_images_without_alpha_are_taken_as_they_are(tmp_path: Path) -> None:
    pixels = noise(12, 16)
    assert np.array_equal(read_image(saved(pixels, tmp_path / "a.png"), (16, 12), None, BLACK), pixels)


def test_resizing_is_lanczos_of_the_rgba_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    found = read_image(saved(pixels, tmp_path / "a.png"), (30, 40), (13, 12), WHITE)
    resized = np.asarray(Image.fromarray(pixels).resize((13, 12), Image.Resampling.LANCZOS), np.float64)
    expected = resized[..., :3] * resized[..., 3:] / 255 + 255 - resized[..., 3:]
    assert found.shape == (12, 13, 3)
    assert np.abs(found - expected).max() <= 0.501


def damaged(whole: bytes) -> Iterator[bytes]:
    """A PNG cut off at many places, with pixels lost or overwritten, and something else."""
    # The last bytes before the end mark are checksums, without which no pixel is lost.
    yield from (whole[:length] for length in range(0, whole.index(b"IEND") - 24, 7))
    start = whole.index(b"IDAT") + 4
    yield from (whole[:start] + bytes(len(whole) - start), whole[:start] + whole[start + 9 :], b"not an image")


def test_damaged_images_are_refused(tmp_path: Path) -> None:
    file = saved(noise(16, 16), tmp_path / "a.png")
    for content in damaged(file.read_bytes()):
        file.write_bytes(content)
        with pytest.raises(NerfclError, match=re.escape(f"{file}: is ")):
            read_image(file, (16, 16), None, WHITE)


@pytest.mark.parametrize("size", [None, (16, 16)])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "no such image"),
        (Image.new("RGBA", (16, 17)), "is 16x17, but the first image is 16x16"),
        (Image.new("I;16", (16, 16)), "more than 8 bits"),
    ],
    ids=["missing", "another size", "16 bits"],
)
def test_images_that_do_not_fit_are_refused(
    image: Image.Image | None, message: str, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    if image is not None:
        image.save(file)
    with pytest.raises(NerfclError, match=re.escape(f"{file}: ") + f".*{message}"):
        read_image(file, (16, 16), size, WHITE)


def test_first_image_must_be_large_enough_for_ssim_unless_it_is_resized(tmp_path: Path) -> None:
    file = saved(noise(10, 16), tmp_path / "a.png")
    with pytest.raises(NerfclError, match=re.escape(f"{file}: is 16x10 pixels") + ".*at least 11"):
        fitted_size(file, read_header(file).size, LoadRequest())
    assert read_header(file).size == (16, 10)
    assert fitted_size(file, (16, 10), LoadRequest(size=(11, 11))) == (11, 11)


# --- what reading costs ---


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


@pytest.mark.parametrize("side", [2**13 + 1, 13_000, 20_000, 2**31 - 1])
def test_images_of_too_many_pixels_are_refused_before_they_are_read(tmp_path: Path, side: int) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(header(side, side), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")))
    with pytest.raises(NerfclError, match=r"^[^\n]*a\.png: has more than 67,108,864 pixels; make it smaller$"):
        read_image(file, (side, side), (16, 16), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_text_that_inflates_to_many_bytes_is_no_traceback(tmp_path: Path, kind: bytes) -> None:
    text = zlib.compress(b"a" * 10**8, 9)
    body = b"key\0\0" + text if kind == b"zTXt" else b"key\0\1\0\0\0" + text
    file = tmp_path / "a.png"
    file.write_bytes(png(header(16, 16), (kind, body), (b"IDAT", zlib.compress(bytes(49 * 16))), (b"IEND", b"")))
    with pytest.raises(UnreadableImage, match=r"^[^\n]*a\.png: is not a readable image [^\n]*$"):
        read_image(file, (16, 16), None, (1.0, 1.0, 1.0))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match=r"a\.png: is not a file; replace it by an image"):
        read_image(tmp_path / "a.png", (16, 16), None, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_formats_that_nobody_needs_are_not_opened(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", kind)
    with pytest.raises(UnreadableImage, match="is not a readable image"):
        read_image(tmp_path / "a.png", (16, 16), None, (1.0, 1.0, 1.0))


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_memory", lambda: 16 * 16 * 3 * 4)
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    assert read_images([tmp_path / "a.png"] * 2, (16, 16), None, (1.0, 1.0, 1.0), [tmp_path / "a.png"] * 2).any() == 0
    with pytest.raises(NerfclError, match="3 images of 16x16 pixels take 0 GB, more than half of this machine"):
        read_images([tmp_path / "none.png"] * 3, (16, 16), None, (1.0, 1.0, 1.0), iter(()))
