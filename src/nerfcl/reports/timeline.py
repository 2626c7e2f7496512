"""Where in a stream the evaluations of a run were made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Curve = Sequence[tuple[float, Sequence[float]]]
"""Evaluations while training: (tasks so far with a fraction, mean validation PSNR (dB) of every task)."""


def task_indices(xs: Sequence[float]) -> list[int]:
    """Find the task that each evaluation belongs to: one at a switch ends the old task, a second begins the new."""
    return [int(x) if x % 1.0 or x == 0.0 or (k and xs[k - 1] == x) else int(x) - 1 for k, x in enumerate(xs)]


def pieces(curve: Curve, task: int, from_scratch: bool) -> Iterator[list[tuple[float, float]]]:
    """Cut one task's curve at the switches where an untrained model took over."""
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
