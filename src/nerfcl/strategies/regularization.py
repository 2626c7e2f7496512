"""Common base of EWC and MAS: a quadratic penalty that anchors important parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nerfcl.errors import Argument, require, require_between
from nerfcl.memory.quantisation import BITS, pack, packed_tensor, unpack, unpacked_bytes
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.stream import Experience


class ImportanceState:
    """Past parameters (anchors) and their importance, packed like a snapshot, and working copies of both.

    Args:
        bits: bits per packed value of large tensors.
        generator: source of randomness for choosing rays.
    """

    def __init__(self, bits: int, generator: torch.Generator) -> None:
        self.bits, self.generator = bits, generator
        self._packed = b""
        self.anchors: list[Tensor] = []
        self.importance: list[Tensor] = []

    @property
    def nbytes(self) -> int:
        """Bytes of the packed form."""
        return len(self._packed)

    def keep(self, anchors: list[Tensor], importance: list[Tensor]) -> None:
        """Pack both; from now on, the unpacked values are used.

        Importance is packed as its square root, whose range is smaller.
        """
        roots = {f"importance.{i}": value.sqrt() for i, value in enumerate(importance)}
        # Anchors without importance are unused, and pack best as zeros.
        held = {f"anchor.{i}": a * (f > 0.0) for i, (a, f) in enumerate(zip(anchors, importance, strict=True))}
        self._packed = pack({**held, **roots}, self.bits)
        self._unpack(anchors[0].device)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        return {"packed": packed_tensor(self._packed), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._packed = unpacked_bytes(state["packed"])
        self.generator.set_state(state["generator"])
        if self._packed:
            self._unpack(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        """Move the working copies to a device."""
        self.anchors = [value.to(device) for value in self.anchors]
        self.importance = [value.to(device) for value in self.importance]

    def _unpack(self, device: torch.device) -> None:
        parts = unpack(self._packed)
        count = len(parts) // 2
        self.anchors = [parts[f"anchor.{i}"] for i in range(count)]
        self.importance = [parts[f"importance.{i}"].square() for i in range(count)]
        self.to(device)


@dataclass(frozen=True)
class ParameterRegularization(Strategy, ABC):
    """Adds a penalty for each parameter that moves, in proportion to its importance for the past.

    The penalty is penalty_weight / 3 * sum(importance * (parameter - anchor)^2). If importance is the Fisher diagonal,
    a weight of 1 is the increase of the past's mean squared error to second order, without off-diagonal terms.

    Attributes:
        importance_decay: factor on earlier importance when an experience adds its own, 0 to 1.
        importance_rays: rays per experience that importance is measured with.
        importance_batch: rays per gradient in that measurement.
        snapshot_bits: bits per value of the large tables that are kept, 4 to 8.
        rays_per_pixel: rays averaged over each pixel's area.
    """

    importance_decay: float = 1.0
    importance_rays: int = 4096
    importance_batch: int = 16
    snapshot_bits: int = BITS
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        pixel_offsets(self.rays_per_pixel)  # must be a square number
        require_between(self, "importance_decay", 0, 1)
        in_range = 1 <= self.importance_batch <= self.importance_rays
        limit = Argument("importance_rays", self.importance_rays, type(self))
        require(in_range, self, "importance_batch", "must be at least 1 and at most ", limit)
        require_between(self, "snapshot_bits", 4, 8)

    @property
    @abstractmethod
    def penalty_weight(self) -> float:
        """Weight of the penalty."""

    @abstractmethod
    def importance_of(self, rgb: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return a scalar of a batch's colours (B, 3), and the function from its gradient to importance."""

    def new_state(self, generator: torch.Generator) -> ImportanceState:
        return ImportanceState(self.snapshot_bits, generator)

    def resume(self, state: ImportanceState, model: Model) -> None:
        state.to(next(model.parameters()).device)

    def loss(self, state: ImportanceState, rendering: Rendering, batch: Pixels, model: Model) -> dict[str, Tensor]:
        parts = super().loss(state, rendering, batch, model)
        if state.anchors:
            held = zip(model.parameters(), state.anchors, state.importance, strict=True)
            moved = [(importance * (parameter - anchor).square()).sum() for parameter, anchor, importance in held]
            parts["penalty"] = self.penalty_weight / 3.0 * torch.stack(moved).sum()
        return parts

    def end(self, state: ImportanceState, experience: Experience, model: Model) -> None:
        found = self._measure(state, experience, model)
        if state.importance:
            found = [self.importance_decay * old + new for old, new in zip(state.importance, found, strict=True)]
        state.keep([parameter.detach() for parameter in model.parameters()], found)

    def _measure(self, state: ImportanceState, experience: Experience, model: Model) -> list[Tensor]:
        """Measure the importance of every parameter, averaged over rays of the experience."""
        probe = model.snapshot()
        parameters = list(probe.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        views, offsets = experience.train, pixel_offsets(self.rays_per_pixel)
        total = [torch.zeros_like(parameter) for parameter in parameters]
        pixels = torch.randint(views.pixels, (self.importance_rays,), generator=state.generator)
        for part in pixels.split(self.importance_batch):
            batch = pixels_at(views, part)
            rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, offsets)
            scalar, to_importance = self.importance_of(probe.render(rays).rgb, state.generator)
            scalar.backward()
            for value, parameter in zip(total, parameters, strict=True):
                if parameter.grad is not None:
                    value += to_importance(parameter.grad)
                    parameter.grad = None
        return [value / self.importance_rays for value in total]
