"""Frames that are pushed into an online learner, and strategies that it learns them with."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nerfcl.memory.rays import RayMemorySettings
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.settings import Observed, OnlineSettings
from nerfcl.scenes.scene import Views
from nerfcl.strategies.agem import AGem
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay, ReplayAll
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.pixels import Pixels
from support.learning import weights_of
from support.waiting import PATIENCE

SETTINGS = OnlineSettings(chunk_frames=2, steps_per_chunk=5, rays=64, ema_decay=0.8)
RESERVOIR = Replay(RayMemorySettings(rays=100, fill="reservoir"))
HIGHEST = Replay(RayMemorySettings(rays=100, fill="highest", draw="weighted"), update_losses=True)
STRATEGIES: list[Strategy] = [RESERVOIR, HIGHEST, ReplayAll(), AGem(RayMemorySettings(rays=80)), FineTune()]


def push(learner: OnlineLearner, views: Views, numbers: Iterable[int] | None = None) -> Observed:
    """Hand over frames, by default all of them, and over and over where numbers are larger."""
    observed = learner.status()
    for number in range(len(views)) if numbers is None else numbers:
        i = number % len(views)
        observed = learner.observe(views.images[i], views.poses[i], views.intrinsics[i])
    return observed


def learned(learner: OnlineLearner) -> list[Tensor]:
    """The parameters, and their moving average."""
    return weights_of(learner._learner)


@dataclass(frozen=True)
class Gated(FineTune):
    """Fine-tuning that takes as many steps as it is given."""

    steps: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def batch(self, state: Any, new: Pixels) -> Pixels:
        assert self.steps.acquire(timeout=PATIENCE)
        return new
