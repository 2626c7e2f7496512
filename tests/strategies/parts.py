"""Strategies from text, pixels of views, and a model whose colours are known."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from nerfcl.config.configurations import ConfigurationText
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import Rays, camera_rays
from nerfcl.scenes.scene import Views
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.stream import Experience


def strategy_of(text: str) -> Strategy:
    """The strategy that is written as in a comparison: "replay:memory-fill=topk"."""
    return ConfigurationText.parse(text).build({})[0].strategy


def some_pixels(views: Views, count: int, seed: int = 0) -> Pixels:
    return pixels_at(views, torch.randint(views.pixels, (count,), generator=seeded(seed, "new")))


def state_after(strategy: Strategy, experience: Experience, model: Model) -> Any:
    """The strategy's state when the model has learned a first experience."""
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, experience, model)
    strategy.end(state, experience, model)
    return state


def rendering_of(rgb: Tensor, coarse: Tensor | None = None) -> Rendering:
    return Rendering(rgb, rgb[:, 0], rgb[:, 0], len(rgb), coarse)


class DirectionModel:
    """Renders the colour scale * (1 + direction) / 2 for every ray, and counts the rays."""

    def __init__(self, scale: float) -> None:
        self.scale, self.rays = scale, 0

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        self.rays += len(rays)
        return rendering_of(self.colours(rays))

    def colours(self, rays: Rays) -> Tensor:
        """(P, 3) of pixels, each a mean over its rays."""
        return (self.scale * 0.5 * (1.0 + rays.directions)).view(-1, rays.per_pixel, 3).mean(1)

    def colours_of(self, views: Views, per_pixel: int = 1) -> Tensor:
        """(M, 3) of all pixels of some views."""
        return torch.cat([self.colours(camera_rays(views.camera(v), per_pixel=per_pixel)) for v in range(len(views))])

    def images_of(self, views: Views, per_pixel: int = 1) -> Tensor:
        """(M, 3) uint8: the same as an image stores it."""
        return (self.colours_of(views, per_pixel).clamp(0.0, 1.0) * 255.0).round().byte()


def direction_model(scale: float = 1.0) -> tuple[DirectionModel, Model]:
    """The same model twice, for both of its types."""
    model = DirectionModel(scale)
    return model, cast(Model, model)
