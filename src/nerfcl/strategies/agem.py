"""A-GEM: no step may increase the loss on the past, to first order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays, stratified_offsets
from nerfcl.strategies.strategy import Strategy, squared_errors
from nerfcl.strategies.teacher import teacher_of
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience


class AGemState:
    """State of A-GEM: rays, and how often a gradient was projected.

    Args:
        memory: memory of past rays.
        generator: source of randomness for rendering old rays.
    """

    def __init__(self, memory: RayMemory, generator: torch.Generator) -> None:
        self.memory, self.generator = memory, generator
        self.batch = 0  # old rays per step
        self.constrained, self.projected = 0, 0  # steps with a past; those with a projected gradient

    @property
    def nbytes(self) -> int:
        """Bytes of the memory."""
        return self.memory.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        counts = {"constrained": self.constrained, "projected": self.projected}
        return {"memory": self.memory.state_dict(), **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.memory.load_state_dict(state["memory"])
        self.constrained, self.projected = state["constrained"], state["projected"]


@dataclass(frozen=True)
class AGem(Strategy):
    """Averaged gradient episodic memory (Chaudhry et al. 2019, "Efficient Lifelong Learning with A-GEM").

    The gradient g of the loss on new rays is used unchanged if g · r >= 0, where r is the gradient of a batch from
    memory; else it becomes g - (g · r / r · r) r, the nearest one that does not increase the loss on that batch.

    Attributes:
        memory: which rays are kept, and which of them constrain a step.
        rays_per_pixel: rays averaged over each pixel's area.

    Example:
        >>> from nerfcl.memory.rays import RayMemorySettings
        >>> AGem(memory=RayMemorySettings(rays=10_000, fill="reservoir")).needs_boundaries
        False
    """

    memory: RayMemorySettings = field(default_factory=RayMemorySettings)
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        pixel_offsets(self.rays_per_pixel)  # must be a square number

    def new_state(self, generator: torch.Generator) -> AGemState:
        return AGemState(RayMemory(self.memory, generator), generator)

    def begin(self, state: AGemState, experience: Experience, model: Model) -> None:
        state.memory.open(experience.train)

    def batch(self, state: AGemState, new: Pixels) -> Pixels:
        state.batch = len(new)
        return new

    def loss(self, state: AGemState, rendering: Rendering, batch: Pixels, model: Model) -> dict[str, Tensor]:
        if batch.new:
            state.memory.clock += 1
            if self.memory.fill_policy.during_training:
                state.memory.offer(batch, squared_errors(rendering.rgb.detach(), batch).cpu())
        return super().loss(state, rendering, batch, model)

    def after_backward(self, state: AGemState, model: Model) -> None:
        if not (state.memory.fills and len(state.memory)):
            return
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        present = _take_gradients(parameters)
        past = state.memory.draw(state.batch)
        offsets = stratified_offsets(len(past), self.rays_per_pixel, state.generator)
        rays = pixel_rays(past.poses, past.intrinsics, past.columns, past.rows, offsets)
        losses = self.loss(state, model.render(rays, state.generator), past, model)
        torch.stack(list(losses.values())).sum().backward()
        state.projected += project(present, _take_gradients(parameters))
        state.constrained += 1
        for parameter, gradient in zip(parameters, present, strict=True):
            parameter.grad = gradient

    def end(self, state: AGemState, experience: Experience, model: Model) -> None:
        state.memory.fill(experience.train, teacher_of(experience, model, self.rays_per_pixel))

    def metrics(self, state: AGemState) -> dict[str, float]:
        kept = state.memory.metrics()
        return {**kept, "projected_fraction": state.projected / state.constrained} if state.constrained else kept


def project(present: list[Tensor | None], past: list[Tensor | None]) -> bool:
    """Project new gradients, in place, so that they do not conflict with those of the past.

    Args:
        present: gradient of each parameter, or None; modified.
        past: gradient of each parameter on past rays, or None.

    Returns:
        Whether the gradients were modified.
    """
    dot = sum(float((g * r).sum()) for g, r in zip(present, past, strict=True) if g is not None and r is not None)
    if dot >= 0.0:
        return False
    factor = dot / sum(float(r.square().sum()) for r in past if r is not None)
    for i, (g, r) in enumerate(zip(present, past, strict=True)):
        if r is not None:
            present[i] = -factor * r if g is None else g.sub_(r, alpha=factor)
    return True


def _take_gradients(parameters: list[torch.nn.Parameter]) -> list[Tensor | None]:
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return gradients
