"""Replay of whole images, kept compressed without loss: many times the rays for the same bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nerfcl.memory.images import TileMemory
from nerfcl.models.rendering.model import Model
from nerfcl.strategies.budget import all_but_last
from nerfcl.strategies.strategy import Strategy, split
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Experience, Stream


@dataclass(frozen=True)
class ReplayImages(Strategy):
    """Replays pixels of past images, kept as tiles in a lossless format; see `TileMemory`.

    Attributes:
        memory_bytes: capacity of the memory in bytes, cameras included.
        past_share: share of a step's rays that are old ones; see `Replay`.
    """

    memory_bytes: int = 262_144
    past_share: float = 0.5

    def __post_init__(self) -> None:
        split(2, self.past_share)  # these refuse what cannot work
        TileMemory(self.memory_bytes, torch.Generator())

    def within(self, budget: int, stream: Stream) -> dict[str, int] | None:
        everything = TileMemory(None, torch.Generator())
        for experience in all_but_last(stream):
            everything.fill(experience.train)
        if budget * len(everything) < everything.nbytes:
            return None  # not even one tile of mean size
        return {"memory_bytes": min(budget, everything.nbytes)}

    def new_state(self, generator: torch.Generator) -> TileMemory:
        return TileMemory(self.memory_bytes, generator)

    def batch(self, state: TileMemory, new: Pixels) -> Pixels:
        if not len(state):
            return new
        present, past = split(len(new), self.past_share)
        return new.select(slice(present)).with_past(state.draw(past))

    def figures(self, state: TileMemory) -> dict[str, float]:
        return state.figures()

    def end(self, state: TileMemory, experience: Experience, model: Model) -> None:
        state.fill(experience.train)
