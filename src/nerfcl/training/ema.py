"""An exponential moving average of a model's parameters, which views are rendered with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from nerfcl.training.settings import OptimiserSettings


class HasParameters(Protocol):
    """Something with parameters that can be copied."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over what is learned."""
        ...

    def snapshot(self) -> Any:
        """Return a frozen copy."""
        ...


M = TypeVar("M", bound=HasParameters)


class Ema:
    """Exponential moving average of a model's parameters (Polyak & Juditsky 1992, "Acceleration of stochastic
    approximation by averaging", in the form that forgets).

    Args:
        parameters: of the model.
        decay: fraction of the average that stays at each step; less at the beginning, where there is little past.
    """

    EVERY = 4  # steps between updates, by the decay to that power: it costs a fourth

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, model: HasParameters) -> None:
        """Follow the model; called after each step."""
        self.count += 1
        if self.count % self.EVERY:
            return
        updates = self.count // self.EVERY
        decay = min(self.decay**self.EVERY, updates / (updates + 9))
        for value, parameter in zip(self.values, model.parameters(), strict=True):
            value.lerp_(parameter.detach(), 1.0 - decay)

    @torch.no_grad()
    def applied_to(self, model: M) -> M:
        """Return a frozen copy of the model whose parameters are the average."""
        copy = model.snapshot()
        for value, parameter in zip(self.values, copy.parameters(), strict=True):
            parameter.copy_(value)
        return copy

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to go on exactly."""
        return {"count": self.count, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.count = state["count"]
        for ours, theirs in zip(self.values, state["values"], strict=True):
            ours.copy_(theirs)


def make_ema(parameters: Iterable[nn.Parameter], settings: OptimiserSettings) -> Ema | None:
    """Make a new average of some parameters, if the settings ask for one."""
    return Ema(parameters, settings.ema_decay) if settings.ema_decay else None
