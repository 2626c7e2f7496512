"""Optimisers and their schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nerfcl.errors import NerfclError
from nerfcl.models import kernels

OPTIMISERS = ("adam", "sgd", "radam")
SCHEDULES = ("warm-cosine", "constant", "step", "cosine", "poly")


@dataclass(frozen=True)
class OptimisationSettings:
    """Which optimiser, and how its learning rate goes.

    An epoch is one pass over the rays of the experience that is learned. `warm-cosine` rises over `warm_up` steps and
    falls along half a cosine within each experience; `constant` rises once and stays; `step`, `cosine` and `poly` go by
    whole epochs since the start of the first experience, as the reference project's.

    Attributes:
        optimiser: "adam" (Kingma & Ba 2015), "sgd" or "radam" (Liu et al. 2020).
        learning_rate: the highest that `schedule` gives, before `warmup_multiplier`.
        betas, epsilon: of adam.
        momentum: of sgd.
        weight_decay: added to the gradient, times the parameter.
        schedule: "warm-cosine", "constant", "step", "cosine" or "poly".
        warm_up: steps over which warm-cosine and constant rise.
        final_rate: its share that warm-cosine leaves at the end of an experience.
        decay_epochs: epochs at which `step` multiplies by `decay_gamma`.
        decay_gamma: see there.
        poly_exponent: `poly` is (1 - epoch / epochs) to this power.
        schedule_epochs: when `cosine` and `poly` end; None is the end of the stream.
        warmup_epochs: epochs over which the rate of `step`, `cosine` or `poly` rises first, with sgd and adam: from 0
            to its full value, or from there to `warmup_multiplier` times that (Goyal et al. 2017).
        warmup_multiplier: at least 1; the schedule goes on from there.
        average: share of the past, at each step, in a running mean of the parameters that views are rendered with; 0
            renders with the parameters themselves. A mean does for a rate that never falls what falling does.
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
    average: float = 0.0

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise NerfclError(f"--optimiser {self.optimiser}: must be {', '.join(OPTIMISERS)}")
        if self.schedule not in SCHEDULES:
            raise NerfclError(f"--schedule {self.schedule}: must be {', '.join(SCHEDULES)}")
        if not 0.0 < self.learning_rate < math.inf:
            raise NerfclError(f"--learning-rate {self.learning_rate}: must be a number greater than 0")
        if not 1.0 <= self.warmup_multiplier < math.inf:
            raise NerfclError(f"--warmup-multiplier {self.warmup_multiplier}: must be at least 1")
        if not 0.0 <= self.average < 1.0:
            raise NerfclError(f"--average {self.average}: must be at least 0 and less than 1")
        for option in ("momentum", "weight_decay", "decay_gamma", "poly_exponent", "warmup_epochs"):
            if not 0.0 <= getattr(self, option) < math.inf:
                raise NerfclError(f"--{option.replace('_', '-')} {getattr(self, option)}: must not be negative")


@dataclass(frozen=True)
class Moment:
    """When in training a step is.

    Attributes:
        step: within the experience, from 0.
        steps: of the experience.
        epoch: passes since the start of the first experience, as a fraction.
        epochs: passes of the whole stream.
        total: steps since the start of the first experience.
    """

    step: int
    steps: int
    epoch: float
    epochs: int
    total: int = 0


def rate_at(moment: Moment, settings: OptimisationSettings) -> float:
    """The learning rate of one step."""
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
    share = min(whole / last, 1.0)
    if settings.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * share))
    return peak * (1.0 - share) ** settings.poly_exponent


def warm_cosine(step: int, steps: int, peak: float, warm_up: int, final: float) -> float:
    """Learning rate of a step (from 0): it rises over `warm_up` steps and falls from `peak` to `final * peak`.

    The rise is linear, the fall half a cosine over all `steps`.
    """
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    fall = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return peak * rise * fall


class Optimiser(Protocol):
    """What changes parameters."""

    def step(self, rate: float) -> None:
        """One step with this learning rate for every parameter that has a gradient; gradients are None afterwards."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        ...


def make_optimiser(parameters: Iterable[nn.Parameter], settings: OptimisationSettings) -> Optimiser:
    """A new optimiser of these parameters."""
    if settings.optimiser == "adam":
        return Adam(parameters, settings.betas, settings.epsilon, settings.weight_decay)
    if settings.optimiser == "sgd":
        return _FromTorch(
            torch.optim.SGD(parameters, lr=1.0, momentum=settings.momentum, weight_decay=settings.weight_decay)
        )
    return _FromTorch(torch.optim.RAdam(parameters, lr=1.0, eps=1e-8, weight_decay=settings.weight_decay))


class _FromTorch:
    """One of torch's own optimisers, told its learning rate at every step."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self._optimiser = optimiser

    def step(self, rate: float) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return self._optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._optimiser.load_state_dict(state)


class Adam:
    """Adam (Kingma & Ba 2015) that leaves entries without gradient alone; see `kernels.adam`.

    Args:
        parameters: what to optimise; gradients are set to None after each step.
        betas: decay of the running means.
        epsilon: added to the root of the second.
        weight_decay: added to the gradient, times the parameter; then every entry has a gradient.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-15,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.betas, self.epsilon, self.weight_decay = betas, epsilon, weight_decay
        self.count = 0
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]

    def step(self, rate: float) -> None:
        """One step with this learning rate for every parameter that has a gradient."""
        self.count += 1
        for parameter, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            if parameter.grad is not None:
                if self.weight_decay:
                    parameter.grad.add_(parameter.detach(), alpha=self.weight_decay)
                kernels.adam(parameter, parameter.grad, mean, square, self.count, rate, self.betas, self.epsilon)
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Moments and step count."""
        return {"count": self.count, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.count = state["count"]
        for mine, saved in ((self.means, state["means"]), (self.squares, state["squares"])):
            for ours, theirs in zip(mine, saved, strict=True):
                _copy(ours, theirs)


class HasParameters(Protocol):
    """Something with parameters."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is learned."""
        ...

    def snapshot(self) -> Any:
        """A frozen copy."""
        ...


class ParameterMean:
    """Exponential running mean of a model's parameters (Polyak & Juditsky 1992, "Acceleration of stochastic
    approximation by averaging", in the form that forgets).

    Args:
        parameters: of the model.
        share: of the mean that stays at each step; less at the beginning, where there is little past.
    """

    every = 4  # steps between updates, of the share to that power: it costs a fourth

    def __init__(self, parameters: Iterable[nn.Parameter], share: float) -> None:
        self.share = share
        self.count = 0
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def follow(self, model: HasParameters) -> None:
        """After each step."""
        self.count += 1
        if self.count % self.every:
            return
        updates = self.count // self.every
        share = min(self.share**self.every, updates / (updates + 9))
        for value, parameter in zip(self.values, model.parameters(), strict=True):
            value.lerp_(parameter.detach(), 1.0 - share)

    @torch.no_grad()
    def applied_to(self, model: HasParameters) -> Any:
        """A frozen copy of the model that has the mean for parameters."""
        copy = model.snapshot()
        for value, parameter in zip(self.values, copy.parameters(), strict=True):
            parameter.copy_(value)
        return copy

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {"count": self.count, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.count = state["count"]
        for ours, theirs in zip(self.values, state["values"], strict=True):
            _copy(ours, theirs)


def mean_of(parameters: Iterable[nn.Parameter], settings: OptimisationSettings) -> ParameterMean | None:
    """A new running mean of these parameters, if the settings ask for one."""
    return ParameterMean(parameters, settings.average) if settings.average else None


def _copy(target: Tensor, source: Tensor) -> None:
    target.copy_(source)
