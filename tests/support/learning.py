"""Small learners, and what they have learned."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.rendering.model import Model
from nerfcl.models.settings import model_for
from nerfcl.scenes.scene import Scene
from nerfcl.training.history import History
from nerfcl.training.learner import Learner

SECONDS = ("training", "evaluation", "compilation")


def small_model(scene: Scene, seed: int = 3) -> Callable[[], Model]:
    """What builds untrained models of a scene, with a hash grid of at most 16 cells."""
    return model_for(scene, seed=seed, device="cpu", field=HashGridSettings(max_resolution=16))


def weights_of(learner: Learner) -> list[Tensor]:
    """Copies of a learner's parameters and of their moving average, where there is one."""
    averaged = [] if learner.ema is None else learner.ema.values
    return [value.detach().clone() for value in (*learner.model.parameters(), *averaged)]


def same(one: Any, other: Any) -> bool:
    """Whether two nests of tensors and numbers are equal to the bit; NaN equals itself."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


def plain_history(history: History) -> str:
    """All that is known of a run but the seconds, as text, so that two can be compared: NaN is NaN there."""
    content = {name: value for name, value in dataclasses.asdict(history).items() if name not in SECONDS}
    return json.dumps(content, default=lambda value: value.tolist())
