"""Joint training on all data so far. The upper bound of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.models.rendering.model import Model
from nerfcl.strategies.strategy import Role, Strategy
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience


@dataclass(frozen=True)
class Joint(Strategy):
    """Trains a new model for each experience, on all experiences so far, for as many steps as the others have had.

    A batch has as many pixels as other strategies have new ones, drawn from all views so far.

    Example:
        >>> Joint().role, Joint().from_scratch
        ('upper bound', True)
    """

    role: ClassVar[Role] = "upper bound"
    from_scratch: ClassVar[bool] = True

    def new_state(self, generator: torch.Generator) -> RayMemory:
        return RayMemory(RayMemorySettings(rays=None), generator)

    def begin(self, state: RayMemory, experience: Experience, model: Model) -> None:
        state.fill(experience.train)

    def batch(self, state: RayMemory, new: Pixels) -> Pixels:
        return state.draw(len(new)) if state.fills > 1 else new
