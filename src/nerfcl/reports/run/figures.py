"""Figures of one run: the matrix R, training curves, test views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerfcl.reports.style import (
    GREY,
    INK,
    LIGHT,
    clean,
    colour_of,
    dashes_of,
    finite_range,
    heat_map,
    label_ends,
    new_figure,
    save,
    set_title,
)
from nerfcl.reports.text import decibels
from nerfcl.reports.timeline import Curve, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SPAN = 6.0  # dB; minimum range of colour scales


def matrix_figure(path: str | Path, R: Sequence[Sequence[float]], tasks: Sequence[str], title: str) -> None:
    """Draw R as a labelled heat map.

    Args:
        path: PNG to write.
        R: row i holds the mean test PSNR (dB) on every task after task i; there may be fewer rows than tasks.
        tasks: task names.
        title: figure title.
    """
    rows, columns = len(R), len(tasks)
    cell = min(1.5, max(0.62, 3.0 / columns))
    figure = new_figure(max(5.6, cell * columns + 2.9), max(2.5, cell * 0.72 * rows + 1.5))
    axes = figure.subplots()
    many = columns > 6
    # The scale covers learned tasks only, since others are far below, and is wide enough that small drops look small.
    low, high = finite_range(R[i][j] for i in range(rows) for j in range(min(i + 1, columns)))
    low = min(low, high - LEAST_SPAN)
    heat = heat_map(axes, R, digits=1 if many else 2, size=9.5 if many else 11, span=(low, high))
    long = columns > 4 and max(map(len, tasks)) > 6
    axes.set_xticks(range(columns), tasks, rotation=40 if long else 0, ha="right" if long else "center", fontsize=10)
    axes.set_yticks(range(rows), [f"after {task}" for task in tasks[:rows]], fontsize=10)
    axes.set_xlabel("test views of", fontsize=10, color=GREY)
    below = any(value < low for row in R for value in row)
    bar = figure.colorbar(heat, ax=axes, pad=0.03, aspect=15, extend="min" if below else "neither")
    bar.set_label("PSNR (dB)", fontsize=10)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(labelsize=9, length=2)
    set_title(figure, title)
    save(figure, path)


def curves_figure(
    path: str | Path,
    curve: Curve,
    tasks: Sequence[str],
    steps: int,
    title: str,
    *,
    unit: str = "steps",
    from_scratch: bool = False,
) -> None:
    """Draw every task's PSNR during training, in bold while the task itself is learned.

    Args:
        path: PNG to write.
        curve: evaluations during training.
        tasks: task names.
        steps: length of a task in `unit`.
        title: figure title.
        unit: "steps" or "epochs".
        from_scratch: whether every task began with an untrained model; if so, curves are split there, and all tasks
            are drawn at the same width although later ones took more steps.
    """
    figure = new_figure(8.2, 4.3)
    axes = figure.subplots()
    for j in range(len(tasks)):
        for piece in pieces(curve, j, from_scratch):
            x, y = zip(*piece, strict=True)
            axes.plot([v * steps for v in x], y, color=colour_of(j), linestyle=dashes_of(j), linewidth=1.4)
            own = [(v * steps, p) for v, p in piece if j <= v <= j + 1]
            if own:
                axes.plot(*zip(*own, strict=True), color=colour_of(j), linewidth=3.2, solid_capstyle="round")
    low, high = finite_range(value for _, values in curve for value in values)
    axes.set_ylim(low - 0.04 * (high - low), high + 0.05 * (high - low))
    axes.set_xlim(0, max([x for x, _ in curve], default=1.0) * steps)
    mark_tasks(axes, tasks, steps)
    axes.set_xlabel(f"training {unit}", fontsize=10)
    axes.set_ylabel("PSNR on validation views (dB)", fontsize=10)
    clean(axes)
    set_title(figure, title)
    if curve:
        label_ends(axes, tasks, curve[-1][1], axes.get_xlim()[1])
    save(figure, path)


def views_figure(
    path: str | Path,
    truths: Sequence[np.ndarray],
    pictures: Sequence[Sequence[np.ndarray]],
    scores: Sequence[Sequence[float]],
    tasks: Sequence[str],
    title: str,
) -> None:
    """Draw test views of the first task: ground truth, renderings after each task, error of the last rendering.

    Args:
        path: PNG to write.
        truths: V test views, (H, W, 3) uint8.
        pictures: [i][v] rendering of view v after task i; with more than three tasks, the first and the last two are
            shown.
        scores: [i][v] its PSNR (dB).
        tasks: task names.
        title: figure title.
    """
    shown = range(len(pictures)) if len(pictures) <= 3 else (0, len(pictures) - 2, len(pictures) - 1)
    heads = ["truth", *(f"after {tasks[i]}" for i in shown), f"error after\n{tasks[len(pictures) - 1]}"]
    errors = [
        np.abs(last.astype(float) - truth.astype(float)).mean(-1)
        for truth, last in zip(truths, pictures[-1], strict=True)
    ]
    top = max(8.0, float(np.percentile(np.stack(errors), 99.7)))

    columns, rows = len(heads), len(truths)
    height, width = truths[0].shape[:2]
    side = 1.9 if columns <= 4 else 1.65
    across, down = (side, side * height / width) if width >= height else (side * width / height, side)
    figure = new_figure(max(5.0, columns * (across + 0.06) + 0.95), rows * (down + 0.22) + 0.85)
    grid = np.asarray(figure.subplots(rows, columns, squeeze=False))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)  # pyright: ignore
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(LIGHT)
    for v in range(rows):
        grid[v, 0].imshow(truths[v], interpolation="nearest")
        for column, i in enumerate(shown, start=1):
            grid[v, column].imshow(pictures[i][v], interpolation="nearest")
            grid[v, column].set_xlabel(f"{decibels(scores[i][v])} dB", fontsize=10, labelpad=3)
        grid[v, -1].imshow(errors[v], interpolation="nearest", cmap="magma", vmin=0.0, vmax=top)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=10.5, color=INK)
    _error_bar(figure, grid, bool(max(error.max() for error in errors) > top))
    set_title(figure, title)
    save(figure, path)


def mark_tasks(axes: Axes, tasks: Sequence[str], steps: int) -> None:
    """Draw vertical lines where tasks change, with the task names above."""
    right = axes.get_xlim()[1]
    long = len(tasks) > 4
    for i, task in enumerate(tasks):
        if i * steps >= right:
            break
        if i:
            axes.axvline(i * steps, color="#9a9a9a", linewidth=1.0, linestyle=(0, (3, 3)), zorder=1)
        middle = (i * steps + min(right, (i + 1) * steps)) / 2
        axes.text(
            middle,
            1.015,
            task if long else f"training on {task}",
            transform=axes.get_xaxis_transform(),
            rotation=35 if long else 0,
            rotation_mode="anchor",
            ha="left" if long else "center",
            va="bottom",
            fontsize=8.5 if long else 10,
            color=GREY,
        )


def _error_bar(figure: Figure, grid: np.ndarray, clipped: bool) -> None:
    bar = figure.colorbar(
        grid[0, -1].images[0],
        ax=grid[:, -1].tolist(),
        pad=0.04,
        fraction=0.1,
        aspect=22 * len(grid),
        extend="max" if clipped else "neither",
    )
    bar.set_label("absolute error (levels of 0..255)", fontsize=9)
    bar.ax.tick_params(labelsize=8.5, length=2)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
