"""Naive fine-tuning: nothing is kept of the past. The lower bound of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nerfcl.strategies.strategy import Role, Strategy


@dataclass(frozen=True)
class FineTune(Strategy):
    """Trains on the current experience only.

    Example:
        >>> FineTune().role
        'lower bound'
    """

    role: ClassVar[Role] = "lower bound"
