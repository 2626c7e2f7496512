"""Optimisers that are told their learning rate at every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from nerfcl.models import kernels
from nerfcl.training.settings import OptimiserSettings


class Optimiser(Protocol):
    """What changes parameters."""

    def step(self, rate: float) -> None:
        """Take a step at this learning rate for each parameter with a gradient; gradients are None afterwards."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to go on exactly."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


def make_optimiser(parameters: Iterable[nn.Parameter], settings: OptimiserSettings) -> Optimiser:
    """Make a new optimiser of some parameters."""
    if settings.optimiser == "adam":
        return Adam(parameters, settings.betas, settings.epsilon, settings.weight_decay)
    if settings.optimiser == "sgd":
        return _FromTorch(
            torch.optim.SGD(parameters, lr=1.0, momentum=settings.momentum, weight_decay=settings.weight_decay)
        )
    return _FromTorch(torch.optim.RAdam(parameters, lr=1.0, eps=1e-8, weight_decay=settings.weight_decay))


class _FromTorch:
    """One of torch's own optimisers."""

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
        """Take a step with this learning rate for every parameter that has a gradient."""
        self.count += 1
        for parameter, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            if parameter.grad is not None:
                if self.weight_decay:
                    parameter.grad.add_(parameter.detach(), alpha=self.weight_decay)
                kernels.adam(parameter, parameter.grad, mean, square, self.count, rate, self.betas, self.epsilon)
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return moments and step count."""
        return {"count": self.count, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.count = state["count"]
        for mine, saved in ((self.means, state["means"]), (self.squares, state["squares"])):
            for ours, theirs in zip(mine, saved, strict=True):
                ours.copy_(theirs)
