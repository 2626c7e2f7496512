"""The matrix R[i, j] (PSNR on experience j's test views at the i-th scoring) in one figure each.

Scorings need not follow every experience: `scored[i]` experiences were over at the i-th; by default i + 1. NaN stands
for experiences without a test view; they are left out. All figures are in dB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Matrix = Sequence[Sequence[float]]


def average(R: Matrix) -> float:
    """Mean over experiences j of R[T, j] at the last scoring T."""
    return _mean([value for value in R[-1] if not math.isnan(value)])


def backward_transfer(R: Matrix, scored: Sequence[int] | None = None) -> float:
    """Mean over j < T of R[T, j] - R[j, j] (Lopez-Paz & Ranzato 2017); negative where the past got worse.

    R[j, j] is at the first scoring after experience j was learned. 0.0 where nothing is past.
    """
    return _mean([R[-1][j] - R[first][j] for first, j in _past(R, scored)])


def forgetting(R: Matrix, scored: Sequence[int] | None = None) -> float:
    """Mean over j < T of max_{l < T} R[l, j] - R[T, j] (Chaudhry et al. 2018), not clamped: gains are negative.

    0.0 where nothing is past.
    """
    return _mean([max(row[j] for row in R[:-1]) - R[-1][j] for _, j in _past(R, scored)])


def _past(R: Matrix, scored: Sequence[int] | None) -> list[tuple[int, int]]:
    """For every experience that was learned before the last scoring: the first scoring after it, and the experience."""
    over = list(range(1, len(R) + 1)) if scored is None else list(scored)
    firsts = [(next((i for i, count in enumerate(over) if count > j), len(R)), j) for j in range(len(R[0]))]
    return [(first, j) for first, j in firsts if first < len(R) - 1 and not math.isnan(R[-1][j])]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
