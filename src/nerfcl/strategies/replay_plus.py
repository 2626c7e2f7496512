"""Stored rays and a snapshot together: true colours at few pixels of the past, rendered ones all over its frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from nerfcl.errors import NerfclError
from nerfcl.memory.rays import STREAMING, RayMemory
from nerfcl.memory.snapshots import BITS, Snapshot
from nerfcl.models.rendering.model import Model
from nerfcl.strategies.budget import bytes_of_past, rays_in
from nerfcl.strategies.replay import Replay, ReplayState
from nerfcl.strategies.strategy import split
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Experience, Stream


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

    def dream(self, count: int) -> Pixels:
        """(count,) pixels of the frames that rays are stored of, as the snapshot renders them."""
        return self.snapshot.colour(self.memory.cameras.draw(count, self.generator))[0]

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {**super().state_dict(), "snapshot": self.snapshot.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        super().load_state_dict(state)
        self.snapshot.load_state_dict(state["snapshot"])


@dataclass(frozen=True)
class ReplayPlus(Replay):
    """Replays stored rays, and what a snapshot renders for pixels of the frames that they are from (dark experience
    replay, Buzzega et al. 2020, where the network's old outputs are made anew instead of being stored).

    Stored rays are the same share of a step's old rays as of the past, rounded up; where everything is stored, the
    snapshot is not asked.

    Attributes:
        memory_fill: "contrast", since the snapshot knows the plain parts well.
        memory_bytes: capacity for the snapshot and the rays together, instead of `memory_rays`; 0 is off. The rays have
            what the snapshot leaves. There is none where it would not leave a ray for each frame, and where all rays
            fit without it.
        snapshot_bits: of each value of the snapshot's large tables, 4 to 8.
        renew_every: experiences between snapshots; see `Generative`.
    """

    memory_fill: str = "contrast"
    memory_bytes: int = 0
    snapshot_bits: int = BITS
    renew_every: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._new_snapshot()
        if self.memory_bytes and not rays_in(self.memory_bytes, self._memory_settings(), frames=1):
            raise NerfclError(f"--memory-bytes {self.memory_bytes}: has no room for a ray")
        if self.memory_fill in (*STREAMING, "loss-grid") or self.update_losses:
            raise NerfclError("replay+: takes rays of every frame, and no losses from its steps; use replay for that")

    def within(self, budget: int, stream: Stream) -> dict[str, int] | None:
        settings = self._memory_settings()
        budget = min(self._beside_soft_targets(budget, stream), bytes_of_past(settings, stream))
        return {"memory_bytes": budget} if rays_in(budget, settings, frames=1) else None

    def new_state(self, generator: torch.Generator) -> ReplayPlusState:
        memory = RayMemory(self._memory_settings(), generator)
        return ReplayPlusState(memory, self._new_snapshot(), generator)

    def begin(self, state: ReplayState, experience: Experience, model: Model) -> None:
        super().begin(state, experience, model)
        assert isinstance(state, ReplayPlusState)
        state.snapshot.unpack(model)

    def resume(self, state: ReplayPlusState, model: Model) -> None:
        state.snapshot.unpack(model)

    def batch(self, state: ReplayState, new: Pixels) -> Pixels:
        assert isinstance(state, ReplayPlusState)
        soft = state.soft_targets.of(new)
        batch = new if soft is None else replace(new, soft=soft)
        if not len(state.memory):
            return batch
        present, past = split(len(new), self.past_share)
        stored = -(-past * len(state.memory) // state.memory.offered)
        dreamed = past - stored if state.snapshot else 0
        batch = batch.select(slice(present))
        if dreamed < past:
            batch = batch.with_past(state.memory.draw(past - dreamed))
        return batch.with_past(state.dream(dreamed)) if dreamed else batch

    def end(self, state: ReplayState, experience: Experience, model: Model) -> None:
        assert isinstance(state, ReplayPlusState)
        state.snapshot.offer(model)
        if self.memory_bytes:
            self._share_out(state, experience)
        super().end(state, experience, model)

    def _share_out(self, state: ReplayPlusState, experience: Experience) -> None:
        """Decides whether there is room for the snapshot, and for how many rays."""
        views, settings = experience.train, self._memory_settings()
        frames = len(state.memory.cameras) + len(views)
        rays = state.memory.offered + len(views) * views.height * views.width

        def room() -> int:
            return rays_in(self.memory_bytes - state.snapshot.nbytes, settings, frames)

        if room() < frames or rays_in(self.memory_bytes, settings, frames) >= rays:
            state.snapshot.drop()
        state.memory.resize(room())

    def _new_snapshot(self) -> Snapshot:
        return Snapshot(self.snapshot_bits, self.rays_per_pixel, self.renew_every)
