"""Memory aware synapses: parameters are held by how much the length of what is rendered depends on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfcl.strategies.importance import Anchored


@dataclass(frozen=True)
class Mas(Anchored):
    """MAS (Aljundi et al. 2018): importance is the mean over rays of the absolute derivative of the squared length of
    the rendered colour.

    The absolute value is taken of the gradient of small batches (`importance_batch` rays), as is usual: within one,
    derivatives of opposite signs cancel, so that larger batches find less.

    Attributes:
        strength: more forgets less and learns less; with this the new task of lego costs about half a decibel.
    """

    strength: float = 0.03

    def importance_of(self, rgb: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        del generator
        return rgb.square().sum(), torch.abs
