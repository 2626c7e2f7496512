"""Style shared by all figures: colours, sizes, label placement. Avoids pyplot, so that no global state changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerfcl.files import written_aside
from nerfcl.reports.text import decibels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DPI = 130
MAP = "viridis"
INK = "#1a1a1a"
GREY = "#6b6b6b"
LIGHT = "#d9d9d9"

# The colour-blind-safe palette of Okabe & Ito, without yellow, which is hard to see as a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)))


def colour_of(index: int) -> str:
    """Return the colour of line or bar `index`; repeats after seven."""
    return COLOURS[index % len(COLOURS)]


def dashes_of(index: int):
    """Return the style of line `index`: solid for the first seven, then dashed, then dotted."""
    return DASHES[index // len(COLOURS) % len(DASHES)]


def new_figure(width: float, height: float, layout: str = "constrained") -> Figure:
    """Make an empty white figure of this size in inches, drawn by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)  # pyright: ignore[reportArgumentType]
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG, atomically."""
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=DPI, format="png", bbox_inches="tight", pad_inches=0.1)


def set_title(figure: Figure, title: str) -> None:
    """Put a title above the figure, left-aligned."""
    figure.suptitle(title, x=0.012, ha="left", fontsize=12.5, fontweight="bold", color=INK)


def clean(axes: Axes, *, grid: str = "y") -> None:
    """Remove frame and ticks, and draw a faint grid."""
    for side in ("top", "right", "left" if grid == "y" else "bottom"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(LIGHT)
    axes.grid(axis="x" if grid == "x" else "y", color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)


def kept_apart(wishes: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Find label positions near `wishes`, in the same order, at least `gap` apart, so that labels do not overlap.

    They lie between `low` and `high` if there is room; the topmost never exceeds `high`.
    """
    groups: list[list[int]] = []  # touching labels, each group from bottom to top

    def lowest(group: list[int]) -> float:
        reach = gap * (len(group) - 1)
        middle = sum(wishes[i] for i in group) / len(group)
        return min(max(middle - reach / 2, low), high - reach)

    for i in sorted(range(len(wishes)), key=lambda i: wishes[i]):
        group = [i]
        while groups and lowest(group) < lowest(groups[-1]) + gap * len(groups[-1]):
            group = groups.pop() + group
        groups.append(group)
    positions = [0.0] * len(wishes)
    for group in groups:
        for k, i in enumerate(group):
            positions[i] = lowest(group) + gap * k
    return positions


def heat_map(
    axes: Axes, values: Sequence[Sequence[float]], digits: int, size: float, span: tuple[float, float]
) -> AxesImage:
    """Draw rows of values as coloured cells labelled with the values; the colour map covers `span`."""
    low, high = span
    heat = axes.imshow(np.asarray(values, dtype=float), cmap=MAP, vmin=low, vmax=high, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            # Viridis lightens monotonically; above this fraction, dark text has more contrast.
            ink = INK if value > low + 0.6 * (high - low) else "white"
            axes.text(j, i, decibels(value, digits), ha="center", va="center", color=ink, fontsize=size)
    rows, columns = len(values), len(values[0])
    for i in range(1, rows):
        axes.axhline(i - 0.5, color="white", linewidth=1.5)
    for j in range(1, columns):
        axes.axvline(j - 0.5, color="white", linewidth=1.5)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    return heat


def label_ends(axes: Axes, labels: Sequence[str], ends: Sequence[float], right: float, size: float = 9.5) -> None:
    """Write each line's label next to its last point, right of the axes.

    Args:
        axes: axes of the lines; their limits must be set.
        labels: one per line, written in its colour.
        ends: y of each line's last point, data units.
        right: x of the last points.
        size: font size in points.
    """
    axes.figure.draw_without_rendering()  # pyright: ignore[reportAttributeAccessIssue]  # fixes the layout
    height = axes.bbox.height / axes.figure.dpi
    low, high = axes.get_ylim()
    gap = (high - low) * size * 1.25 / 72 / height
    inside = [min(max(end, low), high) for end in ends]
    positions = kept_apart(inside, gap, low, high)
    for i, (label, position) in enumerate(zip(labels, positions, strict=True)):
        axes.annotate(
            label,
            xy=(right, inside[i]),
            xytext=(16, (position - inside[i]) / (high - low) * height * 72),
            textcoords="offset points",
            va="center",
            ha="left",
            fontsize=size,
            color=colour_of(i),
            fontweight="bold",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour_of(i),
                "linewidth": 0.8,
                "relpos": (0.0, 0.5),
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def finite_range(values: Iterable[float]) -> tuple[float, float]:
    """Find the smallest and the largest finite value, widened to at least 0.1 apart; (0, 1) if there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    missing = max(0.1 - (high - low), 0.0) / 2  # what differs by less looks like more than it is
    return low - missing, high + missing
