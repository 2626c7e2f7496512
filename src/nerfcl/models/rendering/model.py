"""What a model is to everyone else: rays in, colours out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nerfcl.scenes.cameras import Camera, Rays, camera_rays


@dataclass(frozen=True)
class Rendering:
    """What a model sees along P pixels (P = rays / rays per pixel).

    Attributes:
        rgb: (P, 3) colours on the scene's background, sRGB, about [0, 1].
        depth: (P,) expected distance to what was hit, world units; the background adds nothing.
        opacity: (P,) share of light that was stopped, in [0, 1].
        samples: points at which the field was evaluated, over all rays.
        coarse: (P, 3) colours of a coarse network that is trained beside the fine one; None where there is none.
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    samples: int
    coarse: Tensor | None = None


class Model(Protocol):
    """A renderable field. Training, evaluation, teachers and viewers all make the same call."""

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        """Renders rays; `generator` draws where along each ray the samples lie, None puts them in the middle."""
        ...

    def begin_step(self, generator: torch.Generator) -> None:
        """Called before each training step, for what a model keeps beside its parameters."""
        ...

    def snapshot(self) -> Model:
        """A frozen copy that renders as the model does now."""
        ...

    def rendering_state(self) -> Mapping[str, Tensor]:
        """What decides how the model renders now, and nothing else: less than `state_dict`, for snapshots."""
        ...

    def load_rendering_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `rendering_state` gave."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is optimised."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Everything that makes the model render as it does."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Takes back what `state_dict` gave."""
        ...


@torch.no_grad()
def render_image(model: Model, camera: Camera, *, rays_per_pixel: int = 1, chunk: int = 16_384) -> Rendering:
    """Renders a whole image, at most `chunk` rays at a time.

    Returns:
        rgb (H, W, 3), depth (H, W) and opacity (H, W).

    Raises:
        NerfclError: `rays_per_pixel` is no square number.
    """
    rays = camera_rays(camera, per_pixel=rays_per_pixel)
    size = max(chunk // rays_per_pixel, 1) * rays_per_pixel
    parts = [
        model.render(Rays(rays.origins[i : i + size], rays.directions[i : i + size], rays_per_pixel))
        for i in range(0, len(rays), size)
    ]
    shape = (camera.height, camera.width)
    return Rendering(
        torch.cat([part.rgb for part in parts]).view(*shape, 3),
        torch.cat([part.depth for part in parts]).view(shape),
        torch.cat([part.opacity for part in parts]).view(shape),
        sum(part.samples for part in parts),
    )
