"""Generative replay: a frozen snapshot renders the past from past cameras; no pixel is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from nerfcl.memory.cameras import Cameras
from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.memory.snapshots import Snapshot, SnapshotSettings
from nerfcl.models.rendering.model import Model
from nerfcl.scenes.cameras import pixel_offsets
from nerfcl.strategies.strategy import Strategy, check_replay_fraction, split_batch
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience

_UNSURE = 0.4  # rays with an opacity between this and 1 minus this are left out
_EXTRA = 1.25  # factor on the rays to render if some are left out


class GenerativeState:
    """State of generative replay: a snapshot, and the cameras of past frames.

    Args:
        snapshot: an empty snapshot.
        generator: source of randomness for choosing pixels.
        cameras: memory of past cameras.
        sure_only: whether to leave out rays whose opacity is about one half.
    """

    def __init__(
        self, snapshot: Snapshot, generator: torch.Generator, cameras: Cameras | PoseMixture, *, sure_only: bool
    ) -> None:
        self.snapshot, self.generator, self.cameras, self.sure_only = snapshot, generator, cameras, sure_only

    @property
    def nbytes(self) -> int:
        """Bytes of the snapshot and the cameras."""
        return self.snapshot.nbytes + self.cameras.nbytes

    def generate(self, count: int) -> Pixels:
        """Render `count` pixels of the past with the snapshot; fewer if many uncertain ones are left out."""
        rendered = int(count * _EXTRA) if self.sure_only else count
        pixels, opacity = self.snapshot.colour(self.cameras.sample_pixels(rendered, self.generator))
        if not self.sure_only:
            return pixels
        sure = ((opacity < _UNSURE) | (opacity > 1.0 - _UNSURE)).nonzero()
        return pixels.select(sure[:count, 0])

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        return {
            **self.snapshot.state_dict(),
            "cameras": self.cameras.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.snapshot.load_state_dict(state)
        self.cameras.load_state_dict(state["cameras"])
        self.generator.set_state(state["generator"])


@dataclass(frozen=True)
class Generative(Strategy):
    """Replays what a snapshot renders for pixels of past frames (Shin et al. 2017, "Continual learning with deep
    generative replay"; a radiance field is its own generator).

    Attributes:
        snapshot: how the snapshot is packed, and how often it is taken.
        replay_fraction: fraction of a step's rays that are old ones, at least 0.5 and below 1.
        rays_per_pixel: rays averaged over each pixel's area when the snapshot renders.

    Example:
        >>> from nerfcl.memory.snapshots import SnapshotSettings
        >>> Generative(snapshot=SnapshotSettings(bits=4)).snapshot.bits
        4
    """

    snapshot: SnapshotSettings = field(default_factory=SnapshotSettings)
    replay_fraction: float = 0.5
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        pixel_offsets(self.rays_per_pixel)  # must be a square number
        check_replay_fraction(self)

    def new_state(self, generator: torch.Generator) -> GenerativeState:
        return GenerativeState(self.new_snapshot(), generator, Cameras(), sure_only=False)

    def begin(self, state: GenerativeState, experience: Experience, model: Model) -> None:
        state.snapshot.unpack(model)

    def resume(self, state: GenerativeState, model: Model) -> None:
        state.snapshot.unpack(model)

    def batch(self, state: GenerativeState, new: Pixels) -> Pixels:
        if not state.snapshot:
            return new
        present, past = split_batch(len(new), self.replay_fraction)
        return new.select(slice(present)).with_past(state.generate(past))

    def end(self, state: GenerativeState, experience: Experience, model: Model) -> None:
        state.cameras.add(experience.train)
        state.snapshot.offer(model)

    def new_snapshot(self) -> Snapshot:
        """Create an empty snapshot."""
        return Snapshot(self.snapshot, self.rays_per_pixel)
