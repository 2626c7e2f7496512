"""Memory aware synapses: parameters are held by how much the length of the rendered colours depends on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfcl.errors import require
from nerfcl.strategies.regularization import ParameterRegularization


@dataclass(frozen=True)
class Mas(ParameterRegularization):
    """MAS (Aljundi et al. 2018): importance is the mean over rays of the absolute derivative of the squared length of
    the rendered colour.

    The absolute value is taken of the gradient of small batches (`importance_batch` rays), as is usual: within one,
    derivatives of opposite signs cancel, so that larger batches find less.

    Attributes:
        mas_lambda: weight of the penalty. More forgets less and learns less; with the default the new task of lego
            loses about half a decibel.

    Example:
        >>> Mas(mas_lambda=10.0).mas_lambda
        10.0
    """

    mas_lambda: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.mas_lambda >= 0.0, self, "mas_lambda", "must not be negative")

    @property
    def penalty_weight(self) -> float:
        return self.mas_lambda

    def importance_of(self, rgb: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        del generator
        return rgb.square().sum(), torch.abs
