"""Exponential moving average (EMA) of a model's parameters, used for rendering."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from nerfcl.training.settings import OptimiserSettings


class HasParameters(Protocol):
    """Something with parameters that can be averaged."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the trainable parameters."""
        ...

    def snapshot(self) -> Any:
        """Return a frozen copy."""
        ...


M = TypeVar("M", bound=HasParameters)


class Ema:
    """Exponential moving average of a model's parameters (Polyak & Juditsky 1992, "Acceleration of stochastic
    approximation by averaging", with exponential weights).

    Args:
        parameters: initial parameters of the model.
        decay: decay per step; smaller during the first updates, so that the initial values fade quickly.
    """

    EVERY = 4  # steps between updates, which use the decay to this power; divides the cost by four

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, model: HasParameters) -> None:
        """Update the average; call after every step."""
        self.count += 1
        if self.count % self.EVERY:
            return
        updates = self.count // self.EVERY
        decay = min(self.decay**self.EVERY, updates / (updates + 9))
        for value, parameter in zip(self.values, model.parameters(), strict=True):
            value.lerp_(parameter.detach(), 1.0 - decay)

    @torch.no_grad()
    def applied_to(self, model: M) -> M:
        """Return a frozen copy of the model with the averaged parameters."""
        copy = model.snapshot()
        for value, parameter in zip(self.values, copy.parameters(), strict=True):
            parameter.copy_(value)
        return copy

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        return {"count": self.count, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: it is of other parameters.
        """
        self.count = state["count"]
        for ours, theirs in zip(self.values, state["values"], strict=True):
            if ours.shape != theirs.shape:
                raise ValueError(f"averaged parameters of shape {tuple(theirs.shape)} instead of {tuple(ours.shape)}")
            ours.copy_(theirs)


def make_ema(parameters: Iterable[nn.Parameter], settings: OptimiserSettings) -> Ema | None:
    """Create an EMA of the parameters; None if the settings disable it."""
    return Ema(parameters, settings.ema_decay) if settings.ema_decay else None
