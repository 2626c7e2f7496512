"""Generative replay without stored poses: a snapshot renders the past from sampled cameras."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.strategies.generative import Generative, GenerativeState


@dataclass(frozen=True)
class GenerativeFree(Generative):
    """Generative replay from cameras that are sampled from a compact distribution; see `PoseMixture`.

    Rays whose opacity is about one half are left out: there the snapshot is uncertain.

    Example:
        >>> GenerativeFree(replay_fraction=0.75).replay_fraction
        0.75
    """

    def new_state(self, generator: torch.Generator) -> GenerativeState:
        return GenerativeState(self.new_snapshot(), generator, PoseMixture(), sure_only=True)
