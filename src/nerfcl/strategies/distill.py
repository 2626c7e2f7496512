"""Distillation on rays near past cameras: the reference project's regularization where the old model is reliable."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.strategies.generative import Generative, GenerativeState


@dataclass(frozen=True)
class Distill(Generative):
    """Distils what a snapshot renders from near past cameras (cf. Li & Hoiem 2016, "Learning without Forgetting", which
    distils on new data only).

    The cameras are kept as one Gaussian. `generative-free` keeps several, and leaves out uncertain rays.

    Example:
        >>> from nerfcl.memory.snapshots import SnapshotSettings
        >>> Distill(snapshot=SnapshotSettings(bits=4)).replay_fraction
        0.5
    """

    def new_state(self, generator: torch.Generator) -> GenerativeState:
        return GenerativeState(self.new_snapshot(), generator, PoseMixture(components=1), sure_only=False)
