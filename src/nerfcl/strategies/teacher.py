"""Teachers: models whose renderings of train views serve as soft targets and losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nerfcl.memory.fill import Teacher, TeacherOutput
from nerfcl.models.rendering.model import Model
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.stream import Experience

_RAYS_AT_ONCE = 16_384


def teacher_of(experience: Experience, model: Model, rays_per_pixel: int = 1) -> Teacher:
    """Make a teacher that renders the train views of an experience, or reads saved renderings if there are any.

    Args:
        experience: experience whose train views are rendered.
        model: model to render with.
        rays_per_pixel: rays averaged over each pixel's area.
    """
    known = experience.teacher

    def teach(indices: Tensor) -> TeacherOutput:
        colours = losses = None
        if known is not None and known.colours is not None:
            colours = known.colours.view(-1, 3)[indices]
        if known is not None and known.losses is not None:
            losses = known.losses.view(-1)[indices]
        if colours is None or losses is None:
            output = _render(experience, model, indices, rays_per_pixel)
            colours = output.colours if colours is None else colours
            losses = output.losses if losses is None else losses
        return TeacherOutput(colours, losses)

    return teach


@torch.no_grad()
def _render(experience: Experience, model: Model, indices: Tensor, rays_per_pixel: int) -> TeacherOutput:
    offsets = pixel_offsets(rays_per_pixel)
    colours, losses = [], []
    for part in indices.split(max(_RAYS_AT_ONCE // rays_per_pixel, 1)):
        pixels = pixels_at(experience.train, part)
        rays = pixel_rays(pixels.poses, pixels.intrinsics, pixels.columns, pixels.rows, offsets)
        rgb = model.render(rays).rgb.cpu()
        colours.append((rgb.clamp(0.0, 1.0) * 255.0).round().byte())
        losses.append((rgb - pixels.colours).square().mean(-1))
    return TeacherOutput(torch.cat(colours), torch.cat(losses))


class SoftTargets:
    """What the model rendered for the train views of an experience before learning it: (M, 3) uint8 colours."""

    def __init__(self) -> None:
        self._has_past = False
        self._colours = torch.empty(0, 3, dtype=torch.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of the colours."""
        return self._colours.numel()

    def begin(self, experience: Experience, model: Model, rays_per_pixel: int) -> None:
        """Render the train views of an experience, if the model has a past."""
        if self._has_past:
            every = torch.arange(experience.train.pixels)
            self._colours = teacher_of(experience, model, rays_per_pixel)(every).colours

    def of(self, pixels: Pixels) -> Tensor | None:
        """Look up the soft targets (B, 3) of new pixels, in [0, 1]; None if there is no past."""
        if not len(self._colours):
            return None
        return self._colours.index_select(0, pixels.indices).float() / 255.0

    def end(self) -> None:
        """Record that the model now has a past."""
        self._has_past = True

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        return {"past": self._has_past, "colours": self._colours}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._has_past, self._colours = state["past"], state["colours"]
