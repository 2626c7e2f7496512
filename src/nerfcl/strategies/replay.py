"""Experience replay: each step mixes new rays with old ones from a memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nerfcl.memory.rays import DrawSettings, RayMemory, RayMemorySettings
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.cameras import pixel_offsets
from nerfcl.strategies.strategy import Strategy, check_replay_fraction, split_batch, squared_errors
from nerfcl.strategies.teacher import SoftTargets, teacher_of
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience


class ReplayState:
    """State of replay: rays, and soft targets of the current views.

    Args:
        memory: memory of past rays.
    """

    def __init__(self, memory: RayMemory) -> None:
        self.memory, self.soft_targets = memory, SoftTargets()

    @property
    def nbytes(self) -> int:
        """Bytes of the rays and the soft targets."""
        return self.memory.nbytes + self.soft_targets.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        return {"memory": self.memory.state_dict(), "soft_targets": self.soft_targets.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.memory.load_state_dict(state["memory"])
        self.soft_targets.load_state_dict(state["soft_targets"])


@dataclass(frozen=True)
class RayReplay(Strategy):
    """Common base of strategies that replay stored rays; see `Replay`.

    Attributes:
        memory: which rays are kept and replayed.
        replay_fraction: fraction of a step's rays that are old ones, at least 0.5 and below 1. A step has twice as many
            rays as in fine-tuning.
        update_losses: whether replay updates the stored losses.
        soft_targets: whether new rays also have soft targets; see `SoftTargetRegularization`.
        rays_per_pixel: rays averaged over each pixel's area when a teacher renders.
    """

    memory: DrawSettings = field(default_factory=RayMemorySettings)
    replay_fraction: float = 0.5
    update_losses: bool = False
    soft_targets: bool = False
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        pixel_offsets(self.rays_per_pixel)  # must be a square number
        check_replay_fraction(self)

    @property
    def ray_memory(self) -> RayMemorySettings:
        """Settings of the ray memory, which is unlimited if `memory` has no capacity."""
        if isinstance(self.memory, RayMemorySettings):
            return self.memory
        return RayMemorySettings(rays=None, **asdict(self.memory))

    def new_state(self, generator: torch.Generator) -> ReplayState:
        return ReplayState(RayMemory(self.ray_memory, generator))

    def begin(self, state: ReplayState, experience: Experience, model: Model) -> None:
        state.memory.open(experience.train)
        if self.soft_targets:
            state.soft_targets.begin(experience, model, self.rays_per_pixel)

    def batch(self, state: ReplayState, new: Pixels) -> Pixels:
        soft = state.soft_targets.of(new)
        batch = new if soft is None else replace(new, soft=soft)
        if not (state.memory.fills and len(state.memory)):
            return batch
        present, past = split_batch(len(new), self.replay_fraction)
        return self.with_past(state, batch.select(slice(present)), past)

    def with_past(self, state: ReplayState, present: Pixels, count: int) -> Pixels:
        """Append `count` pixels of the past."""
        return present.with_past(state.memory.draw(count))

    def loss(self, state: ReplayState, rendering: Rendering, batch: Pixels, model: Model) -> dict[str, Tensor]:
        state.memory.clock += 1
        during_training = self.ray_memory.fill_policy.during_training
        if during_training or self.update_losses:
            errors = squared_errors(rendering.rgb.detach(), batch).cpu()
            if self.update_losses and batch.new < len(batch):
                state.memory.set_losses(batch.indices[batch.new :], errors[batch.new :])
            if during_training:
                state.memory.offer(batch, errors)
        return super().loss(state, rendering, batch, model)

    def end(self, state: ReplayState, experience: Experience, model: Model) -> None:
        state.memory.fill(experience.train, teacher_of(experience, model, self.rays_per_pixel))
        state.soft_targets.end()

    def metrics(self, state: ReplayState) -> dict[str, float]:
        return state.memory.metrics()


@dataclass(frozen=True)
class Replay(RayReplay):
    """Replays stored rays, like the reference project's replay buffer (Chaudhry et al. 2019, "tiny episodic memories").

    Attributes:
        memory: which rays are kept and replayed.

    Example:
        >>> Replay(RayMemorySettings(rays=20_480, fill="contrast")).memory.rays
        20480
    """

    memory: RayMemorySettings = field(default_factory=RayMemorySettings)


@dataclass(frozen=True)
class ReplayAll(RayReplay):
    """Replays from an unlimited memory of every past ray.

    Attributes:
        memory: which rays are replayed.

    Example:
        >>> ReplayAll(DrawSettings(draw="weighted", exploration=0.2)).memory.draw
        'weighted'
    """

    memory: DrawSettings = field(default_factory=DrawSettings)
