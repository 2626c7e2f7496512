"""The learner: a model in training and everything that goes with it."""

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
    """A model in training, with the complete state of its run.

    Attributes:
        strategy: how the past is used.
        new_model: builds an untrained model.
        seed: seed of all randomness; the same seed gives the same result on the same machine.
        model: model being trained.
        state: state of the strategy.
        history: record of the run so far.
        done: number of experiences learned.
        at: steps into the current experience.
        epochs: completed passes over the rays of past experiences.
        generator: source of randomness of the current experience.
        sampler: draws pixels of the current experience; None before the first step.
        optimiser: optimiser of the model; None before the first step.
        ema: moving average of the model's parameters; None if disabled.

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
        """The model to render with: a copy with averaged parameters if an EMA is kept, else the model itself."""
        return self.model if self.ema is None else self.ema.applied_to(self.model)


def new_learner(strategy: Strategy, new_model: Callable[[], Model], seed: int) -> Learner:
    """Create an untrained learner.

    Args:
        strategy: how the past is used.
        new_model: builds an untrained model; see `nerfcl.model_for`.
        seed: seed of all randomness except the initial parameters, which `new_model` determines.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> learner = nerfcl.new_learner(nerfcl.Replay(), nerfcl.model_for(scene, seed=0), seed=0)
        >>> learner.done, learner.history.steps
        (0, 0)
    """
    return Learner(strategy, new_model, seed, new_model(), strategy.new_state(seeded(seed, "strategy")))
