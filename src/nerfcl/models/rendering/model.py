"""The interface of a model: rays in, colours out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from nerfcl.errors import NerfclError
from nerfcl.models.fields.field import FieldSettings
from nerfcl.models.rendering import MODELS
from nerfcl.registry import Registry
from nerfcl.scenes.cameras import Camera, Rays, camera_rays
from nerfcl.scenes.scene import Scene


@dataclass(frozen=True)
class Rendering:
    """What a model renders for P pixels (P = rays / rays per pixel).

    Attributes:
        rgb: (P, 3) colours on the scene's background, sRGB, approximately in [0, 1].
        depth: (P,) expected distance to the surface, world units; the background contributes nothing.
        opacity: (P,) accumulated opacity, in [0, 1].
        samples: number of points at which the field was evaluated, over all rays.
        coarse: (P, 3) colours of a coarse network, for training; None if there is none.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> rendering = render_image(nerfcl.model_for(scene)(), scene.test.camera(0))
        >>> tuple(rendering.rgb.shape), tuple(rendering.depth.shape), tuple(rendering.opacity.shape)
        ((16, 16, 3), (16, 16), (16, 16))
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    samples: int
    coarse: Tensor | None = None


class Model(Protocol):
    """A renderable field. Training, evaluation, teachers and viewers all call `render`.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> model = nerfcl.model_for(scene)()
        >>> tuple(render_image(model, scene.test.camera(0)).rgb.shape)
        (16, 16, 3)
    """

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        """Render rays; `generator` jitters the samples along each ray, None centres them in their steps."""
        ...

    def begin_step(self, generator: torch.Generator) -> None:
        """Update state other than the parameters; called before each training step."""
        ...

    def snapshot(self) -> Self:
        """Return a frozen copy that renders as the model does now."""
        ...

    def rendering_state(self) -> Mapping[str, Tensor]:
        """Return only what determines how the model renders now: less than `state_dict`, for snapshots."""
        ...

    def load_rendering_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `rendering_state` returned."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters to optimise."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Return everything needed to continue training and rendering."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Restore what `state_dict` returned."""
        ...


@dataclass(frozen=True)
class ModelSettings(ABC):
    """Everything needed to build a model once the scene is known: a frozen dataclass of plain values.

    Attributes:
        field: settings of the field.
    """

    registry: ClassVar[Registry] = MODELS

    field: FieldSettings

    @classmethod
    @abstractmethod
    def for_scene(cls, field: Any, scene: Scene) -> Self:
        """Return the settings of a model for a scene, with a field of these settings."""

    @abstractmethod
    def build(self, seed: int, device: torch.device | str = "cpu") -> Model:
        """Build an untrained model; the seed determines its initial values."""


@torch.no_grad()
def render_image(model: Model, camera: Camera, *, rays_per_pixel: int = 1, chunk: int = 16_384) -> Rendering:
    """Render an image, at most `chunk` rays at a time.

    Args:
        model: model to render with.
        camera: camera to render from.
        rays_per_pixel: rays averaged over each pixel's area, a square number.
        chunk: maximum rays at a time; bounds memory.

    Returns:
        rgb (H, W, 3), depth (H, W) and opacity (H, W).

    Raises:
        NerfclError: `rays_per_pixel` is not a square number, or the image has no pixels.
    """
    if min(camera.width, camera.height) < 1:
        raise NerfclError(f"camera: an image of {camera.width}x{camera.height} pixels cannot be rendered")
    camera = replace(
        camera,
        world_from_camera=torch.as_tensor(camera.world_from_camera, dtype=torch.float32),
        intrinsics=torch.as_tensor(camera.intrinsics, dtype=torch.float32),
    )
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
