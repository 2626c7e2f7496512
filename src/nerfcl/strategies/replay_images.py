"""Replay of losslessly compressed images: many times the rays in the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from nerfcl.memory.images import ImageMemory, ImageMemorySettings
from nerfcl.models.rendering.model import Model
from nerfcl.strategies.strategy import Strategy, check_replay_fraction, split_batch
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience


@dataclass(frozen=True)
class ReplayImages(Strategy):
    """Replays pixels of past images, which are kept as losslessly compressed tiles; see `ImageMemory`.

    Attributes:
        memory: capacity of the memory.
        replay_fraction: fraction of a step's rays that are old ones, at least 0.5 and below 1.

    Example:
        >>> from nerfcl.memory.images import ImageMemorySettings
        >>> ReplayImages(ImageMemorySettings(bytes=64 * 1024)).replay_fraction
        0.5
    """

    memory: ImageMemorySettings = field(default_factory=ImageMemorySettings)
    replay_fraction: float = 0.5

    def __post_init__(self) -> None:
        check_replay_fraction(self)

    def new_state(self, generator: torch.Generator) -> ImageMemory:
        return ImageMemory(self.memory, generator)

    def batch(self, state: ImageMemory, new: Pixels) -> Pixels:
        if not len(state):
            return new
        present, past = split_batch(len(new), self.replay_fraction)
        return new.select(slice(present)).with_past(state.draw(past))

    def end(self, state: ImageMemory, experience: Experience, model: Model) -> None:
        state.fill(experience.train)

    def metrics(self, state: ImageMemory) -> dict[str, float]:
        return state.metrics()
