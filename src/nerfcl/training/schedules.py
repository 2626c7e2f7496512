"""Learning rate schedules: pure functions of the position in training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nerfcl.training.settings import OptimiserSettings


@dataclass(frozen=True)
class Moment:
    """Position of a step in training.

    Attributes:
        step: step within the experience, from 0.
        steps: training steps of the experience.
        epoch: epochs since the start of the first experience, including a fraction.
        epochs: epochs of the entire stream.
        total: steps since the start of the first experience.
    """

    step: int
    steps: int
    epoch: float
    epochs: int
    total: int = 0


def learning_rate(moment: Moment, settings: OptimiserSettings) -> float:
    """Compute the learning rate of a step; see `OptimiserSettings`."""
    peak = settings.learning_rate
    if settings.schedule == "constant":
        return peak * min(1.0, (moment.total + 1) / settings.warm_up) if settings.warm_up else peak
    if settings.schedule == "warm-cosine":
        return warm_cosine(moment.step, moment.steps, peak, settings.warm_up, settings.final_rate)
    epoch, warmup = moment.epoch, settings.warmup_epochs if settings.optimiser != "radam" else 0
    if epoch < warmup:
        lowest = 0.0 if settings.warmup_multiplier == 1.0 else 1.0
        return peak * (lowest + (settings.warmup_multiplier - lowest) * epoch / warmup)
    if warmup:
        peak *= settings.warmup_multiplier
    whole = int(epoch) - warmup
    last = settings.schedule_epochs or moment.epochs
    if settings.schedule == "step":
        return peak * settings.decay_gamma ** sum(whole >= decay for decay in settings.decay_epochs)
    progress = min(whole / last, 1.0)
    if settings.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
    return peak * (1.0 - progress) ** settings.poly_exponent


def warm_cosine(step: int, steps: int, peak: float, warm_up: int, final: float) -> float:
    """Compute a linear warm-up times half a cosine from 1 to `final` over all `steps`.

    Args:
        step: step within the experience, from 0.
        steps: training steps of the experience.
        peak: peak learning rate.
        warm_up: steps of the warm-up.
        final: fraction of the peak at the end.
    """
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    fall = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return peak * rise * fall
