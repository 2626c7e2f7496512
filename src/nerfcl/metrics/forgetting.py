"""Summaries of the matrix R[i, j]: the PSNR on experience j's test views at the i-th evaluation.

Not every experience need be followed by an evaluation: `tested[i]` experiences had been learned at the i-th, i + 1 by
default. NaN marks an experience without test views and is left out. All values are in dB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Matrix = Sequence[Sequence[float]]


def average(R: Matrix) -> float:
    """Compute the mean over experiences j of R[T, j] at the last evaluation T."""
    return _mean([value for value in R[-1] if not math.isnan(value)])


def backward_transfer(R: Matrix, tested: Sequence[int] | None = None) -> float:
    """Compute the mean over j < T of R[T, j] - R[j, j] (Lopez-Paz & Ranzato 2017); negative where the past got worse.

    R[j, j] is taken at the first evaluation after experience j was learned.

    Args:
        R: one row per evaluation.
        tested: number of experiences learned before each evaluation.

    Returns:
        The value in dB; 0.0 if there is no past experience.

    Example:
        >>> round(backward_transfer([[30.0, 12.0], [26.5, 31.0]]), 2)
        -3.5
    """
    return _mean([R[-1][j] - R[first][j] for first, j in _past(R, tested)])


def forgetting(R: Matrix, tested: Sequence[int] | None = None) -> float:
    """Compute the mean over j < T of max_{l < T} R[l, j] - R[T, j] (Chaudhry et al. 2018).

    It is not clamped: gains are negative.

    Args:
        R: one row per evaluation.
        tested: number of experiences learned before each evaluation.

    Returns:
        The value in dB; 0.0 if there is no past experience.

    Example:
        >>> round(forgetting([[30.0, 12.0], [26.5, 31.0]]), 2)
        3.5
    """
    return _mean([max(row[j] for row in R[:-1]) - R[-1][j] for _, j in _past(R, tested)])


def _past(R: Matrix, tested: Sequence[int] | None) -> list[tuple[int, int]]:
    """List (first evaluation after j, j) for every experience j learned before the last evaluation."""
    learned = list(range(1, len(R) + 1)) if tested is None else list(tested)
    firsts = [(next((i for i, count in enumerate(learned) if count > j), len(R)), j) for j in range(len(R[0]))]
    return [(first, j) for first, j in firsts if first < len(R) - 1 and not math.isnan(R[-1][j])]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
