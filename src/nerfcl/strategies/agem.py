"""A-GEM: a step may not raise the loss on the past, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nerfcl.memory.rays import STREAMING, MemorySettings, RayMemory
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays, stratified_offsets
from nerfcl.strategies.budget import rays_within
from nerfcl.strategies.recollection import recall_by
from nerfcl.strategies.strategy import Strategy, squared_errors
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Experience, Stream


class AGemState:
    """What A-GEM keeps: rays; and how often it had to step in.

    Args:
        memory: for rays of the past.
        generator: of the rendering of old rays.
    """

    def __init__(self, memory: RayMemory, generator: torch.Generator) -> None:
        self.memory, self.generator = memory, generator
        self.batch = 0  # old rays a step
        self.constrained, self.projected = 0, 0  # steps with a past; those whose gradient was projected

    @property
    def nbytes(self) -> int:
        """Bytes of the memory."""
        return self.memory.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        counts = {"constrained": self.constrained, "projected": self.projected}
        return {"memory": self.memory.state_dict(), **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.memory.load_state_dict(state["memory"])
        self.constrained, self.projected = state["constrained"], state["projected"]


@dataclass(frozen=True)
class AGem(Strategy):
    """Average gradient episodic memory (Chaudhry et al. 2019, "Efficient Lifelong Learning with A-GEM").

    The gradient g of the new rays' loss is taken as it is while it agrees with the gradient r of a batch from memory;
    where g · r < 0 it becomes g - (g · r / r · r) r, the nearest one that does not raise the loss on that batch.

    Attributes:
        memory_rays: capacity of the memory in rays; None keeps every ray of the past.
        memory_fill, memory_draw, exploration: see `MemorySettings`.
        rays_per_pixel: rays averaged over each pixel's area.
    """

    memory_rays: int | None = 20_480
    memory_fill: str = "random"
    memory_draw: str = "random"
    exploration: float = 0.0
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        pixel_offsets(self.rays_per_pixel)  # these refuse what cannot work
        self._memory_settings()

    @property
    def watches_steps(self) -> bool:
        return self.memory_fill in STREAMING

    def within(self, budget: int, stream: Stream) -> dict[str, int] | None:
        rays = rays_within(budget, self._memory_settings(), stream)
        return {"memory_rays": rays} if rays > 0 else None

    def new_state(self, generator: torch.Generator) -> AGemState:
        return AGemState(RayMemory(self._memory_settings(), generator), generator)

    def begin(self, state: AGemState, experience: Experience, model: Model) -> None:
        state.memory.open(experience.train)

    def batch(self, state: AGemState, new: Pixels) -> Pixels:
        state.batch = len(new)
        return new

    def loss(self, state: AGemState, rendering: Rendering, batch: Pixels) -> dict[str, Tensor]:
        if batch.new:
            state.memory.clock += 1
            if self.memory_fill in STREAMING:
                state.memory.offer(batch, squared_errors(rendering.rgb.detach(), batch).cpu())
        return super().loss(state, rendering, batch)

    def after_backward(self, state: AGemState, model: Model) -> None:
        if not (state.memory.fills and len(state.memory)):
            return
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        present = _take_gradients(parameters)
        past = state.memory.draw(state.batch)
        offsets = stratified_offsets(len(past), self.rays_per_pixel, state.generator)
        rays = pixel_rays(past.poses, past.intrinsics, past.columns, past.rows, offsets)
        losses = self.loss(state, model.render(rays, state.generator), past)
        torch.stack(list(losses.values())).sum().backward()
        state.projected += project(present, _take_gradients(parameters))
        state.constrained += 1
        for parameter, gradient in zip(parameters, present, strict=True):
            parameter.grad = gradient

    def figures(self, state: AGemState) -> dict[str, float]:
        kept = state.memory.figures()
        return {**kept, "projected_share": state.projected / state.constrained} if state.constrained else kept

    def end(self, state: AGemState, experience: Experience, model: Model) -> None:
        state.memory.fill(experience.train, recall_by(experience, model, self.rays_per_pixel))

    def _memory_settings(self) -> MemorySettings:
        return MemorySettings(self.memory_rays, self.memory_fill, self.memory_draw, self.exploration)


def project(present: list[Tensor | None], past: list[Tensor | None]) -> bool:
    """Changes gradients of the present, in place, so that they do not point against those of the past.

    Args:
        present: a gradient per parameter, None where there is none.
        past: the same of the constraint.

    Returns:
        Whether anything had to be changed.
    """
    dot = sum(float((g * r).sum()) for g, r in zip(present, past, strict=True) if g is not None and r is not None)
    if dot >= 0.0:
        return False
    share = dot / sum(float(r.square().sum()) for r in past if r is not None)
    for i, (g, r) in enumerate(zip(present, past, strict=True)):
        if r is not None:
            present[i] = -share * r if g is None else g.sub_(r, alpha=share)
    return True


def _take_gradients(parameters: list[torch.nn.Parameter]) -> list[Tensor | None]:
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return gradients
