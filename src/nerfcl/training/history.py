"""What is known of a run so far; saved with every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Validation:
    """One evaluation on validation views.

    Attributes:
        at: experiences so far, with a fraction.
        psnr: [j] PSNR (dB) of each view of group j.
    """

    at: float
    psnr: list[list[float]]

    @property
    def means(self) -> list[float]:
        """Mean PSNR (dB) of each group; NaN where it has no views."""
        return [mean_psnr(views) for views in self.psnr]


@dataclass
class History:
    """What is known of a run so far.

    Attributes:
        R: a row for each test: mean PSNR (dB) on every group's test views, NaN where it has none.
        tested: how many experiences had been learned at each row of R.
        psnr: [i][j] PSNR (dB) of each view behind R[i][j].
        ssim: [i][j] SSIM of each view behind R[i][j].
        renderings: [i] maps positions of the watched group's test views to their renderings at row i of R.
        validation: evaluations on validation views while training.
        seen: (experiences so far, PSNR of every train view seen by then, in their order).
        frames: (experiences so far with a fraction, (H, W, 3) uint8): the watched view while training.
        steps: training steps so far.
        training: seconds spent on steps so far.
        evaluation: seconds spent on evaluation so far.
        compilation: seconds spent on compiling kernels.
        memory_bytes: bytes that the strategy keeps of the past.

    Example:
        >>> History(R=[[30.0, 20.0], [28.0, 31.0]], tested=[1, 2]).R[-1]
        [28.0, 31.0]
    """

    R: list[list[float]] = field(default_factory=list)
    tested: list[int] = field(default_factory=list)
    psnr: list[list[list[float]]] = field(default_factory=list)
    ssim: list[list[list[float]]] = field(default_factory=list)
    renderings: list[dict[int, np.ndarray]] = field(default_factory=list)
    validation: list[Validation] = field(default_factory=list)
    seen: list[tuple[int, list[float]]] = field(default_factory=list)
    frames: list[tuple[float, np.ndarray]] = field(default_factory=list)
    steps: int = 0
    training: float = 0.0
    evaluation: float = 0.0
    compilation: float = 0.0
    memory_bytes: int = 0

    @property
    def curve(self) -> list[tuple[float, list[float]]]:
        """Validation while training, as (experiences so far with a fraction, mean PSNR (dB) of every group)."""
        return [(validation.at, validation.means) for validation in self.validation]


def mean_psnr(values: Sequence[float]) -> float:
    """Average the PSNR (dB) of some views; NaN where there are none."""
    return sum(values) / len(values) if values else math.nan
