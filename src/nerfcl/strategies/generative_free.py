"""Generative replay without cameras: a snapshot renders the past from invented ones; no pose is kept either."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.strategies.generative import Generative, GenerativeState


@dataclass(frozen=True)
class GenerativeFree(Generative):
    """Generative replay from cameras that are drawn from a small distribution; see `PoseMixture`.

    Rays along which the snapshot stops about half of the light are left out: there it is unsure.

    Example:
        >>> GenerativeFree(replay_fraction=0.75).replay_fraction
        0.75
    """

    def new_state(self, generator: torch.Generator) -> GenerativeState:
        return GenerativeState(self.new_snapshot(), generator, PoseMixture(), sure_only=True)
