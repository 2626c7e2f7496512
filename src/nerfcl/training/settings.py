"""Settings of training: its length, the optimiser, and evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nerfcl.errors import Argument, require
from nerfcl.scenes.cameras import pixel_offsets
from nerfcl.streams.stream import Experience

OPTIMISERS = ("adam", "sgd", "radam")
SCHEDULES = ("warm-cosine", "constant", "step", "cosine", "poly")
_MOST_RAYS = 2**20


@dataclass(frozen=True, kw_only=True)
class OptimiserSettings:
    """Optimiser and learning rate schedule.

    An epoch is one pass over the rays of the current experience. `warm-cosine` rises over `warm_up` steps and decays
    along half a cosine within each experience; `constant` rises once and stays; `step`, `cosine` and `poly` depend on
    the completed epochs since the start of the first experience, as in the reference project.

    Attributes:
        optimiser: "adam" (Kingma & Ba 2015), "sgd" or "radam" (Liu et al. 2020).
        learning_rate: peak of the schedule, before `warmup_multiplier`.
        betas: decay rates of adam's running means.
        epsilon: epsilon of adam.
        momentum: momentum of sgd.
        weight_decay: factor on the parameter, which is added to its gradient.
        opacity_weight: weight of the mean opacity of the rendered pixels, which is added to the loss. It clears fog of
            the background's colour, which the views of an experience cannot see, but which hides what others show.
        schedule: "warm-cosine", "constant", "step", "cosine" or "poly".
        warm_up: warm-up steps of `warm-cosine` and `constant`.
        final_rate: final fraction of the peak in each experience with `warm-cosine`.
        decay_epochs: epochs at which `step` multiplies the rate by `decay_gamma`.
        decay_gamma: decay factor of `step`.
        poly_exponent: exponent of `poly`, whose rate is (1 - epoch / epochs) to this power.
        schedule_epochs: epoch at which `cosine` and `poly` end; None is the end of the stream.
        warmup_epochs: warm-up epochs of `step`, `cosine` and `poly`, with sgd and adam only: the rate rises from 0 to
            `learning_rate` or, with a `warmup_multiplier` above 1, from there to that multiple (Goyal et al. 2017).
        warmup_multiplier: factor on the rate after the warm-up, at least 1.
        ema_decay: decay per step of an exponential moving average of the parameters, used for rendering; 0 disables it.
            It has the effect of a decaying learning rate where the rate is constant.

    Example:
        >>> OptimiserSettings(schedule="step", learning_rate=5e-4, decay_epochs=(2, 4, 8), decay_gamma=0.5).optimiser
        'adam'
    """

    optimiser: str = "adam"
    learning_rate: float = 2e-2
    betas: tuple[float, float] = (0.7, 0.99)
    epsilon: float = 1e-15
    momentum: float = 0.9
    weight_decay: float = 0.0
    opacity_weight: float = 1e-3
    schedule: str = "warm-cosine"
    warm_up: int = 50
    final_rate: float = 0.05
    decay_epochs: tuple[int, ...] = (20,)
    decay_gamma: float = 0.1
    poly_exponent: float = 0.9
    schedule_epochs: int | None = None
    warmup_epochs: int = 0
    warmup_multiplier: float = 1.0
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        require(self.optimiser in OPTIMISERS, self, "optimiser", f"must be one of {', '.join(OPTIMISERS)}")
        require(self.schedule in SCHEDULES, self, "schedule", f"must be one of {', '.join(SCHEDULES)}")
        require(0.0 < self.learning_rate < math.inf, self, "learning_rate", "must be a positive number")
        require(1.0 <= self.warmup_multiplier < math.inf, self, "warmup_multiplier", "must be at least 1")
        require(0.0 <= self.ema_decay < 1.0, self, "ema_decay", "must be at least 0 and below 1")
        for name in ("momentum", "weight_decay", "opacity_weight", "decay_gamma", "poly_exponent", "warmup_epochs"):
            require(0.0 <= getattr(self, name) < math.inf, self, name, "must not be negative")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How often a learner is evaluated during training.

    Attributes:
        evaluate_every: steps between evaluations on validation views.
        evaluate_epochs: epochs between them; takes precedence over `evaluate_every` unless None.
        evaluate_views: validation views per group in these evaluations.
        frame_every: steps between renderings of the pictured view; 0 disables them, None is 1/64 of the stream.
        test_every: experiences between evaluations on all test views, which always follow the last one; None is 1/5 of
            the stream.
        seen_every: experiences between evaluations on all train views seen so far; 0 disables them, None is 1/25 of the
            stream.
        ssim: whether to compute SSIM on test views as well.

    Example:
        >>> EvaluationSettings(evaluate_every=500, frame_every=0).ssim
        True
    """

    evaluate_every: int = 125
    evaluate_epochs: int | None = None
    evaluate_views: int = 4
    frame_every: int | None = 25
    test_every: int | None = 1
    seen_every: int | None = 0
    ssim: bool = True

    def __post_init__(self) -> None:
        for name in ("evaluate_every", "evaluate_epochs", "evaluate_views", "test_every"):
            require(getattr(self, name) is None or getattr(self, name) >= 1, self, name, "must be at least 1")
        for name in ("frame_every", "seen_every"):
            require(getattr(self, name) is None or getattr(self, name) >= 0, self, name, "must not be negative")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Length of training, optimiser and evaluation.

    Attributes:
        steps: training steps per experience.
        epochs: passes over each experience's rays; takes precedence over `steps` unless None.
        epoch_steps: steps that count as one epoch; None is one pass over the experience's rays.
        rays: new rays per step: pixels times rays per pixel.
        rays_per_pixel: rays averaged over each pixel's area, a square number that divides `rays`.
        optimiser: optimiser and learning rate schedule.
        keep_optimiser: whether the optimiser's state is kept when an announced experience begins; it always is when an
            unannounced one does.
        evaluation: how often the learner is evaluated during training; None is never.

    Example:
        >>> TrainingSettings(steps=300, optimiser=OptimiserSettings(learning_rate=1e-2)).optimiser.schedule
        'warm-cosine'
    """

    steps: int = 1500
    epochs: int | None = None
    epoch_steps: int | None = None
    rays: int = 1024
    rays_per_pixel: int = 1
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    keep_optimiser: bool = False
    evaluation: EvaluationSettings | None = field(default_factory=EvaluationSettings)

    def __post_init__(self) -> None:
        require(self.steps >= 1, self, "steps", "must be at least 1")
        for name in ("epochs", "epoch_steps"):
            require(getattr(self, name) is None or getattr(self, name) >= 1, self, name, "must be at least 1")
        pixel_offsets(self.rays_per_pixel)  # rejects non-square numbers
        multiple = self.rays >= 1 and self.rays % self.rays_per_pixel == 0
        of = Argument("rays_per_pixel", self.rays_per_pixel, type(self))
        require(multiple, self, "rays", "must be a positive multiple of ", of)
        require(self.rays <= _MOST_RAYS, self, "rays", f"more than {_MOST_RAYS:,} do not fit into memory")

    @property
    def pixels(self) -> int:
        """New pixels per step."""
        return self.rays // self.rays_per_pixel

    def steps_per_epoch(self, experience: Experience) -> int:
        """Return the steps in which every pixel of an experience is used once, or `epoch_steps` if set.

        The last step of an epoch may extend into the next one.
        """
        return self.epoch_steps or -(-experience.train.pixels // self.pixels)

    @property
    def length(self) -> tuple[int, str]:
        """Length of each experience, as a number and its unit."""
        return (self.steps, "steps") if self.epochs is None else (self.epochs, "epochs")
