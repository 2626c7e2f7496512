"""Memory aware synapses: parameters are anchored by how much the norm of the rendered colours depends on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfcl.errors import require
from nerfcl.strategies.regularization import ParameterRegularization


@dataclass(frozen=True)
class Mas(ParameterRegularization):
    """MAS (Aljundi et al. 2018): importance is the mean over rays of the absolute derivative of the squared norm of the
    rendered colour.

    As is customary, the absolute value is taken of the gradient of small batches (`importance_batch` rays); derivatives
    of opposite signs cancel within a batch, so larger batches yield smaller values.

    Attributes:
        mas_lambda: weight of the penalty. Larger values forget less and learn less; on the lego scene, the default
            costs the new task about 0.5 dB.

    Example:
        >>> Mas(mas_lambda=10.0).mas_lambda
        10.0
    """

    mas_lambda: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 <= self.mas_lambda < math.inf, self, "mas_lambda", "must not be negative")

    @property
    def penalty_weight(self) -> float:
        return self.mas_lambda

    def importance_of(self, rgb: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        del generator
        return rgb.square().sum(), torch.abs
