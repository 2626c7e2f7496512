"""What the model that learned an experience makes of its views, or of others: soft targets and losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nerfcl.memory.rays import Recall, Recalled
from nerfcl.models.rendering.model import Model
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.tasks import Experience

_AT_ONCE = 16_384


def recall_by(experience: Experience, model: Model, rays_per_pixel: int = 1) -> Recall:
    """What the model makes of the pixels of an experience's train views; what is already written down is taken."""
    known = experience.remembered

    def recall(indices: Tensor) -> Recalled:
        colours = losses = None
        if known is not None and known.colours is not None:
            colours = known.colours.view(-1, 3)[indices]
        if known is not None and known.losses is not None:
            losses = known.losses.view(-1)[indices]
        if colours is None or losses is None:
            rendered = _render(experience, model, indices, rays_per_pixel)
            colours = rendered.colours if colours is None else colours
            losses = rendered.losses if losses is None else losses
        return Recalled(colours, losses)

    return recall


@torch.no_grad()
def _render(experience: Experience, model: Model, indices: Tensor, rays_per_pixel: int) -> Recalled:
    offsets = pixel_offsets(rays_per_pixel)
    colours, losses = [], []
    for part in indices.split(max(_AT_ONCE // rays_per_pixel, 1)):
        pixels = pixels_at(experience.train, part)
        rays = pixel_rays(pixels.poses, pixels.intrinsics, pixels.columns, pixels.rows, offsets)
        rgb = model.render(rays).rgb.cpu()
        colours.append((rgb.clamp(0.0, 1.0) * 255.0).round().byte())
        losses.append((rgb - pixels.colours).square().mean(-1))
    return Recalled(torch.cat(colours), torch.cat(losses))


class SoftTargets:
    """What the model knew before an experience about that experience's train views: (M, 3) uint8 colours."""

    def __init__(self) -> None:
        self._past = False
        self._colours = torch.empty(0, 3, dtype=torch.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of the colours."""
        return self._colours.numel()

    def begin(self, experience: Experience, model: Model, rays_per_pixel: int) -> None:
        """Asks the model about the views that come now, if it has a past."""
        if self._past:
            every = torch.arange(len(experience.train) * experience.train.height * experience.train.width)
            self._colours = recall_by(experience, model, rays_per_pixel)(every).colours

    def of(self, pixels: Pixels) -> Tensor | None:
        """(B, 3) soft targets of pixels of the present, in [0, 1]; None where there is no past."""
        if not len(self._colours):
            return None
        return self._colours.index_select(0, pixels.indices).float() / 255.0

    def end(self) -> None:
        """Now there is a past."""
        self._past = True

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {"past": self._past, "colours": self._colours}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._past, self._colours = state["past"], state["colours"]
