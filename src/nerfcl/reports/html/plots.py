"""Plots of an HTML report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from nerfcl.reports.comparison.summary import Dip, Statistic
from nerfcl.reports.html.svg import FAINT, LETTERS, Box, Plot, around, width_of
from nerfcl.reports.style import COLOURS, GREY, INK
from nerfcl.reports.text import decibels, human_bytes
from nerfcl.reports.timeline import Curve, pieces

BLUE, ORANGE = COLOURS[:2]
BEHIND = "#a0a0a0"


@dataclass(frozen=True)
class Point:
    """One configuration in the plot of PSNR against bytes.

    Attributes:
        label: label of the configuration.
        size: bytes kept of the past.
        psnr: PSNR in dB, finite.
        bound: whether it is a lower or an upper bound.
        named: whether to write its label next to it, if there is room.
    """

    label: str
    size: float
    psnr: Statistic
    bound: bool
    named: bool


def bytes_plot(points: Sequence[Point], front: Sequence[int], upper: int | None) -> Markup:
    """Plot PSNR against bytes: the Pareto front as a step line, bounds hollow, dominated configurations grey.

    Args:
        points: one per configuration, at least one.
        front: indices of those on the front, from fewest bytes to most.
        upper: index of the upper bound, if any; a dashed line marks its PSNR.
    """
    plot = Plot((420, 300), (36, 26, 412, 254), "PSNR after the last task against bytes kept of the past")
    plot.scale_y([end for p in points for end in _ends(p)], room=0.08, most_ticks=6)
    plot.text(0, LETTERS, "PSNR after the last task, mean over tasks (dB)")
    xs = _byte_axis(plot, [p.size for p in points])
    places = [(x, plot.y(p.psnr.mean)) for x, p in zip(xs, points, strict=True)]
    lines: list[Box] = [
        (x, plot.y(high), x, plot.y(low)) for x, (low, high) in zip(xs, map(_ends, points), strict=True)
    ]
    if upper is not None:
        height = places[upper][1]
        plot.line((plot.area[0], height), (plot.area[2], height), BEHIND, dashes="5 4")
        lines.append((plot.area[0], height, plot.area[2], height))
    lines += _steps(plot, [places[i] for i in front])
    for i in sorted(range(len(points)), key=lambda i: i in front):
        _mark(plot, points[i], places[i], i in front)
    taken = [around(*place, 6.0) for place in places]
    for i in sorted(range(len(points)), key=lambda i: i not in front):
        if points[i].named:
            plot.name(points[i].label, *places[i], taken, lines)
    return plot.markup()


def curve_plot(
    curve: Curve, tasks: Sequence[str], span: tuple[float, float], dip: Dip | None, from_scratch: bool, label: str
) -> Markup:
    """Plot the first task's PSNR during training in blue, the others' in grey, and a dot at its deepest drop.

    Args:
        curve: evaluations during training.
        tasks: task names.
        span: range of PSNR shown, in dB.
        dip: deepest drop of the first task, if any.
        from_scratch: whether every task begins with an untrained model; if so, curves are faint and a line joins the
            final values.
        label: label of the configuration.
    """
    plot = Plot((320, 180), (32, 8, 312, 156), f"{label}: PSNR on validation views during training")
    plot.scale_y(span, room=0.0, most_ticks=4)
    _task_axis(plot, tasks)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return plot.x(point[0] / len(tasks)), plot.y(point[1])

    for j in reversed(range(len(tasks))):
        colour, width = (BLUE, 2.2) if j == 0 else (BEHIND, 1.0)
        stretches = [
            [place(point) for point in piece if math.isfinite(point[1])] for piece in pieces(curve, j, from_scratch)
        ]
        restarts = len(stretches) > 1
        for stretch in stretches:
            plot.path(stretch, colour, 1.0 if restarts else width, 0.4 if restarts else 1.0)
        if restarts:
            plot.path([stretch[-1] for stretch in stretches if stretch], colour, width)
    if dip is not None and dip.depth > 0.0:
        plot.dot(*place((dip.at, dip.lowest)), 4.0, ORANGE, title=f"{decibels(dip.lowest)} dB")
    return plot.markup()


def _byte_axis(plot: Plot, sizes: Sequence[float]) -> list[float]:
    """Draw an axis in powers of two, with a place for 0 at its left; return the x of each size."""
    some = [math.log2(size) for size in sizes if size >= 1.0]
    low, high = (min(some), max(some)) if some else (0.0, 1.0)
    low, high = (low, high) if high - low >= 2.0 else (low - 1.0, high + 1.0)
    nothing = len(some) < len(sizes)
    start = 0.2 if nothing else 0.06

    def x(power: float) -> float:
        return plot.x(start + (0.94 - start) * (power - low) / (high - low))

    base = plot.area[3]
    plot.line((plot.area[0], base), (plot.area[2], base), BEHIND)
    if nothing:
        plot.text(plot.x(0.06), base + 18, "0", anchor="middle")
        gap = plot.x(0.13)
        plot.line((gap - 5, base), (gap + 5, base), "white", 3.0)
        for side in (-5, 5):
            plot.line((gap + side - 2, base + 4), (gap + side + 2, base - 4), BEHIND)
    every = max(1, math.ceil((high - low) / 5))
    for power in range(math.ceil(low), math.floor(high) + 1) if some else ():
        if power % every == 0:
            plot.line((x(power), base), (x(power), plot.area[1]), FAINT)
            plot.text(x(power), base + 18, human_bytes(2.0**power).replace(".0", ""), anchor="middle")
    plot.text(plot.area[2], base + 37, "kept of the past", anchor="end")
    return [x(math.log2(size)) if size >= 1.0 else plot.x(0.06) for size in sizes]


def _steps(plot: Plot, places: Sequence[tuple[float, float]]) -> list[Box]:
    """Draw the front as steps, to the right and then up to the next point; return the boxes of their segments."""
    corners: list[tuple[float, float]] = []
    for x, y in places:
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    corners.append((plot.area[2], corners[-1][1]))
    plot.path(corners, BLUE, 1.4, 0.6)
    return [(x, min(y, v), u, max(y, v)) for (x, y), (u, v) in pairwise(corners)]


def _ends(point: Point) -> tuple[float, float]:
    """Return the mean minus and plus one standard deviation."""
    spread = point.psnr.std or 0.0
    return point.psnr.mean - spread, point.psnr.mean + spread


def _mark(plot: Plot, point: Point, place: tuple[float, float], on_front: bool) -> None:
    colour = GREY if point.bound else BLUE if on_front else BEHIND
    x, y = place
    spread = point.psnr.std
    if spread:
        low, high = _ends(point)
        plot.line((x, plot.y(low)), (x, plot.y(high)), colour, 1.4)
    deviation = "" if spread is None else f" ± {spread:.2f}"
    title = f"{point.label}: {decibels(point.psnr.mean)}{deviation} dB, {human_bytes(point.size)}"
    plot.dot(x, y, 4.5 if point.bound else 5.5, colour, hollow=point.bound, title=title)


def _task_axis(plot: Plot, tasks: Sequence[str]) -> None:
    """Mark where tasks change; write their names if there is room, else as many of their numbers as fit."""
    left, top, right, bottom = plot.area
    room = (right - left) / len(tasks) - 6
    names = list(tasks) if max(map(width_of, tasks)) < room else [str(j + 1) for j in range(len(tasks))]
    every = math.ceil(width_of(names[-1]) / max(room, 1.0)) if names[-1] != tasks[-1] else 1
    plot.line((left, bottom), (right, bottom), BEHIND)
    for j, name in enumerate(names):
        if j:
            plot.line((plot.x(j / len(tasks)), top), (plot.x(j / len(tasks)), bottom), BEHIND, dashes="3 3")
        if j % every == 0:
            plot.text(plot.x((j + 0.5) / len(tasks)), bottom + 17, name, anchor="middle", colour=INK)
