"""The reference project's regularization: the old model's renderings of the new views are soft targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from nerfcl.models.rendering.model import Model
from nerfcl.scenes.cameras import pixel_offsets
from nerfcl.strategies.strategy import Strategy
from nerfcl.strategies.teacher import SoftTargets
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience


@dataclass(frozen=True)
class SoftTargetRegularization(Strategy):
    """Distillation on the current views (Li & Hoiem 2016, "Learning without Forgetting").

    Attributes:
        rays_per_pixel: rays averaged over each pixel's area when the old model renders.

    Example:
        >>> SoftTargetRegularization().needs_boundaries
        True
    """

    needs_boundaries: ClassVar[bool] = True
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        pixel_offsets(self.rays_per_pixel)  # must be a square number

    def new_state(self, generator: torch.Generator) -> SoftTargets:
        return SoftTargets()

    def begin(self, state: SoftTargets, experience: Experience, model: Model) -> None:
        state.begin(experience, model, self.rays_per_pixel)

    def batch(self, state: SoftTargets, new: Pixels) -> Pixels:
        soft = state.of(new)
        return new if soft is None else replace(new, soft=soft)

    def end(self, state: SoftTargets, experience: Experience, model: Model) -> None:
        state.end()
