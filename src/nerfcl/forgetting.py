"""The matrix R[i, j] (PSNR on experience j's test views after experience i) in one figure each.

Rows may be missing experiences that were not evaluated: then R has fewer rows than columns. All figures are in dB.
"""

from __future__ import annotations

from collections.abc import Sequence

Matrix = Sequence[Sequence[float]]


def average(R: Matrix) -> float:
    """Mean over experiences j of R[T, j] after the last experience T."""
    return sum(R[-1]) / len(R[-1])


def backward_transfer(R: Matrix) -> float:
    """Mean over j < T of R[T, j] - R[j, j] (Lopez-Paz & Ranzato 2017); negative where the past got worse.

    0.0 with a single experience.
    """
    last = len(R) - 1
    return sum(R[last][j] - R[j][j] for j in range(last)) / last if last else 0.0


def forgetting(R: Matrix) -> float:
    """Mean over j < T of max_{l < T} R[l, j] - R[T, j] (Chaudhry et al. 2018), not clamped: gains are negative.

    0.0 with a single experience.
    """
    last = len(R) - 1
    return sum(max(R[i][j] for i in range(last)) - R[last][j] for j in range(last)) / last if last else 0.0
