"""Snapshots: frozen models, packed into few bytes, that render the past."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nerfcl.errors import require, require_between
from nerfcl.memory.quantisation import BITS, pack, packed_tensor, unpack, unpacked_bytes
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.streams.pixels import Pixels


@dataclass(frozen=True)
class SnapshotSettings:
    """How a snapshot is packed, and how often it is taken.

    Attributes:
        bits: bits per value of large tables, 4 to 8; see `pack`.
        every: experiences between snapshots. With short chunks, one snapshot may serve several; its renderings of
            frames that arrived since are guesses.

    Example:
        >>> SnapshotSettings(bits=4, every=2).bits
        4
    """

    bits: int = BITS
    every: int = 1

    def __post_init__(self) -> None:
        require_between(self, "bits", 4, 8)
        require(self.every >= 1, self, "every", "must be at least 1")


class Snapshot:
    """A packed copy of a model, with an unpacked working copy while it is in use.

    Args:
        settings: how it is packed, and how often it is taken.
        rays_per_pixel: rays averaged over each pixel's area when it renders.
    """

    def __init__(self, settings: SnapshotSettings, rays_per_pixel: int = 1) -> None:
        self.settings, self._offsets = settings, pixel_offsets(rays_per_pixel)
        self._offered = 0
        self._packed = b""
        self._model: Model | None = None

    def __bool__(self) -> bool:
        """Tell whether a snapshot has been taken."""
        return bool(self._packed)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed form; the working copy is temporary."""
        return len(self._packed)

    def take(self, model: Model) -> None:
        """Take a snapshot of a model."""
        self._packed, self._model = pack(model.rendering_state(), self.settings.bits), None

    def offer(self, model: Model) -> None:
        """Take a snapshot of a model if a new one is due."""
        if self._offered % self.settings.every == 0:
            self.take(model)
        self._offered += 1

    def drop(self) -> None:
        """Discard the snapshot."""
        self._packed, self._model = b"", None

    def unpack(self, like: Model) -> None:
        """Create the working copy if it is missing.

        Args:
            like: a model of the same kind; left unchanged.
        """
        if self._packed and self._model is None:
            self._model = like.snapshot()
            self._model.load_rendering_state(unpack(self._packed))

    @torch.no_grad()
    def render(self, pixels: Pixels) -> Rendering:
        """Render B pixels; their colours are ignored."""
        assert self._model is not None, "unpack the snapshot first"
        rays = pixel_rays(pixels.poses, pixels.intrinsics, pixels.columns, pixels.rows, self._offsets)
        return self._model.render(rays)

    def colour(self, pixels: Pixels) -> tuple[Pixels, Tensor]:
        """Return B pixels with rendered colours, and the opacity (B,) of each."""
        rendering = self.render(pixels)
        return replace(pixels, colours=rendering.rgb.clamp(0.0, 1.0).cpu()), rendering.opacity.cpu()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs; unpack again after loading."""
        return {"packed": packed_tensor(self._packed), "offered": self._offered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; extra entries are ignored."""
        self._packed, self._model = unpacked_bytes(state["packed"]), None
        self._offered = state["offered"]
