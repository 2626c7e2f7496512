"""Experience replay: a memory of rays of the past, as many old rays a step as new ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from nerfcl.memory import RayMemory
from nerfcl.pixels import Pixels
from nerfcl.rendering.rendering import Model
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams import Experience


@dataclass(frozen=True)
class Replay(Strategy):
    """Replays stored rays (as the reference project's replay buffer; Chaudhry et al. 2019, "tiny episodic memories").

    Attributes:
        memory_rays: capacity of the memory in rays; None keeps every ray of the past.
    """

    memory_rays: int | None = 20_480

    def new_state(self, generator: torch.Generator) -> RayMemory:
        return RayMemory(self.memory_rays, generator)

    def batch(self, state: RayMemory, new: Pixels) -> Pixels:
        return new.with_past(state.draw(len(new))) if len(state) else new

    def end(self, state: RayMemory, experience: Experience, model: Model) -> None:
        state.fill(experience.train)


@dataclass(frozen=True)
class ReplayAll(Replay):
    """Replay with unlimited memory: every ray of the past."""

    memory_rays: int | None = field(default=None, init=False)
