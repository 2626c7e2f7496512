"""Replay of stored rays and a snapshot: true colours of few past pixels, rendered ones anywhere in their frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from nerfcl.errors import require
from nerfcl.memory.cameras import largest_camera
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.memory.snapshots import Snapshot, SnapshotSettings
from nerfcl.models.rendering.model import Model
from nerfcl.strategies.replay import RayReplay, ReplayState
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience, Stream


@dataclass(frozen=True, kw_only=True)
class RaysAndSnapshotSettings(RayMemorySettings):
    """Which rays are kept together with a snapshot, and how many bytes both may take.

    Attributes:
        fill: fill policy that takes rays of every frame at the end of an experience; "contrast" by default, since the
            snapshot renders plain regions well.
        bytes: capacity in bytes for snapshot and rays together, instead of `rays`; 0 is off. Rays get what the snapshot
            leaves. The snapshot is dropped if it leaves less than a ray per frame, or if all rays fit without it.
    """

    fill: str = "contrast"
    bytes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        every_frame = self.fill_policy.every_frame and not self.fill_policy.during_training
        require(every_frame, self, "fill", "a snapshot needs rays of every frame, taken at the end of an experience")
        room = not self.bytes or self.rays_in(self.bytes, frames=1) > 0
        require(room, self, "bytes", "is too small for a single ray")

    def within(self, budget: int, stream: Stream) -> Self | None:
        """Return settings with at most `budget` bytes, and no more than all rays of the past take.

        Returns:
            The settings; None if not even one ray fits.
        """
        budget = min(budget, self.bytes_of_past(stream))
        camera_bytes = largest_camera([experience.train for experience in stream])
        return replace(self, bytes=budget) if self.rays_in(budget, 1, camera_bytes) else None


class ReplayPlusState(ReplayState):
    """State of replay+: that of replay, and a snapshot.

    Args:
        memory: memory of past rays.
        snapshot: an empty snapshot.
        generator: source of randomness for choosing pixels.
    """

    def __init__(self, memory: RayMemory, snapshot: Snapshot, generator: torch.Generator) -> None:
        super().__init__(memory)
        self.snapshot, self.generator = snapshot, generator

    @property
    def nbytes(self) -> int:
        """Bytes of the state of replay and the snapshot."""
        return super().nbytes + self.snapshot.nbytes

    def generate(self, count: int) -> Pixels:
        """Render (count,) pixels of frames with stored rays, with the snapshot."""
        return self.snapshot.colour(self.memory.cameras.sample_pixels(count, self.generator))[0]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        return {**super().state_dict(), "snapshot": self.snapshot.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.snapshot.load_state_dict(state["snapshot"])


@dataclass(frozen=True)
class ReplayPlus(RayReplay):
    """Replays stored rays, and what a snapshot renders for pixels of their frames (cf. dark experience replay, Buzzega
    et al. 2020, but old outputs are rendered again instead of stored).

    Stored rays make up the same fraction of a step's old rays as of all past rays, rounded up; if all rays are stored,
    the snapshot is not used.

    Attributes:
        memory: which rays are kept and replayed, and how many bytes they and the snapshot may take.
        snapshot: how the snapshot is packed, and how often it is taken.

    Example:
        >>> ReplayPlus(RaysAndSnapshotSettings(bytes=256 * 1024)).memory.fill
        'contrast'
    """

    memory: RaysAndSnapshotSettings = field(default_factory=RaysAndSnapshotSettings)
    snapshot: SnapshotSettings = field(default_factory=SnapshotSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.update_losses, self, "update_losses", "is not supported by this strategy")

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
        camera_bytes = max(largest_camera([experience.train]), state.memory.cameras.bytes_each)

        def room() -> int:
            return self.memory.rays_in(self.memory.bytes - state.snapshot.nbytes, frames, camera_bytes)

        if room() < frames or self.memory.rays_in(self.memory.bytes, frames, camera_bytes) >= rays:
            state.snapshot.drop()
        state.memory.resize(room())
