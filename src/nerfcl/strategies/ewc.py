"""Elastic weight consolidation: parameters are anchored by how much the rendered colours depend on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfcl.errors import require
from nerfcl.strategies.regularization import ParameterRegularization


@dataclass(frozen=True)
class Ewc(ParameterRegularization):
    """Online EWC (Kirkpatrick et al. 2017; Schwarz et al. 2018, "Progress & Compress").

    Importance is the diagonal of the Fisher information of colours with unit Gaussian noise: the mean over rays of the
    squared derivatives, summed over channels. A batch's colours are summed with random signs before the gradient is
    taken; the expected square has no cross terms, so that batches estimate the same as single rays.

    Attributes:
        ewc_lambda: weight of the penalty. Larger values forget less and learn less; on the lego scene, the default
            costs the new task about 0.5 dB.

    Example:
        >>> Ewc(ewc_lambda=10.0).ewc_lambda
        10.0
    """

    ewc_lambda: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 <= self.ewc_lambda < math.inf, self, "ewc_lambda", "must not be negative")

    @property
    def penalty_weight(self) -> float:
        return self.ewc_lambda

    def importance_of(self, rgb: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        signs = torch.randint(2, rgb.shape, generator=generator).to(rgb) * 2.0 - 1.0
        return (rgb * signs).sum(), torch.square
