"""What the strategies that hold parameters in place have in common: anchors, and how important each is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.memory.snapshots import BITS, check_bits, pack, packed_tensor, unpack, unpacked_bytes
from nerfcl.models.rendering.model import Model
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.pixels import pixels_at
from nerfcl.streams.tasks import Experience


class ImportanceState:
    """Parameters as they were, and their importance, both packed as a snapshot's; beside them working copies.

    Args:
        bits: of each packed value of large tensors.
        generator: chooses rays.
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
        """Keeps both; what is used from now on is what was packed. Importance is packed as its square root, whose range
        is smaller."""
        roots = {f"importance.{i}": value.sqrt() for i, value in enumerate(importance)}
        # Where nothing is important, an anchor holds nothing.
        held = {f"anchor.{i}": a * (f > 0.0) for i, (a, f) in enumerate(zip(anchors, importance, strict=True))}
        self._packed = pack({**held, **roots}, self.bits)
        self._unpack(anchors[0].device)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {"packed": packed_tensor(self._packed), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._packed = unpacked_bytes(state["packed"])
        self.generator.set_state(state["generator"])
        if self._packed:
            self._unpack(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        """Moves the working copies."""
        self.anchors = [value.to(device) for value in self.anchors]
        self.importance = [value.to(device) for value in self.importance]

    def _unpack(self, device: torch.device) -> None:
        parts = unpack(self._packed)
        count = len(parts) // 2
        self.anchors = [parts[f"anchor.{i}"] for i in range(count)]
        self.importance = [parts[f"importance.{i}"].square() for i in range(count)]
        self.to(device)


@dataclass(frozen=True)
class Anchored(Strategy, ABC):
    """A quadratic penalty holds each parameter where it was, in proportion to its importance for the past.

    The penalty is strength / 3 * sum(importance * (parameter - anchor)^2). Where importance is the Fisher diagonal,
    strength 1 is to second order (and without the off-diagonal) the growth of the past's mean squared error.

    Attributes:
        strength: of the penalty.
        keep: share of the earlier importance that stays when an experience adds its own, 0 to 1.
        importance_rays: rays of an experience that importance is measured with.
        importance_batch: rays whose gradient is taken at once.
        snapshot_bits: of each value of the large tables that are kept, 4 to 8.
        rays_per_pixel: rays averaged over each pixel's area.
    """

    strength: float = 1.0
    keep: float = 1.0
    importance_rays: int = 4096
    importance_batch: int = 16
    snapshot_bits: int = BITS
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        pixel_offsets(self.rays_per_pixel)  # refuses what cannot work
        if self.strength < 0.0:
            raise NerfclError(f"--strength {self.strength}: must not be negative")
        if not 0.0 <= self.keep <= 1.0:
            raise NerfclError(f"--keep {self.keep}: must lie between 0 and 1")
        if not 1 <= self.importance_batch <= self.importance_rays:
            raise NerfclError(
                f"--importance-batch {self.importance_batch}: must lie between 1 and --importance-rays "
                f"{self.importance_rays}"
            )
        check_bits(self.snapshot_bits)

    def new_state(self, generator: torch.Generator) -> ImportanceState:
        return ImportanceState(self.snapshot_bits, generator)

    def resume(self, state: ImportanceState, model: Model) -> None:
        state.to(next(model.parameters()).device)

    def after_backward(self, state: ImportanceState, model: Model) -> None:
        with torch.no_grad():
            for parameter, anchor, importance in zip(model.parameters(), state.anchors, state.importance, strict=False):
                pull = importance * (parameter - anchor) * (2.0 / 3.0 * self.strength)
                parameter.grad = pull if parameter.grad is None else parameter.grad.add_(pull)

    def end(self, state: ImportanceState, experience: Experience, model: Model) -> None:
        found = self._measure(state, experience, model)
        if state.importance:
            found = [self.keep * old + new for old, new in zip(state.importance, found, strict=True)]
        state.keep([parameter.detach() for parameter in model.parameters()], found)

    @abstractmethod
    def importance_of(self, rgb: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A scalar of a batch's (B, 3) colours, and what makes a batch's importance of its gradient."""

    def _measure(self, state: ImportanceState, experience: Experience, model: Model) -> list[Tensor]:
        """Importance of every parameter, a mean over rays of the experience."""
        probe = model.snapshot()
        parameters = list(probe.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        views, offsets = experience.train, pixel_offsets(self.rays_per_pixel)
        total = [torch.zeros_like(parameter) for parameter in parameters]
        pixels = torch.randint(
            len(views) * views.height * views.width, (self.importance_rays,), generator=state.generator
        )
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
