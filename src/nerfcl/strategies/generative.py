"""Generative replay: a frozen snapshot renders the past from the cameras that saw it; no pixel is kept."""

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

_UNSURE = 0.4  # a ray is left out where at least this fraction of its light is stopped, and of its light gets through
_EXTRA = 1.25  # so many times the rays are rendered where some are left out


class GenerativeState:
    """What generative replay keeps: a snapshot, and the cameras of past frames.

    Args:
        snapshot: not yet taken.
        generator: chooses pixels.
        cameras: how past cameras are kept.
        sure_only: whether to leave out rays along which the snapshot stops about half of the light.
    """

    def __init__(
        self, snapshot: Snapshot, generator: torch.Generator, cameras: Cameras | PoseMixture, *, sure_only: bool
    ) -> None:
        self.snapshot, self.generator, self.cameras, self.sure_only = snapshot, generator, cameras, sure_only

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.snapshot.nbytes + self.cameras.nbytes

    def generate(self, count: int) -> Pixels:
        """Render `count` pixels of the past by the snapshot; they may be fewer where unsure ones are left out."""
        rendered = int(count * _EXTRA) if self.sure_only else count
        pixels, opacity = self.snapshot.colour(self.cameras.sample_pixels(rendered, self.generator))
        if not self.sure_only:
            return pixels
        sure = ((opacity < _UNSURE) | (opacity > 1.0 - _UNSURE)).nonzero()
        return pixels.select(sure[:count, 0])

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to go on exactly."""
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
    """Replays what a snapshot renders for the pixels of past frames (Shin et al. 2017, "Continual learning with deep
    generative replay"; a radiance field is its own generator).

    Attributes:
        snapshot: how the snapshot is packed, and how long it lasts.
        replay_fraction: fraction of a step's rays that are old ones; see `Replay`.
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
        pixel_offsets(self.rays_per_pixel)  # refuses what is not a square number
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
        """Make a snapshot that is not yet taken."""
        return Snapshot(self.snapshot, self.rays_per_pixel)
