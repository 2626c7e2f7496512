"""What is kept of the past: whole tiles of images, compressed without loss."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.memory.cameras import Frames
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.sampling import Passes

SIDE = 64  # pixels: a draw decodes whole tiles, so its cost does not grow with the images
TILES_A_DRAW = 8
_PLACE = 4 + 2 * 4 + 8 + 4  # bytes: frame, column and row, key, length


class TileMemory:
    """A memory of image tiles of up to 64 x 64 pixels, as lossless WebP, and of their frames' cameras.

    A tile costs about one byte a pixel, or less where a picture is plain; a ray in a `RayMemory` eleven. When it is
    full, what is held is a uniform sample of all tiles offered so far: each has a random key, and those of the largest
    keys go, as many as must so that the bytes fit.

    Args:
        capacity: the most bytes, cameras included; None keeps everything.
        generator: source of all randomness here; part of the saved state.
    """

    def __init__(self, capacity: int | None, generator: torch.Generator) -> None:
        if capacity is not None and capacity < 1:
            raise NerfclError(f"--memory-bytes {capacity}: must be at least 1")
        self.capacity, self.generator = capacity, generator
        self.offered = 0
        self._cameras = Frames()
        self._files: list[bytes] = []
        self._frames = torch.empty(0, dtype=torch.int32)
        self._corners = torch.empty(0, 2, dtype=torch.int32)  # column and row of a tile's upper left pixel
        self._keys = torch.empty(0, dtype=torch.float64)
        self._passes: Passes | None = None

    def __len__(self) -> int:
        """Tiles held."""
        return len(self._files)

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept: files, where they belong, and the cameras of their frames."""
        return sum(map(len, self._files)) + _PLACE * len(self) + self._cameras.nbytes

    def figures(self) -> dict[str, float]:
        """Figures that are worth a curve, by name."""
        return {"tiles_kept": float(len(self)), "frames_kept": float(len(self._cameras))}

    def fill(self, views: Views) -> None:
        """Offers all tiles of these views, and lets go of as many tiles as must."""
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
        self._let_go()
        self._frames = self._cameras.drop_unused(self._frames)
        self._passes = Passes(len(self), self.generator) if len(self) else None

    def draw(self, count: int) -> Pixels:
        """`count` pixels of a few tiles; the memory must not be empty. `Pixels.indices` are their tiles' numbers."""
        assert self._passes is not None
        tiles = self._passes.next(min(TILES_A_DRAW, len(self), count)).tolist()
        shares = [count * (i + 1) // len(tiles) - count * i // len(tiles) for i in range(len(tiles))]
        pixels, colours = [], []
        for tile, share in zip(tiles, shares, strict=True):
            image = torch.from_numpy(_decode(self._files[tile]))  # (h, w, 3)
            height, width = image.shape[:2]
            inside = torch.randint(height * width, (share,), generator=self.generator)
            column, row = self._corners[tile].tolist()
            across = int(self._cameras.sizes[self._frames[tile].long(), 0])
            pixels.append((row + inside // width) * across + column + inside % width)
            colours.append(image.view(-1, 3)[inside])
        numbers = torch.tensor(tiles).repeat_interleave(torch.tensor(shares))
        return self._cameras.pixels(
            self._frames[numbers].long(), torch.cat(pixels), torch.cat(colours).float() / 255.0, numbers
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {
            **self._cameras.state_dict(),
            "files": torch.from_numpy(np.frombuffer(b"".join(self._files), dtype=np.uint8).copy()),
            "lengths": [len(file) for file in self._files],
            "frames": self._frames,
            "corners": self._corners,
            "keys": self._keys,
            "offered": self.offered,
            "generator": self.generator.get_state(),
            "passes": None if self._passes is None else self._passes.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._cameras.load_state_dict(state)
        blob, ends = state["files"].numpy().tobytes(), np.cumsum([0, *state["lengths"]])
        self._files = [blob[a:b] for a, b in pairwise(ends)]
        self._frames, self._corners, self._keys = state["frames"], state["corners"], state["keys"]
        self.offered = state["offered"]
        self._passes = None
        if state["passes"] is not None:
            self._passes = Passes(len(self), self.generator)
            self._passes.load_state_dict(state["passes"])
        self.generator.set_state(state["generator"])

    def _let_go(self) -> None:
        """Drops tiles of the largest keys until the rest fits."""
        if self.capacity is None:
            return
        order = self._keys.argsort()
        sizes = torch.tensor([len(self._files[i]) for i in order.tolist()]) + _PLACE
        new_camera = _first_seen(self._frames[order])
        needed = (sizes + new_camera * (self._cameras.nbytes // max(len(self._cameras), 1))).cumsum(0)
        kept = order[needed <= self.capacity].sort().values
        self._files = [self._files[i] for i in kept.tolist()]
        self._frames, self._corners, self._keys = self._frames[kept], self._corners[kept], self._keys[kept]


def _first_seen(values: Tensor) -> Tensor:
    """(N,) whether each value is the first of its kind."""
    _, first = np.unique(values.numpy(), return_index=True)
    seen = torch.zeros(len(values), dtype=torch.int64)
    seen[torch.from_numpy(first)] = 1
    return seen


def _encode(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, quality=100, method=2)
    return file.getvalue()


def _decode(file: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(file)).convert("RGB"))
