"""Stored rays and a snapshot together: true colours of few pixels of the past, rendered ones all over its frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from nerfcl.errors import require
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.memory.snapshots import Snapshot, SnapshotSettings
from nerfcl.models.rendering.model import Model
from nerfcl.strategies.replay import RayReplay, ReplayState
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience, Stream


@dataclass(frozen=True, kw_only=True)
class RaysAndSnapshotSettings(RayMemorySettings):
    """Which rays are kept beside a snapshot, and how much both may take.

    Attributes:
        fill: "contrast", since the snapshot knows the plain parts well; a policy that takes rays of every frame when an
            experience is over.
        bytes: capacity for the snapshot and the rays together, instead of `rays`; 0 is off. The rays have what the
            snapshot leaves. There is no snapshot where it would not leave a ray for each frame, and where all rays fit
            without it.
    """

    fill: str = "contrast"
    bytes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        every_frame = self.fill_policy.every_frame and not self.fill_policy.during_training
        require(every_frame, self, "fill", "a snapshot needs rays of every frame, taken when an experience is over")
        room = not self.bytes or self.rays_in(self.bytes, frames=1) > 0
        require(room, self, "bytes", "has no room for a ray")

    def within(self, budget: int, stream: Stream) -> Self | None:
        """Return settings with at most `budget` bytes, and no more than all rays of the past take.

        Returns:
            None where not even one ray fits.
        """
        budget = min(budget, self.bytes_of_past(stream))
        return replace(self, bytes=budget) if self.rays_in(budget, frames=1) else None


class ReplayPlusState(ReplayState):
    """What is kept: rays, and a snapshot.

    Args:
        memory: for rays of the past.
        snapshot: not yet taken.
        generator: chooses pixels.
    """

    def __init__(self, memory: RayMemory, snapshot: Snapshot, generator: torch.Generator) -> None:
        super().__init__(memory)
        self.snapshot, self.generator = snapshot, generator

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return super().nbytes + self.snapshot.nbytes

    def generate(self, count: int) -> Pixels:
        """Render (count,) pixels of the frames that rays are stored of, by the snapshot."""
        return self.snapshot.colour(self.memory.cameras.sample_pixels(count, self.generator))[0]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to go on exactly."""
        return {**super().state_dict(), "snapshot": self.snapshot.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.snapshot.load_state_dict(state["snapshot"])


@dataclass(frozen=True)
class ReplayPlus(RayReplay):
    """Replays stored rays, and what a snapshot renders for pixels of the frames that they are from (dark experience
    replay, Buzzega et al. 2020, with the network's old outputs rendered again instead of being stored).

    Stored rays are the same fraction of a step's old rays as of the past, rounded up; where everything is stored, the
    snapshot is not used.

    Attributes:
        memory: which rays are kept and replayed, and how much they and the snapshot may take.
        snapshot: how the snapshot is packed, and how long it lasts.

    Example:
        >>> ReplayPlus(RaysAndSnapshotSettings(bytes=256 * 1024)).memory.fill
        'contrast'
    """

    memory: RaysAndSnapshotSettings = field(default_factory=RaysAndSnapshotSettings)
    snapshot: SnapshotSettings = field(default_factory=SnapshotSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.update_losses, self, "update_losses", "this strategy takes no losses from its steps")

    def new_state(self, generator: torch.Generator) -> ReplayPlusState:
        memory = RayMemory(self.ray_memory, generator)
        return ReplayPlusState(memory, Snapshot(self.snapshot, self.rays_per_pixel), generator)

    def begin(self, state: ReplayState, experience: Experience, model: Model) -> None:
        super().begin(state, experience, model)
        assert isinstance(state, ReplayPlusState)
        state.snapshot.unpack(model)

    def resume(self, state: ReplayPlusState, model: Model) -> None:
        state.snapshot.unpack(model)

    def with_past(self, state: ReplayState, present: Pixels, count: int) -> Pixels:
        assert isinstance(state, ReplayPlusState)
        stored = -(-count * len(state.memory) // state.memory.offered)
        generated = count - stored if state.snapshot else 0
        batch = present.with_past(state.memory.draw(count - generated))
        return batch.with_past(state.generate(generated)) if generated else batch

    def end(self, state: ReplayState, experience: Experience, model: Model) -> None:
        assert isinstance(state, ReplayPlusState)
        state.snapshot.offer(model)
        if self.memory.bytes:
            self._divide_bytes(state, experience)
        super().end(state, experience, model)

    def _divide_bytes(self, state: ReplayPlusState, experience: Experience) -> None:
        """Decide whether there is room for the snapshot, and for how many rays."""
        frames = len(state.memory.cameras) + len(experience.train)
        rays = state.memory.offered + experience.train.pixels

        def room() -> int:
            return self.memory.rays_in(self.memory.bytes - state.snapshot.nbytes, frames)

        if room() < frames or self.memory.rays_in(self.memory.bytes, frames) >= rays:
            state.snapshot.drop()
        state.memory.resize(room())
