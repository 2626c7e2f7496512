"""Positions of a run's evaluations in its stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Curve = Sequence[tuple[float, Sequence[float]]]
"""Evaluations during training: (fractional number of tasks so far, mean validation PSNR (dB) of every task)."""


def task_indices(xs: Sequence[float]) -> list[int]:
    """Find the task of each evaluation: the first at a switch belongs to the old task, a second to the new one."""
    return [int(x) if x % 1.0 or x == 0.0 or (k and xs[k - 1] == x) else int(x) - 1 for k, x in enumerate(xs)]


def pieces(curve: Curve, task: int, from_scratch: bool) -> Iterator[list[tuple[float, float]]]:
    """Split one task's curve at the switches if each task begins with an untrained model."""
    piece: list[tuple[float, float]] = []
    present = 0
    for (x, values), index in zip(curve, task_indices([x for x, _ in curve]), strict=True):
        if from_scratch and index != present and piece:
            yield piece
            piece = []
        present = index
        piece.append((x, values[task]))
    if piece:
        yield piece
