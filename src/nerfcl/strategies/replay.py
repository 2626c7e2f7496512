"""Experience replay: a memory of rays of the past, as many old rays a step as new ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nerfcl.memory.rays import STREAMING, MemorySettings, RayMemory
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.cameras import pixel_offsets
from nerfcl.strategies.budget import rays_within
from nerfcl.strategies.recollection import SoftTargets, recall_by
from nerfcl.strategies.strategy import Strategy, split, squared_errors
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Experience, Stream


class ReplayState:
    """What replay keeps: rays, and soft targets of the views that are learned now.

    Args:
        memory: for rays of the past.
    """

    def __init__(self, memory: RayMemory) -> None:
        self.memory, self.soft_targets = memory, SoftTargets()

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.memory.nbytes + self.soft_targets.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {"memory": self.memory.state_dict(), "soft_targets": self.soft_targets.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.memory.load_state_dict(state["memory"])
        self.soft_targets.load_state_dict(state["soft_targets"])


@dataclass(frozen=True)
class Replay(Strategy):
    """Replays stored rays (as the reference project's replay buffer; Chaudhry et al. 2019, "tiny episodic memories").

    Attributes:
        memory_rays: capacity of the memory in rays; None keeps every ray of the past.
        memory_fill, memory_draw, exploration, centre_weight: see `MemorySettings`.
        soft_replay: replay what the model rendered when it had just learned a ray, not the ray's true colour.
        update_losses: whether the stored losses become the latest ones seen.
        past_share: share of a step's rays that are old ones, 0.5 to 1: a step has twice as many rays as there are new
            ones to choose from.
        soft_targets: second targets of the present's rays; see `SoftTargetRegularization`.
        rays_per_pixel: rays averaged over each pixel's area when the model is asked.
    """

    memory_rays: int | None = 20_480
    memory_fill: str = "random"
    memory_draw: str = "random"
    exploration: float = 0.0
    centre_weight: float = 0.0
    soft_replay: bool = False
    update_losses: bool = False
    past_share: float = 0.5
    soft_targets: bool = False
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        pixel_offsets(self.rays_per_pixel)  # these refuse what cannot work
        split(2, self.past_share)
        self._memory_settings()

    @property
    def watches_steps(self) -> bool:
        return self.memory_fill in STREAMING

    def within(self, budget: int, stream: Stream) -> dict[str, int] | None:
        rays = rays_within(self._beside_soft_targets(budget, stream), self._memory_settings(), stream)
        return {"memory_rays": rays} if rays > 0 else None

    def new_state(self, generator: torch.Generator) -> ReplayState:
        return ReplayState(RayMemory(self._memory_settings(), generator))

    def begin(self, state: ReplayState, experience: Experience, model: Model) -> None:
        state.memory.open(experience.train)
        if self.soft_targets:
            state.soft_targets.begin(experience, model, self.rays_per_pixel)

    def batch(self, state: ReplayState, new: Pixels) -> Pixels:
        soft = state.soft_targets.of(new)
        batch = new if soft is None else replace(new, soft=soft)
        if not (state.memory.fills and len(state.memory)):
            return batch
        present, past = split(len(new), self.past_share)
        return batch.select(slice(present)).with_past(state.memory.draw(past))

    def loss(self, state: ReplayState, rendering: Rendering, batch: Pixels) -> dict[str, Tensor]:
        state.memory.clock += 1
        streaming = self.memory_fill in STREAMING
        if streaming or self.update_losses:
            errors = squared_errors(rendering.rgb.detach(), batch).cpu()
            if self.update_losses and batch.new < len(batch):
                state.memory.set_losses(batch.indices[batch.new :], errors[batch.new :])
            if streaming:
                state.memory.offer(batch, errors)
        return super().loss(state, rendering, batch)

    def figures(self, state: ReplayState) -> dict[str, float]:
        return state.memory.figures()

    def end(self, state: ReplayState, experience: Experience, model: Model) -> None:
        state.memory.fill(experience.train, recall_by(experience, model, self.rays_per_pixel))
        state.soft_targets.end()

    def _beside_soft_targets(self, budget: int, stream: Stream) -> int:
        """What the largest experience's soft targets leave of a budget in bytes."""
        if not self.soft_targets:
            return budget
        views = [experience.train for experience in stream[1:]]
        return budget - 3 * max((len(each) * each.height * each.width for each in views), default=0)

    def _memory_settings(self) -> MemorySettings:
        return MemorySettings(
            self.memory_rays,
            self.memory_fill,
            self.memory_draw,
            self.exploration,
            self.centre_weight,
            self.soft_replay,
        )


@dataclass(frozen=True)
class ReplayAll(Replay):
    """Replay with unlimited memory: every ray of the past."""

    memory_rays: int | None = field(default=None, init=False)

    def within(self, budget: int, stream: Stream) -> dict[str, int] | None:
        return {}
