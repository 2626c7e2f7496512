"""The optimiser and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from nerfcl import kernels


class Adam:
    """Adam (Kingma & Ba 2015) that leaves entries without gradient alone; see `kernels.adam`.

    Args:
        parameters: what to optimise; gradients are set to None after each step.
        betas: decay of the running means.
        epsilon: added to the root of the second.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], betas: tuple[float, float] = (0.9, 0.99), epsilon: float = 1e-15
    ) -> None:
        self.parameters = list(parameters)
        self.betas, self.epsilon = betas, epsilon
        self.count = 0
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]

    def step(self, rate: float) -> None:
        """One step with this learning rate for every parameter that has a gradient."""
        self.count += 1
        for parameter, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            if parameter.grad is not None:
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


def _copy(target: Tensor, source: Tensor) -> None:
    target.copy_(source)


def warm_cosine(step: int, steps: int, peak: float, warm_up: int, final: float) -> float:
    """Learning rate of a step (from 0): it rises over `warm_up` steps and falls from `peak` to `final * peak`.

    The rise is linear, the fall half a cosine over all `steps`.
    """
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    fall = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return peak * rise * fall
