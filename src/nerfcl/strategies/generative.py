"""Generative replay: a frozen snapshot renders the past from the cameras that saw it; no pixel is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from nerfcl.memory.cameras import Frames
from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.memory.snapshots import BITS, Snapshot
from nerfcl.models.rendering.model import Model
from nerfcl.strategies.strategy import Strategy, split
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Experience

_UNSURE = 0.4  # share of the light that is stopped, or gets through, from which on a ray is left out
_MORE = 1.25  # so many times the rays are asked for where some are left out


class GenerativeState:
    """What generative replay keeps: a snapshot, and the cameras of past frames.

    Args:
        snapshot: not yet taken.
        generator: chooses pixels.
        cameras: how they are remembered.
        only_sure: leave out rays along which the snapshot stops about half of the light.
    """

    def __init__(
        self, snapshot: Snapshot, generator: torch.Generator, cameras: Frames | PoseMixture, *, only_sure: bool
    ) -> None:
        self.snapshot, self.generator, self.cameras, self.only_sure = snapshot, generator, cameras, only_sure

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.snapshot.nbytes + self.cameras.nbytes

    def dream(self, count: int) -> Pixels:
        """`count` pixels of the past, as the snapshot renders them; they may be fewer where it is unsure."""
        asked = int(count * _MORE) if self.only_sure else count
        pixels, opacity = self.snapshot.colour(self.cameras.draw(asked, self.generator))
        if not self.only_sure:
            return pixels
        sure = ((opacity < _UNSURE) | (opacity > 1.0 - _UNSURE)).nonzero()
        return pixels.select(sure[:count, 0])

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {
            **self.snapshot.state_dict(),
            "cameras": self.cameras.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.snapshot.load_state_dict(state)
        self.cameras.load_state_dict(state["cameras"])
        self.generator.set_state(state["generator"])


@dataclass(frozen=True)
class Generative(Strategy):
    """Replays what a snapshot renders for the pixels of past frames (Shin et al. 2017, "Continual learning with deep
    generative replay"; a radiance field is its own generator).

    Attributes:
        snapshot_bits: of each value of the snapshot's large tables, 4 to 8.
        renew_every: experiences between snapshots. A stream's chunks are short, its snapshot may last for several;
            from frames that came since, it renders what it could guess before.
        past_share: share of a step's rays that are old ones; see `Replay`.
        rays_per_pixel: rays averaged over each pixel's area when the snapshot is asked.
    """

    snapshot_bits: int = BITS
    renew_every: int = 1
    past_share: float = 0.5
    rays_per_pixel: int = 1

    def __post_init__(self) -> None:
        self._new_snapshot()  # these refuse what cannot work
        split(2, self.past_share)

    def new_state(self, generator: torch.Generator) -> GenerativeState:
        return GenerativeState(self._new_snapshot(), generator, Frames(), only_sure=False)

    def begin(self, state: GenerativeState, experience: Experience, model: Model) -> None:
        state.snapshot.unpack(model)

    def resume(self, state: GenerativeState, model: Model) -> None:
        state.snapshot.unpack(model)

    def batch(self, state: GenerativeState, new: Pixels) -> Pixels:
        if not state.snapshot:
            return new
        present, past = split(len(new), self.past_share)
        return new.select(slice(present)).with_past(state.dream(past))

    def end(self, state: GenerativeState, experience: Experience, model: Model) -> None:
        state.cameras.add(experience.train)
        state.snapshot.offer(model)

    def _new_snapshot(self) -> Snapshot:
        return Snapshot(self.snapshot_bits, self.rays_per_pixel, self.renew_every)
