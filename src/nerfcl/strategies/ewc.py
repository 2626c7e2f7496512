"""Elastic weight consolidation: parameters are held by how much the rendered colours depend on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfcl.strategies.importance import Anchored


@dataclass(frozen=True)
class Ewc(Anchored):
    """Online EWC (Kirkpatrick et al. 2017; Schwarz et al. 2018, "Progress & Compress").

    Importance is the diagonal of the Fisher information of colours with unit Gaussian noise: the mean over rays of the
    squared derivatives, summed over channels. A batch's colours are multiplied by random signs and added up before the
    gradient is taken; the square's expectation has no mixed terms, so that a batch counts as its rays would one by one.

    Attributes:
        strength: more forgets less and learns less; with this the new task of lego costs about half a decibel.
    """

    strength: float = 3.0

    def importance_of(self, rgb: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        signs = torch.randint(2, rgb.shape, generator=generator).to(rgb) * 2.0 - 1.0
        return (rgb * signs).sum(), torch.square
