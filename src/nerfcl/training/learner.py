"""What learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from nerfcl.models.rendering.model import Model
from nerfcl.randomness import seeded
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.sampling import EpochSampler
from nerfcl.training.ema import Ema
from nerfcl.training.history import History
from nerfcl.training.optimisers import Optimiser


@dataclass
class Learner:
    """Everything that changes while learning.

    Attributes:
        strategy: how the past is used.
        new_model: builds an untrained model.
        seed: of everything random; the same seed gives the same result on the same machine.
        model: what is learned.
        state: of the strategy.
        history: what is known of the run so far.
        done: experiences that were learned.
        at: steps into the present experience.
        epochs: whole passes over their rays that past experiences took.
        generator: of the present experience's randomness.
        sampler: draws the present experience's pixels; None before the first step.
        optimiser: of the model; None before the first step.
        ema: average of the model's parameters, where one is kept.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> learner = nerfcl.new_learner(nerfcl.FineTune(), nerfcl.model_for(scene), seed=0)
        >>> learner.done, learner.history.steps
        (0, 0)
    """

    strategy: Strategy
    new_model: Callable[[], Model]
    seed: int
    model: Model
    state: Any
    history: History = field(default_factory=History)
    done: int = 0
    at: int = 0
    epochs: int = 0
    generator: torch.Generator = field(default_factory=torch.Generator)
    sampler: EpochSampler | None = None
    optimiser: Optimiser | None = None
    ema: Ema | None = None

    @property
    def evaluated_model(self) -> Model:
        """The model that views are rendered with, which has the average of its parameters where one is kept."""
        return self.model if self.ema is None else self.ema.applied_to(self.model)


def new_learner(strategy: Strategy, new_model: Callable[[], Model], seed: int) -> Learner:
    """Make a learner that has not learned anything yet.

    Args:
        strategy: how the past is used.
        new_model: builds an untrained model; see `nerfcl.model_for`.
        seed: of everything random but the initial values, which `new_model` decides.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> learner = nerfcl.new_learner(nerfcl.Replay(), nerfcl.model_for(scene, seed=0), seed=0)
        >>> learner.done, learner.history.steps
        (0, 0)
    """
    return Learner(strategy, new_model, seed, new_model(), strategy.new_state(seeded(seed, "strategy")))
