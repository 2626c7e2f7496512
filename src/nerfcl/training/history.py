"""Record of a run so far, saved with every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Validation:
    """One evaluation on validation views.

    Attributes:
        at: experiences so far, including a fraction.
        psnr: [j] PSNR (dB) of each view of group j.
    """

    at: float
    psnr: list[list[float]]

    @property
    def means(self) -> list[float]:
        """Mean PSNR (dB) of each group; NaN if it has no views."""
        return [mean_psnr(views) for views in self.psnr]


@dataclass
class History:
    """Record of a run so far.

    Attributes:
        R: one row per evaluation on test views: mean PSNR (dB) of each group, NaN if it has no views.
        tested: number of experiences learned at each row of R.
        psnr: [i][j] PSNR (dB) of each view behind R[i][j].
        ssim: [i][j] SSIM of each view behind R[i][j].
        renderings: [i] maps indices of the pictured group's test views to their renderings at row i of R.
        validation: evaluations on validation views during training.
        seen: (experiences so far, PSNR (dB) of each train view seen by then, in order).
        frames: (experiences so far including a fraction, (H, W, 3) uint8): renderings of the pictured view.
        steps: training steps so far.
        training: time spent on training steps so far, in seconds.
        evaluation: time spent on evaluation so far, in seconds.
        compilation: time spent on compiling kernels, in seconds.
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
        """Validation during training: (experiences so far including a fraction, mean PSNR (dB) of each group)."""
        return [(validation.at, validation.means) for validation in self.validation]


def mean_psnr(values: Sequence[float]) -> float:
    """Average the PSNR (dB) of views; NaN if there are none."""
    return sum(values) / len(values) if values else math.nan
