"""How long and how fast to learn, and how often to evaluate meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nerfcl.errors import Argument, require
from nerfcl.scenes.cameras import pixel_offsets
from nerfcl.streams.stream import Experience

OPTIMISERS = ("adam", "sgd", "radam")
SCHEDULES = ("warm-cosine", "constant", "step", "cosine", "poly")
_MOST_RAYS = 2**24


@dataclass(frozen=True, kw_only=True)
class OptimiserSettings:
    """Which optimiser, and how its learning rate goes.

    An epoch is one pass over the rays of the experience that is learned. `warm-cosine` rises over `warm_up` steps and
    falls along half a cosine within each experience; `constant` rises once and stays; `step`, `cosine` and `poly` go by
    whole epochs since the start of the first experience, as the reference project's.

    Attributes:
        optimiser: "adam" (Kingma & Ba 2015), "sgd" or "radam" (Liu et al. 2020).
        learning_rate: the highest that `schedule` gives, before `warmup_multiplier`.
        betas: of adam.
        epsilon: of adam.
        momentum: of sgd.
        weight_decay: added to the gradient, times the parameter.
        schedule: "warm-cosine", "constant", "step", "cosine" or "poly".
        warm_up: steps over which warm-cosine and constant rise.
        final_rate: fraction of the rate that warm-cosine leaves at the end of an experience.
        decay_epochs: epochs at which `step` multiplies by `decay_gamma`.
        decay_gamma: factor of `step`.
        poly_exponent: `poly` is (1 - epoch / epochs) to this power.
        schedule_epochs: when `cosine` and `poly` end; None is the end of the stream.
        warmup_epochs: epochs over which the rate of `step`, `cosine` or `poly` rises first, with sgd and adam: from 0
            to its full value, or from there to `warmup_multiplier` times that (Goyal et al. 2017).
        warmup_multiplier: at least 1; the schedule goes on from there.
        ema_decay: decay, at each step, of an exponential moving average of the parameters, which views are then
            rendered with; 0 renders with the parameters themselves. An average does for a rate that never falls what
            falling does.

    Example:
        >>> OptimiserSettings(schedule="step", learning_rate=5e-4, decay_epochs=(2, 4, 8), decay_gamma=0.5).optimiser
        'adam'
    """

    optimiser: str = "adam"
    learning_rate: float = 2e-2
    betas: tuple[float, float] = (0.9, 0.99)
    epsilon: float = 1e-15
    momentum: float = 0.9
    weight_decay: float = 0.0
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
        for name in ("momentum", "weight_decay", "decay_gamma", "poly_exponent", "warmup_epochs"):
            require(0.0 <= getattr(self, name) < math.inf, self, name, "must not be negative")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How often a learner is evaluated while it learns.

    Attributes:
        evaluate_every: steps between evaluations on validation views.
        evaluate_epochs: epochs between these, instead of `evaluate_every`, where it is not None.
        evaluate_views: validation views of each group that these render.
        frame_every: steps between renderings of the watched view; 0 is never, None a sixty-fourth of the stream.
        test_every: experiences between evaluations on all test views, which always follow the last one; None is a fifth
            of the stream.
        seen_every: experiences between evaluations on all train views seen so far; 0 is never, None a twenty-fifth of
            the stream.
        ssim: whether to compute SSIM on test views, too.

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
    """How long and how fast to learn, and how often to evaluate.

    Attributes:
        steps: steps for each experience.
        epochs: passes over each experience's rays instead of `steps`, where it is not None.
        epoch_steps: steps that count as an epoch for schedules; None is one pass over the experience's rays.
        rays: new rays in a step: pixels times rays per pixel.
        rays_per_pixel: rays averaged over each pixel's area, a square number that divides `rays`.
        optimiser: which optimiser, and how its learning rate goes.
        keep_optimiser: whether it goes on when an announced experience begins; when it is not announced, it does.
        evaluation: how often a learner is evaluated while it learns; None is never.

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
        pixel_offsets(self.rays_per_pixel)  # refuses what is not a square number
        multiple = self.rays >= 1 and self.rays % self.rays_per_pixel == 0
        of = Argument("rays_per_pixel", self.rays_per_pixel, type(self))
        require(multiple, self, "rays", "must be a positive multiple of ", of)
        require(self.rays <= _MOST_RAYS, self, "rays", f"more than {_MOST_RAYS:,} do not fit into memory")

    @property
    def pixels(self) -> int:
        """New pixels in a step."""
        return self.rays // self.rays_per_pixel

    def steps_per_epoch(self, experience: Experience) -> int:
        """Count the steps in which every pixel of an experience comes once, or what `epoch_steps` says instead.

        The last step of an epoch goes on into the next one.
        """
        return self.epoch_steps or -(-experience.train.pixels // self.pixels)

    @property
    def length(self) -> tuple[int, str]:
        """How long each experience is learned, as a number and what it counts."""
        return (self.steps, "steps") if self.epochs is None else (self.epochs, "epochs")
