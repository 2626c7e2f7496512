"""Optimisers that receive their learning rate at every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from nerfcl.models import kernels
from nerfcl.models.kernels.plain import join_moments, new_moments, split_moments
from nerfcl.training.settings import OptimiserSettings


class Optimiser(Protocol):
    """Interface of optimisers."""

    def step(self, rate: float) -> None:
        """Update each parameter that has a gradient, with this learning rate; reset gradients to None."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


def make_optimiser(parameters: Iterable[nn.Parameter], settings: OptimiserSettings) -> Optimiser:
    """Create an optimiser of the parameters."""
    if settings.optimiser == "adam":
        return Adam(parameters, settings.betas, settings.epsilon, settings.weight_decay)
    if settings.optimiser == "sgd":
        return _FromTorch(
            torch.optim.SGD(parameters, lr=1.0, momentum=settings.momentum, weight_decay=settings.weight_decay)
        )
    return _FromTorch(torch.optim.RAdam(parameters, lr=1.0, eps=1e-8, weight_decay=settings.weight_decay))


class _FromTorch:
    """Adapter of a torch optimiser."""

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
    """Adam (Kingma & Ba 2015) that skips entries with zero gradient; see `kernels.adam`.

    Args:
        parameters: parameters to optimise; their gradients are reset to None after each step.
        betas: decay rates of the running means of the gradient and of its square.
        epsilon: added to the square root of the second mean.
        weight_decay: factor on the parameter, which is added to its gradient; no entry is skipped then.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        betas: tuple[float, float] = (0.7, 0.99),
        epsilon: float = 1e-15,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.betas, self.epsilon, self.weight_decay = betas, epsilon, weight_decay
        self.count = 0
        self.moments = [new_moments(parameter) for parameter in self.parameters]

    def step(self, rate: float) -> None:
        """Update every parameter that has a gradient, with this learning rate."""
        self.count += 1
        for parameter, moments in zip(self.parameters, self.moments, strict=True):
            if parameter.grad is not None:
                if self.weight_decay:
                    parameter.grad.add_(parameter.detach(), alpha=self.weight_decay)
                kernels.adam(parameter, parameter.grad, moments, self.count, rate, self.betas, self.epsilon)
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the running means, each in its parameter's shape, and the step count."""
        pairs = [split_moments(part, parameter.shape) for part, parameter in self._pairs()]
        return {"count": self.count, "means": [mean for mean, _ in pairs], "squares": [square for _, square in pairs]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: it belongs to other parameters.
        """
        self.count = state["count"]
        for (moments, parameter), *saved in zip(self._pairs(), state["means"], state["squares"], strict=True):
            if any(part.shape != parameter.shape for part in saved):
                raise ValueError("the moments' shapes are not those of the parameters")
            moments.copy_(join_moments(*saved))

    def _pairs(self) -> list[tuple[torch.Tensor, nn.Parameter]]:
        return list(zip(self.moments, self.parameters, strict=True))
