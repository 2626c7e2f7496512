"""Figures of the PSNR of every frame and chunk of a stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerfcl.reports.run.animation import evenly
from nerfcl.reports.run.figures import LEAST_SPAN
from nerfcl.reports.stream.values import (
    Chunks,
    Log,
    Rows,
    block_edges,
    block_means,
    ceiling_of,
    chunk_colour,
    cleaned,
    learned_text,
    mean_known,
    padded,
    round_numbers,
    tidied,
)
from nerfcl.reports.style import (
    GREY,
    INK,
    LIGHT,
    MAP,
    clean,
    colour_of,
    dashes_of,
    finite_range,
    label_ends,
    new_figure,
    save,
    set_title,
)
from nerfcl.reports.text import decibels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

MOST_STRATEGIES = 4  # side by side
MOST_PICTURES = 12
PICTURES_IN_A_ROW = 6

_MOST_COLUMNS = 400  # of a heat map or a line; with more frames, neighbours are averaged


def frames_figure(path: str | Path, logs: Mapping[str, Log], chunk_frames: int, title: str) -> None:
    """Draw the PSNR of every frame over time for each strategy, and its value at the end.

    Args:
        path: PNG to write.
        logs: one to MOST_STRATEGIES logs by label; see `Log`. None and NaN are left blank; infinity is drawn at the
            top.
        chunk_frames: frames per chunk.
        title: figure title.
    """
    save(_frames(logs, chunk_frames, title), path)


def seen_curve_figure(path: str | Path, logs: Mapping[str, Log], title: str) -> None:
    """Draw the mean PSNR of all frames seen so far over time, one line per strategy.

    Args:
        path: PNG to write.
        logs: logs by label; see `Log`. None and NaN are ignored. A log with a single entry is drawn as a dot.
        title: figure title.
    """
    save(_seen_curve(logs, title), path)


def chunk_bars_figure(path: str | Path, psnr: Chunks, done: int, title: str) -> None:
    """Draw a bar for each test view, grouped by chunk; chunks not learned yet are pale.

    Args:
        path: PNG to write.
        psnr: PSNR (dB) of the test views of each chunk; see `Chunks`.
        done: chunks learned so far.
        title: figure title.
    """
    save(_chunk_bars(psnr, done, title), path)


def evolution_figure(
    path: str | Path, truth: np.ndarray, images: Sequence[tuple[int, np.ndarray, float | None]], title: str
) -> None:
    """Draw a view and its renderings after successive chunks.

    Args:
        path: PNG to write.
        truth: ground truth, (H, W, 3) uint8.
        images: (chunks learned so far, (H, W, 3) uint8 rendering, its PSNR (dB)), in order; at most eleven are shown,
            evenly spread, including the first and the last.
        title: figure title.
    """
    save(_evolution(truth, images, title), path)


def _frames(logs: Mapping[str, Log], chunk_frames: int, title: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    runs = tidied(logs)
    frames = max((len(values) for rows in runs.values() for _, values in rows), default=1)
    learned = max((chunks * chunk_frames for rows in runs.values() for chunks, _ in rows), default=1)
    count = max(1, len(runs))
    width = {1: 7.6, 2: 10.2, 3: 12.0}.get(count, 3.3 * count)
    figure = new_figure(width, 6.4)
    figure.get_layout_engine().set(h_pad=0.06, w_pad=0.05, hspace=0.03)  # pyright: ignore
    grid = figure.add_gridspec(2, count, height_ratios=[1.5, 1.0])
    panels = [figure.add_subplot(grid[0, i]) for i in range(count)]
    span, extend = _colour_span(value for rows in runs.values() for _, values in rows for value in values.tolist())
    mesh, names = None, []
    for i, axes in enumerate(panels):
        axes.set(xlim=(0.5, frames + 0.5), ylim=(learned, 0))
        axes.set_xticks(round_numbers(frames, 5 if count > 2 else 10))
        axes.set_yticks([0, *round_numbers(learned, 5, first=False)])
        axes.set_xlabel("frame, in the order seen", fontsize=10)
        axes.tick_params(length=2.5, color=LIGHT, labelsize=9.5, labelcolor=INK, labelleft=i == 0)
        axes.spines[:].set_color(LIGHT)
    for i, (axes, (name, rows)) in enumerate(zip(panels, runs.items(), strict=False)):
        mesh = _frames_map(axes, rows, frames, chunk_frames, span) or mesh
        names.append(axes.set_title(name, loc="left", fontsize=11.5, color=colour_of(i), fontweight="bold", pad=19))
        mean = mean_known(rows[-1][1]) if rows else math.nan
        text = "nothing seen" if math.isnan(mean) else f"mean at the end {decibels(mean, 1)} dB"
        axes.annotate(text, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=9.5,
                      color=GREY)  # fmt: skip
    panels[0].set_ylabel("frames learned so far", fontsize=10)
    if mesh is not None:
        # In the last panel's margin; a separate axes would end up to the right of the line labels below.
        inches = (width - 2.6) / count
        beside = panels[-1].inset_axes((1 + 0.14 / inches, 0, 0.16 / inches, 1))
        bar = figure.colorbar(mesh, cax=beside, extend=extend, ticks=MaxNLocator(8, integer=True))
        bar.set_label("PSNR (dB)", fontsize=10)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.ax.tick_params(labelsize=9, length=2)
    set_title(figure, title)
    _final_lines(figure.add_subplot(grid[1, :]), runs, frames)
    figure.draw_without_rendering()
    for axes, name in zip(panels, names, strict=False):  # long names must not overlap the next panel
        name.set_fontsize(11.5 * min(1.0, axes.bbox.width / max(name.get_window_extent().width, 1.0)))
    return figure


def _frames_map(axes: Axes, rows: Rows, frames: int, chunk_frames: int, span: tuple[float, float]) -> QuadMesh | None:
    """Draw a row of cells for each entry, reaching back to the previous one; the last row is at the bottom."""
    if not rows:
        return None
    edges = block_edges(frames, _MOST_COLUMNS)
    cells = np.stack([block_means(padded(values, frames), edges) for _, values in rows])
    heights = [0, *(chunks * chunk_frames for chunks, _ in rows)]
    low, high = span
    cells = np.ma.masked_invalid(np.where(cells == np.inf, high, cells))
    mesh = axes.pcolormesh(edges + 0.5, heights, cells, cmap=MAP, vmin=low, vmax=high, rasterized=True)
    if len(rows) >= 5 and len(rows[0][1]) < 0.4 * frames:
        axes.text(0.97, 0.95, "not seen yet", transform=axes.transAxes, ha="right", va="top", fontsize=9, color=GREY)
    return mesh


def _final_lines(axes: Axes, runs: Mapping[str, Rows], frames: int) -> None:
    """Draw the last entry of every log as a line."""
    from matplotlib.ticker import MaxNLocator

    edges = block_edges(frames, _MOST_COLUMNS // 2)
    x = (edges[:-1] + edges[1:] + 1) / 2
    ends = [padded(rows[-1][1], frames) if rows else np.full(frames, np.nan) for rows in runs.values()]
    low, high = finite_range(value for end in ends for value in end.tolist())
    low = min(low, high - LEAST_SPAN)
    labels, heights = [], []
    for i, (name, end) in enumerate(zip(runs, ends, strict=True)):
        y = block_means(np.where(end == np.inf, high, end), edges)
        blank = np.isnan(np.concatenate([[np.nan], y, [np.nan]]))
        alone = bool((~blank[1:-1] & blank[:-2] & blank[2:]).any())  # a line through a single point is invisible
        few = {"marker": "o", "markersize": 4} if alone or len(y) <= 30 else {}
        axes.plot(x, y, color=colour_of(i), linestyle=dashes_of(i), linewidth=1.5, zorder=3 - i / 10, **few)
        known = y[~np.isnan(y)]
        labels.append(name if known.size else f"{name}: none")
        heights.append(float(known[-1]) if known.size else low)
    axes.set_xlim(0.5, frames + 0.5)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.06 * (high - low))
    axes.set_xticks(round_numbers(frames, 20))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    clean(axes)
    axes.set_xlabel("frame, in the order seen", fontsize=10)
    axes.set_ylabel("PSNR at the end (dB)", fontsize=10)
    if len(edges) - 1 < frames:
        axes.set_title(
            f"means of about {round(frames / (len(edges) - 1))} neighbouring frames",
            loc="right", fontsize=9, color=GREY,
        )  # fmt: skip
    if len(labels) > 1:
        label_ends(axes, labels, heights, frames + 0.5)


def _colour_span(values: Iterable[float]) -> tuple[tuple[float, float], str]:
    """Choose the ends of the colour scale without outliers, and say at which ends values lie beyond them."""
    finite = np.array([value for value in values if math.isfinite(value)])
    if not finite.size:
        return (0.0, 1.0), "neither"
    # A few outliers would compress the scale for all other frames.
    near, far = np.percentile(finite, (1.0, 99.0))
    low, high = max(finite.min(), near - 2.0), min(finite.max(), far + 2.0)
    low = min(low, high - LEAST_SPAN)
    below, above = bool((finite < low).any()), bool((finite > high).any())
    return (float(low), float(high)), "both" if below and above else "min" if below else "max" if above else "neither"


def _seen_curve(logs: Mapping[str, Log], title: str) -> Figure:
    figure = new_figure(8.2, 4.3)
    axes = figure.subplots()
    points = {name: [(len(values), mean_known(values)) for _, values in rows] for name, rows in tidied(logs).items()}
    known = {name: [(x, y) for x, y in line if math.isfinite(y)] for name, line in points.items()}
    low, high = finite_range(y for line in known.values() for _, y in line)
    low = min(low, high - LEAST_SPAN)
    right = max((x for line in known.values() for x, _ in line), default=1)
    axes.set_xlim(0, right)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.06 * (high - low))
    for i, line in enumerate(known.values()):
        few = {"marker": "o", "markersize": 4 if len(line) > 1 else 6} if len(line) <= 30 else {}
        x, y = zip(*line, strict=True) if line else ((), ())
        axes.plot(x, y, color=colour_of(i), linestyle=dashes_of(i), linewidth=2.0, clip_on=False, **few)
    axes.set_xticks([0, *round_numbers(right, 10, first=False)])
    axes.set_xlabel("frames learned so far", fontsize=10)
    axes.set_ylabel("mean PSNR of the frames seen so far (dB)", fontsize=10)
    clean(axes)
    set_title(figure, title)
    labels = [name if line else f"{name}: none" for name, line in known.items()]
    label_ends(axes, labels, [line[-1][1] if line else low for line in known.values()], right)
    return figure


def _chunk_bars(psnr: Chunks, done: int, title: str) -> Figure:
    chunks = [cleaned(values) for values in psnr]
    count = max(1, len(chunks))
    figure = new_figure(11.0 if count <= 24 else 13.0, 4.4)
    axes = figure.subplots()
    ceiling = ceiling_of(value for values in chunks for value in values.tolist())
    crowded = count > 18
    highest = max((min(v, ceiling) for values in chunks for v in values.tolist() if not math.isnan(v)), default=ceiling)
    top = max(highest, 5.0) * (1.2 if crowded else 1.13)
    for k, values in enumerate(chunks):
        learned = k < done
        shown = np.minimum(values, ceiling)
        width = min(0.25, 0.86 / max(1, len(shown)))
        x = k + 1 + width * (np.arange(len(shown)) - (len(shown) - 1) / 2)
        gap = 0.88 if len(shown) * count <= 250 else 1.0
        shown, x = shown[~np.isnan(shown)], x[~np.isnan(shown)]
        if not shown.size:
            axes.text(k + 1, 0.012 * top, "no\nviews" if not crowded else "", ha="center", va="bottom", fontsize=8.5,
                      color=GREY)  # fmt: skip
            continue
        colour = chunk_colour(k, count, learned)
        axes.bar(x, shown, width=width * gap, color=colour, linewidth=0, label=f"chunk {k + 1}")
        if learned:
            mean = mean_known(values)
            at = min(mean, ceiling)
            for line, thick in (("white", 3.6), (INK, 1.8)):
                axes.plot([k + 0.57, k + 1.43], [at, at], color=line, linewidth=thick, solid_capstyle="butt",
                          gid="mean" if line == INK else None)  # fmt: skip
            if k % (1 + count // 100) == 0:
                _write_above(axes, k + 1, max(float(shown.max()), at, 0.0), decibels(mean, 1), upright=crowded)
    axes.set(xlim=(0.45, count + 0.55), ylim=(0, top))
    axes.set_xticks(round_numbers(count, 30))
    clean(axes)
    axes.set_xlabel("chunk of the test views, in the order learned", fontsize=10)
    axes.set_ylabel("PSNR of each test view (dB)", fontsize=10)
    axes.set_title(learned_text(chunks, done), loc="left", fontsize=10, color=INK)
    legend = "line and number: mean of a chunk"
    if any(len(values) for values in chunks[max(done, 0) :]):
        legend += "; pale: not learned yet"
    axes.set_title(legend, loc="right", fontsize=9, color=GREY)
    set_title(figure, title)
    return figure


def _write_above(axes: Axes, x: float, y: float, text: str, *, upright: bool) -> None:
    axes.annotate(
        text,
        (x, y),
        (0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        rotation=90 if upright else 0,
        fontsize=8 if upright else 10,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )


def _evolution(truth: np.ndarray, images: Sequence[tuple[int, np.ndarray, float | None]], title: str) -> Figure:
    chosen = [images[k] for k in evenly(len(images), MOST_PICTURES - 1)]
    shown = [("truth", truth), *((_after(chunks, score), picture) for chunks, picture, score in chosen)]
    columns = min(PICTURES_IN_A_ROW, len(shown))
    rows = -(-len(shown) // columns)
    height, width = truth.shape[:2]
    side = 2.0 if columns > 3 else 2.6
    across, down = (side, side * height / width) if width >= height else (side * width / height, side)
    figure = new_figure(max(columns * (max(across, 1.75) + 0.06) + 0.1, 4.2), rows * (down + 0.25) + 0.42)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.02)  # pyright: ignore
    grid = np.asarray(figure.subplots(rows, columns, squeeze=False))
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    for axes, (caption, picture) in zip(grid.flat, shown, strict=False):
        axes.imshow(picture, interpolation="antialiased")  # sharp when enlarged, smooth when reduced
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(LIGHT)
        axes.set_xlabel(caption, fontsize=9.5, labelpad=4, color=INK)
    set_title(figure, title)
    return figure


def _after(chunks: int, score: float | None) -> str:
    if score is None or math.isnan(score):
        return f"after chunk {chunks}"
    return f"after chunk {chunks}: {decibels(score, 1)} dB"
