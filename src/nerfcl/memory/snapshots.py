"""Snapshots: frozen models in few bytes, which render the past."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nerfcl.errors import require
from nerfcl.memory.quantisation import BITS, pack, packed_tensor, unpack, unpacked_bytes
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.streams.pixels import Pixels


@dataclass(frozen=True)
class SnapshotSettings:
    """How a snapshot is packed, and how long it lasts.

    Attributes:
        bits: of each value of the large tables, 4 to 8; see `pack`.
        every: experiences between snapshots. A stream's chunks are short, its snapshot may last for several; for frames
            that came since it renders a guess.

    Example:
        >>> SnapshotSettings(bits=4, every=2).bits
        4
    """

    bits: int = BITS
    every: int = 1

    def __post_init__(self) -> None:
        require(4 <= self.bits <= 8, self, "bits", "must lie between 4 and 8")
        require(self.every >= 1, self, "every", "must be at least 1")


class Snapshot:
    """A model as it was, packed; there is a working copy beside its packed form while it is in use.

    Args:
        settings: how it is packed, and how long it lasts.
        rays_per_pixel: rays averaged over each pixel's area when it renders.
    """

    def __init__(self, settings: SnapshotSettings, rays_per_pixel: int = 1) -> None:
        self.settings, self._offsets = settings, pixel_offsets(rays_per_pixel)
        self._offered = 0
        self._packed = b""
        self._model: Model | None = None

    def __bool__(self) -> bool:
        """Tell whether there is one."""
        return bool(self._packed)

    @property
    def nbytes(self) -> int:
        """Bytes of its packed form; the working copy lasts only while it is used."""
        return len(self._packed)

    def take(self, model: Model) -> None:
        """Keep a model as it is now."""
        self._packed, self._model = pack(model.rendering_state(), self.settings.bits), None

    def offer(self, model: Model) -> None:
        """Keep a model as it is now, where it is time for a new snapshot."""
        if self._offered % self.settings.every == 0:
            self.take(model)
        self._offered += 1

    def drop(self) -> None:
        """Keep none, until the next one is taken."""
        self._packed, self._model = b"", None

    def unpack(self, like: Model) -> None:
        """Make the working copy, if there is none.

        Args:
            like: a model of the same kind; not changed.
        """
        if self._packed and self._model is None:
            self._model = like.snapshot()
            self._model.load_rendering_state(unpack(self._packed))

    @torch.no_grad()
    def render(self, pixels: Pixels) -> Rendering:
        """Render B pixels; their colours do not matter."""
        assert self._model is not None, "it must be unpacked first"
        rays = pixel_rays(pixels.poses, pixels.intrinsics, pixels.columns, pixels.rows, self._offsets)
        return self._model.render(rays)

    def colour(self, pixels: Pixels) -> tuple[Pixels, Tensor]:
        """Return B pixels in the colours that it renders for them, and the opacity (B,) of each."""
        rendering = self.render(pixels)
        return replace(pixels, colours=rendering.rgb.clamp(0.0, 1.0).cpu()), rendering.opacity.cpu()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs; after that it has to be unpacked again."""
        return {"packed": packed_tensor(self._packed), "offered": self._offered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the mapping may hold more."""
        self._packed, self._model = unpacked_bytes(state["packed"]), None
        self._offered = state["offered"]
