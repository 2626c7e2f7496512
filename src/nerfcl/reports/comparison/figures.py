"""Figures of strategies side by side."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfcl.reports.comparison.summary import Summary
from nerfcl.reports.run.figures import LEAST_SPAN, mark_tasks
from nerfcl.reports.style import (
    GREY,
    INK,
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
from nerfcl.reports.text import decibels, human_bytes
from nerfcl.reports.timeline import Curve, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 4


def comparison_figure(path: str | Path, rows: Sequence[Summary], tasks: Sequence[str], title: str) -> None:
    """Draw each task's PSNR after the last task, and the change on the first task, for each configuration.

    Up to four tasks are drawn as bars, more as a heat map. With a single task, the change is left out.

    Args:
        path: PNG to write.
        rows: one per configuration, from top to bottom.
        tasks: task names.
        title: figure title.
    """
    bars = len(tasks) <= MOST_BARS
    per_strategy = max(0.5, 0.21 * len(tasks) + 0.16) if bars else 0.46
    figure = new_figure(8.6, per_strategy * len(rows) + (1.7 if bars else 2.0))
    both = figure.subplots(
        1, 2 if len(tasks) > 1 else 1, width_ratios=[1.75, 1] if len(tasks) > 1 else [1], squeeze=False
    )[0]
    (_final_bars if bars else _final_heat)(both[0], rows, tasks)
    _name_rows(both[0], rows)
    for axes in both:
        axes.set_ylim(len(rows) - 0.5, -0.5)
    if len(tasks) > 1:
        _change_bars(both[1], rows, tasks[0])
    set_title(figure, title)
    save(figure, path)


def comparison_curves_figure(
    path: str | Path,
    curves: Mapping[str, Curve],
    tasks: Sequence[str],
    steps: int,
    title: str,
    *,
    unit: str = "steps",
    from_scratch: Collection[str] = ("joint",),
) -> None:
    """Draw the first task's PSNR during training, one line per strategy.

    If a strategy begins every task from scratch, its curve is faint and a line joins the final values.

    Args:
        path: PNG to write.
        curves: curve of each configuration, by label.
        tasks: task names.
        steps: length of a task in `unit`; strategies that begin every task from scratch take more steps, drawn at the
            same width.
        title: figure title.
        unit: "steps" or "epochs".
        from_scratch: labels of the configurations that begin every task with an untrained model.
    """
    figure = new_figure(8.2, 4.3)
    axes = figure.subplots()
    for i, (name, curve) in enumerate(curves.items()):
        stretches = list(pieces(curve, 0, name in from_scratch))
        restarts = len(stretches) > 1
        for piece in stretches:
            x, y = zip(*piece, strict=True)
            faint: dict[str, Any] = {"linewidth": 1.0, "alpha": 0.35} if restarts else {"linewidth": 2.0}
            axes.plot([v * steps for v in x], y, color=colour_of(i), linestyle=dashes_of(i), **faint)
        if restarts:
            x, y = zip(*(piece[-1] for piece in stretches), strict=True)
            style: dict[str, Any] = {"marker": "o", "markersize": 5, "linewidth": 1.6, "clip_on": False}
            axes.plot([v * steps for v in x], y, color=colour_of(i), linestyle=dashes_of(i), **style)
    # Values of an untrained model carry no information, and would take up half of the figure.
    learned = [values[0] for curve in curves.values() for x, values in curve if x % 1.0 > 0.0 or x == curve[-1][0]]
    low, high = finite_range(learned)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.06 * (high - low))
    axes.set_xlim(0, max((x for curve in curves.values() for x, _ in curve), default=1.0) * steps)
    mark_tasks(axes, tasks, steps)
    axes.set_xlabel(f"training {unit}", fontsize=10)
    axes.set_ylabel(f"PSNR on validation views of {tasks[0]} (dB)", fontsize=10)
    clean(axes)
    ends = [curve[-1][1][0] if curve else low for curve in curves.values()]
    set_title(figure, title)
    label_ends(axes, list(curves), ends, axes.get_xlim()[1])
    save(figure, path)


def _name_rows(axes: Axes, rows: Sequence[Summary]) -> None:
    """Write each configuration left of the axes, with its cost in grey below."""
    axes.set_yticks([])
    for i, row in enumerate(rows):
        cost = f"{human_bytes(row.kept.mean)} kept, {row.seconds.mean:.0f} s"
        for text, side, up, size, colour in (
            (row.label, "bottom", 1.5, 9.5, INK),
            (cost, "top", -1.5, 8.5, GREY),
        ):
            axes.annotate(
                text,
                (0.0, i),
                (-5.0, up),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va=side,
                fontsize=size,
                color=colour,
                annotation_clip=False,
            )


def _final_bars(axes: Axes, rows: Sequence[Summary], tasks: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    finals = [[row.final(j) for j in range(len(tasks))] for row in rows]
    values = [final.mean for row in finals for final in row]
    low, high = finite_range(values)
    start = max(0.0, math.floor(low - 0.35 * (high - low) - 0.5))
    several = any(final.std is not None for row in finals for final in row)
    thick = min(0.78 / len(tasks), 0.45)
    for j, task in enumerate(tasks):
        for i, row in enumerate(finals):
            value, std = row[j].mean, row[j].spread
            y = i + (j - (len(tasks) - 1) / 2) * thick
            shown = value if math.isfinite(value) else high
            axes.barh(
                y, shown - start, left=start, height=thick * 0.88, color=colour_of(j), label=task if i == 0 else None
            )
            if several:
                axes.errorbar(shown, y, xerr=std, color=INK, linewidth=1.1, capsize=2.2)
            text = f"{decibels(value)} ± {std:.2f}" if several else decibels(value)
            axes.annotate(
                text, (shown + std, y), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
            )
    axes.set_xlim(start, high + (high - start) * (0.3 if several else 0.16))
    clean(axes, grid="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    where = f"\n(axis starts at {start:.0f})" if start else ""
    axes.set_xlabel(f"PSNR on test views after the last task, dB{where}", fontsize=9.5)
    if len(tasks) > 1:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(tasks), frameon=False, fontsize=9.5, borderpad=0.1,
            handlelength=1.0, handleheight=1.0, columnspacing=1.4,
        )  # fmt: skip


def _final_heat(axes: Axes, rows: Sequence[Summary], tasks: Sequence[str]) -> None:
    finals = [[row.final(j).mean for j in range(len(tasks))] for row in rows]
    low, high = finite_range(value for row in finals for value in row)
    span = min(low, high - LEAST_SPAN), high
    heat_map(axes, finals, digits=1, size=8.5, span=span)
    axes.set_xticks(range(len(tasks)), tasks, rotation=40, ha="right", fontsize=9)
    axes.set_xlabel("PSNR on test views after the last task (dB)", fontsize=9.5)


def _change_bars(axes: Axes, rows: Sequence[Summary], first: str) -> None:
    changes = [row.change_on_first for row in rows]
    lengths = [change.mean if math.isfinite(change.mean) else 0.0 for change in changes]
    widest = max([*(abs(length) + change.spread for length, change in zip(lengths, changes, strict=True)), 0.5])
    for i, (change, length) in enumerate(zip(changes, lengths, strict=True)):
        axes.barh(i, length, height=0.55, color="#8a8a8a")
        if change.std is not None:
            axes.errorbar(length, i, xerr=change.std, color=INK, linewidth=1.1, capsize=2.2)
        away = 4 if length >= 0.0 else -4
        axes.annotate(
            f"{change.mean:+.2f}".replace("-", "−"),
            (length + math.copysign(change.spread, length), i),
            (away, 0),
            textcoords="offset points",
            ha="left" if length >= 0.0 else "right",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    lowest, highest = min([*lengths, 0.0]), max([*lengths, 0.0])
    axes.axvline(0.0, color=INK, linewidth=1.2)
    axes.set_xlim(
        (lowest - 0.42 * widest) if lowest < 0.0 else -0.15 * widest,
        (highest + 0.42 * widest) if highest > 0.0 else 0.15 * widest,
    )
    clean(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.set_title(f"change on {first}", fontsize=9.5, color=GREY, loc="left")
    axes.set_xlabel("dB since it was learned\n(negative: forgotten)", fontsize=9.5)
