"""What learns, how long and how fast, and who watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from nerfcl.models.rendering.model import Model
from nerfcl.randomness import seeded
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.sampling import Passes
from nerfcl.training.optimisation import OptimisationSettings, Optimiser, ParameterMean


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to learn, and how often to look.

    Attributes:
        steps: steps per experience.
        epochs: passes over each experience's rays instead of `steps`, where it is not None.
        epoch_steps: steps that count as an epoch for schedules; None is one pass over the experience's rays.
        rays: new rays a step: pixels times rays per pixel.
        rays_per_pixel: rays averaged over each pixel's area, a square number that divides `rays`.
        optimisation: which optimiser, and how its learning rate goes.
        keep_optimiser: whether it goes on when an announced experience begins; when it is not announced, it does.
        evaluate_every: steps between evaluations within an experience.
        evaluate_views: validation views per experience that those look at.
        frame_every: steps between renderings of the watched view.
        score_every: experiences between evaluations on all test views; the last one is always followed by one.
        seen_every: experiences between evaluations on all frames seen so far; None is never.
    """

    steps: int = 1500
    epochs: int | None = None
    epoch_steps: int | None = None
    rays: int = 1024
    rays_per_pixel: int = 1
    optimisation: OptimisationSettings = field(default_factory=OptimisationSettings)
    keep_optimiser: bool = False
    evaluate_every: int = 125
    evaluate_views: int = 4
    frame_every: int = 25
    score_every: int = 1
    seen_every: int | None = None


@dataclass
class History:
    """What is known of a run so far; saved with every checkpoint.

    Attributes:
        R: a row for each scoring: mean test PSNR (dB) on every experience, NaN where one has no test view.
        scored: how many experiences were over at each row of R.
        psnr, ssim: [i][j] per-view values behind R[i][j].
        curve: looks while training: (experiences so far as a fraction, mean validation PSNR of every experience).
        looks: [k][j]: per-view values behind the mean of experience j in curve[k].
        seen: (experiences so far, PSNR of every train frame seen by then, in their order).
        frames: (experiences so far as a fraction, (H, W, 3) uint8): the watched view while training.
        pictures: [i] maps positions of the watched experience's test views to renderings at row i of R.
        steps: training steps so far.
        training, evaluation, compilation: seconds spent so far.
        memory_bytes: bytes that the strategy keeps of the past.
    """

    R: list[list[float]] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    psnr: list[list[list[float]]] = field(default_factory=list)
    ssim: list[list[list[float]]] = field(default_factory=list)
    curve: list[tuple[float, list[float]]] = field(default_factory=list)
    looks: list[list[list[float]]] = field(default_factory=list)
    seen: list[tuple[int, list[float]]] = field(default_factory=list)
    frames: list[tuple[float, np.ndarray]] = field(default_factory=list)
    pictures: list[dict[int, np.ndarray]] = field(default_factory=list)
    steps: int = 0
    training: float = 0.0
    evaluation: float = 0.0
    compilation: float = 0.0
    memory_bytes: int = 0


@dataclass
class Learner:
    """Everything that changes while learning.

    Attributes:
        strategy: how the past is used.
        new_model: makes an untrained model.
        seed: of everything random; the same seed gives the same result on the same machine.
        model: what is learned.
        state: the strategy's state.
        history: what is known of the run so far.
        done: experiences that are over.
        at: steps into the present experience.
        epochs: whole passes over their rays that past experiences took.
        generator: of the present experience's randomness.
        order: in which the present experience's pixels come.
        optimiser: of the model; None before the first step.
        mean: running mean of the model's parameters, where one is kept.
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
    order: Passes | None = None
    optimiser: Optimiser | None = None
    mean: ParameterMean | None = None

    @property
    def shown(self) -> Model:
        """The model that views are rendered with: with the running mean of its parameters, where one is kept."""
        return self.model if self.mean is None else self.mean.applied_to(self.model)


def new_learner(strategy: Strategy, new_model: Callable[[], Model], seed: int) -> Learner:
    """A learner that has not learned anything yet."""
    return Learner(strategy, new_model, seed, new_model(), strategy.new_state(seeded(seed, "strategy")))


@dataclass(frozen=True)
class StepReport:
    """One training step, as observers see it.

    Attributes:
        step: steps so far over the whole stream, this one included.
        last_step: the number of the stream's last step.
        task: name of the experience.
        epoch: whole passes over the experiences' rays since the beginning.
        losses: the parts of the loss by name, and "psnr" of the new rays; read at every tenth step and at the last,
            since reading waits for the device; None at others.
        learning_rate: of this step.
        rays: rays of the batch, old ones included.
        samples: points at which the field was evaluated.
        seconds: training seconds so far.
        figures: of the strategy's state, by name; read with the losses.
    """

    step: int
    last_step: int
    task: str
    epoch: int
    losses: dict[str, float] | None
    learning_rate: float
    rays: int
    samples: int
    seconds: float
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """The sum of its parts, where they were read."""
        return None if self.losses is None else sum(part for name, part in self.losses.items() if name != "psnr")


class Observer(Protocol):
    """Someone who watches a run, and changes nothing."""

    def stepped(self, report: StepReport) -> None:
        """After every training step."""
        ...

    def looked(self, history: History) -> None:
        """After the curve or the frames got longer."""
        ...

    def finished(self, learner: Learner) -> None:
        """After an experience was learned and scored."""
        ...
