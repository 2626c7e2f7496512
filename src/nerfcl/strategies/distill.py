"""Distillation on rays of the old region: the reference project's regularization, but where the old model knows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.strategies.generative import Generative, GenerativeState


@dataclass(frozen=True)
class Distill(Generative):
    """Learns what a snapshot renders from about where the past's cameras were (Li & Hoiem 2016, "Learning without
    Forgetting", whose old outputs are on new data alone).

    Of those cameras one Gaussian is kept. `generative-free` keeps more, and leaves out rays where it is unsure.

    Example:
        >>> from nerfcl.memory.snapshots import SnapshotSettings
        >>> Distill(snapshot=SnapshotSettings(bits=4)).replay_fraction
        0.5
    """

    def new_state(self, generator: torch.Generator) -> GenerativeState:
        return GenerativeState(self.new_snapshot(), generator, PoseMixture(components=1), sure_only=False)
