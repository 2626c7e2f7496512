"""Images of the past: tiles, compressed losslessly."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nerfcl.errors import require
from nerfcl.memory.cameras import Cameras
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.sampling import EpochSampler
from nerfcl.streams.stream import Stream

SIDE = 64  # pixels; a draw decodes entire tiles, so its cost does not grow with the image size
TILES_PER_DRAW = 8
_BYTES_PER_PLACE = 4 + 2 * 4 + 8 + 4  # frame, column and row, key, length


@dataclass(frozen=True)
class ImageMemorySettings:
    """Capacity of an `ImageMemory`.

    Attributes:
        bytes: capacity in bytes, cameras included; None keeps everything.

    Example:
        >>> ImageMemorySettings(bytes=64 * 1024).bytes
        65536
    """

    bytes: int | None = 262_144

    def __post_init__(self) -> None:
        require(self.bytes is None or self.bytes >= 1, self, "bytes", "must be at least 1")

    def within(self, budget: int, stream: Stream) -> Self | None:
        """Return settings with at most `budget` bytes, and no more than the past of a stream takes.

        Returns:
            The settings; None if not even one tile of average size fits.
        """
        everything = ImageMemory(ImageMemorySettings(None), torch.Generator())
        for experience in stream.past:
            everything.fill(experience.train)
        if budget * len(everything) < everything.nbytes:
            return None
        return replace(self, bytes=min(budget, everything.nbytes))


class ImageMemory:
    """A memory of image tiles of up to 64x64 pixels, as lossless WebP, and of their frames' cameras.

    A tile takes about one byte per pixel, less in plain regions; a ray in a `RayMemory` takes eleven. A full memory
    holds a uniform sample of all tiles offered so far: each has a random key, and tiles with the largest keys are
    dropped until the rest fits.

    Args:
        settings: capacity.
        generator: source of randomness; part of the saved state.
    """

    def __init__(self, settings: ImageMemorySettings, generator: torch.Generator) -> None:
        self.settings, self.generator = settings, generator
        self.offered = 0
        self._cameras = Cameras()
        self._files: list[bytes] = []
        self._frames = torch.empty(0, dtype=torch.int32)
        self._corners = torch.empty(0, 2, dtype=torch.int32)  # column and row of a tile's top-left pixel
        self._keys = torch.empty(0, dtype=torch.float64)
        self._sampler: EpochSampler | None = None

    def __len__(self) -> int:
        """Count the stored tiles."""
        return len(self._files)

    @property
    def nbytes(self) -> int:
        """Bytes of the tiles, their positions, and the cameras of their frames."""
        return sum(map(len, self._files)) + _BYTES_PER_PLACE * len(self) + self._cameras.nbytes

    def metrics(self) -> dict[str, float]:
        """Return values to plot over time, by name."""
        return {"tiles_kept": float(len(self)), "frames_kept": float(len(self._cameras))}

    def fill(self, views: Views) -> None:
        """Offer all tiles of views, and drop tiles until the rest fits."""
        first = self._cameras.add(views)
        places = [
            (first + i, column, row)
            for i in range(len(views))
            for row in range(0, views.height, SIDE)
            for column in range(0, views.width, SIDE)
        ]
        self.offered += len(places)
        images = views.images.numpy()
        for frame, column, row in places:
            self._files.append(_encode(images[frame - first, row : row + SIDE, column : column + SIDE]))
        where = torch.tensor(places, dtype=torch.int32)
        self._frames, self._corners = torch.cat([self._frames, where[:, 0]]), torch.cat([self._corners, where[:, 1:]])
        keys = torch.rand(len(places), generator=self.generator, dtype=torch.float64)
        self._keys = torch.cat([self._keys, keys])
        self._drop_excess()
        self._frames = self._cameras.drop_unused(self._frames)
        self._sampler = EpochSampler(len(self), self.generator) if len(self) else None

    def draw(self, count: int) -> Pixels:
        """Draw `count` pixels of a few tiles; the memory must not be empty. `Pixels.indices` are tile numbers."""
        assert self._sampler is not None
        tiles = self._sampler.next(min(TILES_PER_DRAW, len(self), count)).tolist()
        parts = [count * (i + 1) // len(tiles) - count * i // len(tiles) for i in range(len(tiles))]
        pixels, colours = [], []
        for tile, part in zip(tiles, parts, strict=True):
            image = torch.from_numpy(_decode(self._files[tile]))  # (h, w, 3)
            height, width = image.shape[:2]
            inside = torch.randint(height * width, (part,), generator=self.generator)
            column, row = self._corners[tile].tolist()
            across = int(self._cameras.sizes[self._frames[tile].long(), 0])
            pixels.append((row + inside // width) * across + column + inside % width)
            colours.append(image.view(-1, 3)[inside])
        numbers = torch.tensor(tiles).repeat_interleave(torch.tensor(parts))
        return self._cameras.pixels(
            self._frames[numbers].long(), torch.cat(pixels), torch.cat(colours).float() / 255.0, numbers
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        return {
            **self._cameras.state_dict(),
            "files": torch.from_numpy(np.frombuffer(b"".join(self._files), dtype=np.uint8).copy()),
            "lengths": [len(file) for file in self._files],
            "frames": self._frames,
            "corners": self._corners,
            "keys": self._keys,
            "offered": self.offered,
            "generator": self.generator.get_state(),
            "sampler": None if self._sampler is None else self._sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: the parts do not fit together, or a tile is no image of at most 64x64 pixels.
        """
        self._cameras.load_state_dict(state)
        self._cameras.check_frames(state["frames"])
        blob, ends = state["files"].numpy().tobytes(), np.cumsum([0, *state["lengths"]])
        self._files = [blob[a:b] for a, b in pairwise(ends)]
        self._frames, self._corners, self._keys = state["frames"], state["corners"], state["keys"]
        self.offered = state["offered"]
        if not len(self._files) == len(self._frames) == len(self._corners) == len(self._keys):
            raise ValueError("the stored tiles are incomplete")
        for file in self._files:
            with _open(file) as tile:
                if max(tile.size) > SIDE:
                    raise ValueError(f"a stored tile is {tile.width}x{tile.height} pixels")
        self._sampler = None
        if state["sampler"] is not None:
            self._sampler = EpochSampler(len(self), self.generator)
            self._sampler.load_state_dict(state["sampler"])
        self.generator.set_state(state["generator"])

    def _drop_excess(self) -> None:
        """Drop the tiles with the largest keys until the rest fits."""
        if self.settings.bytes is None:
            return
        order = self._keys.argsort()
        sizes = torch.tensor([len(self._files[i]) for i in order.tolist()]) + _BYTES_PER_PLACE
        new_camera = _first_seen(self._frames[order])
        needed = (sizes + new_camera * self._cameras.bytes_each).cumsum(0)
        kept = order[needed <= self.settings.bytes].sort().values
        self._files = [self._files[i] for i in kept.tolist()]
        self._frames, self._corners, self._keys = self._frames[kept], self._corners[kept], self._keys[kept]


def _first_seen(values: Tensor) -> Tensor:
    """Mark the first occurrence of each of the values (N,) with 1, others with 0."""
    _, first = np.unique(values.numpy(), return_index=True)
    seen = torch.zeros(len(values), dtype=torch.int64)
    seen[torch.from_numpy(first)] = 1
    return seen


def _encode(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, quality=100, method=2)
    return file.getvalue()


def _decode(file: bytes) -> np.ndarray:
    with _open(file) as image:
        return np.array(image.convert("RGB"))


def _open(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file), formats=("WEBP",))
