"""A learner on a stream of frames that come in chunks: what it still knows of every frame and of every chunk."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerfcl.files import written_aside
from nerfcl.reports.animation import TRACK, _flattened, evenly
from nerfcl.reports.figures import LEAST_SPAN
from nerfcl.reports.style import (
    GREY,
    INK,
    LIGHT,
    MAP,
    clean,
    colour_of,
    dashes_of,
    decibels,
    finite_range,
    label_ends,
    new_figure,
    save,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

MOST_PAGES = 60
MOST_BYTES = 1_500_000
PLAY_SECONDS = 6.2
HOLD_SECONDS = 1.8
LONGEST_PAGE = 0.6  # seconds, of the pages before the last
MOST_PICTURES = 12
PICTURES_IN_A_ROW = 6

Values = Sequence[float | None]  # PSNR in dB; None or NaN where there is none
Looks = Sequence[tuple[int, Values]]  # (chunks learned so far, PSNR of every frame seen by then)
Chunks = Sequence[Values]  # per chunk the PSNR of each of its test views
_Rows = list[tuple[int, np.ndarray]]

_MOST_COLUMNS = 400  # of a heat map or a line: of more frames neighbours are averaged
_PLOT = 800  # pixels, about, that the bars of a page spread over
_LEFT, _RIGHT, _HEADER, _NAME, _FOOT = 56, 20, 46, 26, 46
_WIDEST_BAR = 48


# Figures


def frames_figure(path: str | Path, looks: Mapping[str, Looks], chunk_frames: int, title: str) -> None:
    """Writes what every strategy knew of every frame after every chunk, and what it knows of them at the end.

    Args:
        path: the PNG.
        looks: per strategy, one to four of them, its looks in order: (chunks learned so far, PSNR (dB) of each of the
            N train frames seen by then, in the order seen). None or NaN is left blank; infinite is drawn at the top.
        chunk_frames: frames per chunk.
        title: above the picture.
    """
    save(_frames(looks, chunk_frames, title), path)


def chunk_bars_figure(path: str | Path, psnr: Chunks, over: int, title: str) -> None:
    """Writes a bar per test view, chunk by chunk; what was not learned yet is pale.

    Args:
        path: the PNG.
        psnr: per chunk the PSNR (dB) of each of its test views, empty where it has none.
        over: chunks learned so far.
        title: above the picture.
    """
    save(_chunk_bars(psnr, over, title), path)


def evolution_figure(
    path: str | Path, truth: np.ndarray, images: Sequence[tuple[int, np.ndarray, float | None]], title: str
) -> None:
    """Writes a view and its renderings after more and more chunks.

    Args:
        path: the PNG.
        truth: (H, W, 3) uint8.
        images: (chunks learned so far, (H, W, 3) uint8 rendering, its PSNR (dB)), in order; of more than eleven, eleven
            are shown, evenly spread, the first and the last among them.
        title: above the picture.
    """
    save(_evolution(truth, images, title), path)


def _frames(looks: Mapping[str, Looks], chunk_frames: int, title: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    runs = _tidied(looks)
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
        axes.set_xticks(_numbers(frames, 5 if count > 2 else 10))
        axes.set_yticks([0, *_numbers(learned, 5, first=False)])
        axes.set_xlabel("frame, in the order seen", fontsize=10)
        axes.tick_params(length=2.5, color=LIGHT, labelsize=9.5, labelcolor=INK, labelleft=i == 0)
        axes.spines[:].set_color(LIGHT)
    for i, (axes, (name, rows)) in enumerate(zip(panels, runs.items(), strict=False)):
        mesh = _frames_map(axes, rows, frames, chunk_frames, span) or mesh
        names.append(axes.set_title(name, loc="left", fontsize=11.5, color=colour_of(i), fontweight="bold", pad=19))
        mean = _mean(rows[-1][1]) if rows else math.nan
        text = "nothing seen" if math.isnan(mean) else f"mean at the end {decibels(mean, 1)} dB"
        axes.annotate(text, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=9.5,
                      color=GREY)  # fmt: skip
    panels[0].set_ylabel("frames learned so far", fontsize=10)
    if mesh is not None:
        # Inside of the last panel's margin: a bar of its own would stand right of the labels of the lines below.
        inches = (width - 2.6) / count
        beside = panels[-1].inset_axes((1 + 0.14 / inches, 0, 0.16 / inches, 1))
        bar = figure.colorbar(mesh, cax=beside, extend=extend, ticks=MaxNLocator(8, integer=True))
        bar.set_label("PSNR (dB)", fontsize=10)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.ax.tick_params(labelsize=9, length=2)
    set_title(figure, title)
    _final_lines(figure.add_subplot(grid[1, :]), runs, frames)
    figure.draw_without_rendering()
    for axes, name in zip(panels, names, strict=False):  # long names must not reach into the next panel
        name.set_fontsize(11.5 * min(1.0, axes.bbox.width / max(name.get_window_extent().width, 1.0)))
    return figure


def _frames_map(axes: Axes, rows: _Rows, frames: int, chunk_frames: int, span: tuple[float, float]) -> QuadMesh | None:
    """Draws a row of cells per look, from the look before to this one; the last row is at the bottom."""
    if not rows:
        return None
    edges = _edges(frames, _MOST_COLUMNS)
    cells = np.stack([_block_means(_padded(values, frames), edges) for _, values in rows])
    heights = [0, *(chunks * chunk_frames for chunks, _ in rows)]
    low, high = span
    cells = np.ma.masked_invalid(np.where(cells == np.inf, high, cells))
    mesh = axes.pcolormesh(edges + 0.5, heights, cells, cmap=MAP, vmin=low, vmax=high, rasterized=True)
    if len(rows) >= 5 and len(rows[0][1]) < 0.4 * frames:
        axes.text(0.97, 0.95, "not seen yet", transform=axes.transAxes, ha="right", va="top", fontsize=9, color=GREY)
    return mesh


def _final_lines(axes: Axes, runs: Mapping[str, _Rows], frames: int) -> None:
    """Draws the last look of every strategy as a line."""
    from matplotlib.ticker import MaxNLocator

    edges = _edges(frames, _MOST_COLUMNS // 2)
    x = (edges[:-1] + edges[1:] + 1) / 2
    ends = [_padded(rows[-1][1], frames) if rows else np.full(frames, np.nan) for rows in runs.values()]
    low, high = finite_range(value for end in ends for value in end.tolist())
    low = min(low, high - LEAST_SPAN)
    labels, heights = [], []
    for i, (name, end) in enumerate(zip(runs, ends, strict=True)):
        y = _block_means(np.where(end == np.inf, high, end), edges)
        blank = np.isnan(np.concatenate([[np.nan], y, [np.nan]]))
        alone = bool((~blank[1:-1] & blank[:-2] & blank[2:]).any())  # a line through one point is none
        few = {"marker": "o", "markersize": 4} if alone or len(y) <= 30 else {}
        axes.plot(x, y, color=colour_of(i), linestyle=dashes_of(i), linewidth=1.5, zorder=3 - i / 10, **few)
        known = y[~np.isnan(y)]
        labels.append(name if known.size else f"{name}: none")
        heights.append(float(known[-1]) if known.size else low)
    axes.set_xlim(0.5, frames + 0.5)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.06 * (high - low))
    axes.set_xticks(_numbers(frames, 20))
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


def _chunk_bars(psnr: Chunks, over: int, title: str) -> Figure:
    chunks = [_cleaned(values) for values in psnr]
    count = max(1, len(chunks))
    figure = new_figure(11.0 if count <= 24 else 13.0, 4.4)
    axes = figure.subplots()
    ceiling = _ceiling(value for values in chunks for value in values.tolist())
    crowded = count > 18
    highest = max((min(v, ceiling) for values in chunks for v in values.tolist() if not math.isnan(v)), default=ceiling)
    top = max(highest, 5.0) * (1.2 if crowded else 1.13)
    for k, values in enumerate(chunks):
        learned = k < over
        shown = np.minimum(values, ceiling)
        width = min(0.25, 0.86 / max(1, len(shown)))
        x = k + 1 + width * (np.arange(len(shown)) - (len(shown) - 1) / 2)
        gap = 0.88 if len(shown) * count <= 250 else 1.0
        shown, x = shown[~np.isnan(shown)], x[~np.isnan(shown)]
        if not shown.size:
            axes.text(k + 1, 0.012 * top, "no\nviews" if not crowded else "", ha="center", va="bottom", fontsize=8.5,
                      color=GREY)  # fmt: skip
            continue
        colour = _chunk_colour(k, count, learned)
        axes.bar(x, shown, width=width * gap, color=colour, linewidth=0, label=f"chunk {k + 1}")
        if learned:
            mean = _mean(values)
            at = min(mean, ceiling)
            for line, thick in (("white", 3.6), (INK, 1.8)):
                axes.plot([k + 0.57, k + 1.43], [at, at], color=line, linewidth=thick, solid_capstyle="butt",
                          gid="mean" if line == INK else None)  # fmt: skip
            if k % (1 + count // 100):
                continue
            axes.annotate(
                decibels(mean, 1),
                (k + 1, max(float(shown.max()), at, 0.0)),
                (0, 4),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90 if crowded else 0,
                fontsize=8 if crowded else 10,
                color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )
    axes.set(xlim=(0.45, count + 0.55), ylim=(0, top))
    axes.set_xticks(_numbers(count, 30))
    clean(axes)
    axes.set_xlabel("chunk of the test views, in the order learned", fontsize=10)
    axes.set_ylabel("PSNR of each test view (dB)", fontsize=10)
    axes.set_title(_learned_text(chunks, over), loc="left", fontsize=10, color=INK)
    legend = "line and number: mean of a chunk"
    if any(len(values) for values in chunks[max(over, 0) :]):
        legend += "; pale: not learned yet"
    axes.set_title(legend, loc="right", fontsize=9, color=GREY)
    set_title(figure, title)
    return figure


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
        axes.imshow(picture, interpolation="antialiased")  # sharp pixels when enlarged, no jags when made smaller
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(LIGHT)
        axes.set_xlabel(caption, fontsize=9.5, labelpad=4, color=INK)
    set_title(figure, title)
    return figure


def _after(chunks: int, score: float | None) -> str:
    if score is None or math.isnan(score):
        return f"after chunk {chunks}"
    return f"after chunk {chunks}: {decibels(score, 1)} dB"


# Animations


def frames_gif(path: str | Path, looks: Mapping[str, Looks], chunk_frames: int, title: str) -> None:
    """Writes a page of bars per look, a bar per frame, strategies below each other, about eight seconds long.

    The frames of the chunk learned last are black. Of many looks sixty are shown; a strategy without a look at a moment
    shows its last one by then.

    Args:
        path: the GIF.
        looks: per strategy, one to four of them, its looks in order: (chunks learned so far, PSNR (dB) of each of the
            N train frames seen by then, in the order seen). None or NaN is left blank; infinite is drawn at the top.
        chunk_frames: frames per chunk.
        title: above the bars.
    """
    _write_gif(path, [sheet.image for sheet in _frames_pages(looks, chunk_frames, title)])


def chunk_bars_gif(path: str | Path, rows: Sequence[tuple[int, Chunks]], title: str) -> None:
    """Writes a page of bars per row, a bar per test view, chunk by chunk, about eight seconds long.

    Args:
        path: the GIF.
        rows: in order (chunks learned so far, per chunk the PSNR (dB) of each of its test views, empty where it has
            none); of many sixty are shown.
        title: above the bars.
    """
    _write_gif(path, [sheet.image for sheet in _chunk_pages(rows, title)])


def _write_gif(path: str | Path, pages: Sequence[Image]) -> None:
    data = b""
    for most_pages, colours in ((MOST_PAGES, 256), (MOST_PAGES, 64), (40, 64), (20, 32)):
        flat = _flattened([pages[k] for k in evenly(len(pages), most_pages)], colours)
        each = min(LONGEST_PAGE, PLAY_SECONDS / max(1, len(flat) - 1))
        durations = [round(each * 100) * 10] * (len(flat) - 1) + [round(HOLD_SECONDS * 1000)]
        buffer = io.BytesIO()
        flat[0].save(
            buffer, format="GIF", save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=True,
            disposal=1,
        )  # fmt: skip
        data = buffer.getvalue()
        if len(data) <= MOST_BYTES:
            break
    with written_aside(path) as aside:
        aside.write_bytes(data)


class _Sheet:
    """A page with bars; remembers where it wrote."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.texts: list[tuple[str, tuple[float, float, float, float]]] = []  # with left, top, right, bottom in pixels

    def text(self, x: float, y: float, text: str, size: int, colour: str = INK, anchor: str = "lm") -> float:
        """Writes a text and returns where it ends, at the right."""
        font = _font(size)
        box = self.draw.textbbox((x, y), text, font=font, anchor=anchor)
        self.draw.rectangle((box[0] - 2, box[1], box[2] + 2, box[3]), fill="white")  # no grid line goes through it
        self.draw.text((x, y), text, fill=colour, font=font, anchor=anchor)
        self.texts.append((text, box))
        return box[2]

    def head(self, title: str, right: str) -> None:
        """The title, as large as there is room, and at the right what is counted."""
        end = self.image.width - _RIGHT
        self.fitted(10, 18, title, 17, end - 24 - _font(17).getlength(right))
        self.text(end, 18, right, 17, anchor="rm")

    def fitted(self, x: float, y: float, text: str, size: int, right: float) -> float:
        """Writes a text that ends before `right`: smaller if need be, and then cut. Returns where it ends."""
        least = size - 4
        while size > least and x + _font(size).getlength(text) > right:
            size -= 1
        while len(text) > 1 and x + _font(size).getlength(text) > right:
            text = text.removesuffix("…")[:-1] + "…"
        return self.text(x, y, text, size)

    def scale(self, left: int, right: int, top: int, bottom: int, ceiling: float) -> None:
        """Grid lines of whole decibels with their figures, and the ground line."""
        step = next((s for s in (5, 10, 20, 50) if (bottom - top) * s / ceiling >= 19), 100)
        for value in range(0, int(ceiling) + 1, step):
            y = bottom - round((bottom - top) * value / ceiling)
            self.draw.line((left, y, right, y), fill=TRACK if value else GREY)
            self.text(left - 6, y, f"{value} dB" if value + step > ceiling else str(value), 12, GREY, "rm")

    def bar(self, left: int, right: int, height: int, bottom: int, colour: str) -> None:
        """A bar, its last column included, `height` pixels high."""
        if height > 0:
            self.draw.rectangle((left, bottom - height, right, bottom - 1), fill=colour)


def _frames_pages(looks: Mapping[str, Looks], chunk_frames: int, title: str) -> list[_Sheet]:
    runs = _tidied(looks)
    moments = sorted({chunks for rows in runs.values() for chunks, _ in rows})
    frames = max((len(values) for rows in runs.values() for _, values in rows), default=1)
    ceiling = _ceiling(value for rows in runs.values() for _, values in rows for value in values.tolist())
    pages = []
    for k in evenly(len(moments), MOST_PAGES):
        last = {
            name: next((row for row in reversed(rows) if row[0] <= moments[k]), None) for name, rows in runs.items()
        }
        pages.append(_frames_page(last, frames, ceiling, chunk_frames, title))
    return pages or [_frames_page({}, frames, ceiling, chunk_frames, title)]


def _frames_page(
    last: Mapping[str, tuple[int, np.ndarray] | None], frames: int, ceiling: float, chunk_frames: int, title: str
) -> _Sheet:
    """One page: header; per strategy its name, the mean, bars; the axis of frames below."""
    pitch = _PLOT // frames
    plot = pitch * frames if pitch >= 4 else _PLOT
    high = {1: 260, 2: 170, 3: 125}.get(max(1, len(last)), 100)
    each = _NAME + high + 10
    sheet = _Sheet(_LEFT + plot + _RIGHT, _HEADER + each * max(1, len(last)) + _FOOT)
    seen = max((len(row[1]) for row in last.values() if row), default=0)
    sheet.head(title, f"{seen:,} frames seen" if seen != 1 else "1 frame seen")
    columns = min(frames, plot)
    edges = _edges(frames, columns)
    bottom = _HEADER
    for i, (name, row) in enumerate(last.items()):
        top = _HEADER + i * each + _NAME
        bottom = top + high
        sheet.scale(_LEFT, _LEFT + plot - 1, top, bottom, ceiling)
        values = row[1] if row else np.empty(0)
        mean = _mean(values)
        text = "nothing seen" if math.isnan(mean) else f"mean of the frames seen: {_plain(mean)} dB"
        room = _LEFT + plot - _font(14).getlength(text) - 24 - (190 if i == 0 else 0)
        sheet.text(_LEFT + plot, top - 15, text, 14, anchor="rm")
        sheet.draw.rectangle((_LEFT, top - 21, _LEFT + 11, top - 10), fill=colour_of(i))
        end = sheet.fitted(_LEFT + 18, top - 15, name, 14, room)
        if i == 0:
            sheet.draw.rectangle((end + 18, top - 21, end + 29, top - 10), fill=INK)
            sheet.text(end + 36, top - 15, "chunk learned last", 14, GREY)
        new = (row[0] - 1) * chunk_frames if row else frames
        means = _block_means(_padded(np.minimum(values, ceiling), frames), edges)
        for c in np.flatnonzero(means > 0.0).tolist():
            x0, x1 = _LEFT + round(plot * c / columns), _LEFT + round(plot * (c + 1) / columns) - 1
            if pitch >= 4:
                x1 -= 1
                spare = max(0, x1 - x0 + 1 - _WIDEST_BAR)
                x0, x1 = x0 + spare // 2, x1 - (spare + 1) // 2
            colour = INK if edges[c + 1] > new else colour_of(i)
            sheet.bar(x0, x1, round(high * float(means[c]) / ceiling), bottom, colour)
    for number in _numbers(frames, 10):
        sheet.text(_LEFT + plot * (number - 0.5) / frames, bottom + 11, f"{number:,}", 12, GREY, "mm")
    sheet.text(_LEFT + plot / 2, bottom + 31, "frame, in the order seen (bars: PSNR)", 13, GREY, "mm")
    return sheet


def _chunk_pages(rows: Sequence[tuple[int, Chunks]], title: str) -> list[_Sheet]:
    tidy = [(over, [_cleaned(values) for values in chunks]) for over, chunks in rows]
    count = max((len(chunks) for _, chunks in tidy), default=1) or 1
    ceiling = _ceiling(value for _, chunks in tidy for values in chunks for value in values.tolist())
    pages = [_chunk_page(*tidy[k], count, ceiling, title) for k in evenly(len(tidy), MOST_PAGES)]
    return pages or [_chunk_page(0, [], count, ceiling, title)]


def _chunk_page(over: int, chunks: Sequence[np.ndarray], count: int, ceiling: float, title: str) -> _Sheet:
    """One page: header; per chunk its bars with their mean; chunk numbers below."""
    slot = max(6, _PLOT // count)
    plot, high, over_bars = slot * count, 230, 10
    top = _HEADER + _NAME + over_bars
    bottom = top + high
    sheet = _Sheet(_LEFT + plot + _RIGHT, bottom + _FOOT)
    sheet.head(title, f"{over} of {count} chunks learned")
    sheet.text(_LEFT, _HEADER + 8, _learned_text(chunks, over).replace("∞", "inf"), 14)
    sheet.scale(_LEFT, _LEFT + plot - 1, top, bottom, ceiling)
    apart = -(-34 // slot)
    for k, values in enumerate(chunks):
        left = _LEFT + k * slot + max(1, slot // 20)
        width = slot - 2 * max(1, slot // 20)
        columns = min(max(len(values), 1), width)
        pitch = width / columns
        means = _block_means(np.minimum(values, ceiling), _edges(len(values), columns)) if len(values) else values
        learned = k < over
        for c in np.flatnonzero(means > 0.0).tolist():
            x0, x1 = left + round(pitch * c), left + round(pitch * (c + 1)) - (2 if pitch >= 4 else 1)
            spare = max(0, x1 - x0 + 1 - _WIDEST_BAR)
            x0, x1 = x0 + spare // 2, x1 - (spare + 1) // 2
            sheet.bar(x0, x1, round(high * float(means[c]) / ceiling), bottom, _chunk_colour(k, count, learned))
        mean = _mean(values)
        if math.isnan(mean) and slot >= 34:
            sheet.text(left + width / 2, bottom - 10, "none", 12, GREY, "mm")
        if learned and not math.isnan(mean):
            y = bottom - round(high * max(0.0, min(mean, ceiling)) / ceiling)
            sheet.draw.rectangle((left, y - 2, left + width - 1, y + 2), fill="white")
            sheet.draw.rectangle((left, y - 1, left + width - 1, y + 1), fill=INK)
            if k % apart == 0:
                # Where a figure is wider than its bars it goes above those beside it, too.
                beside = chunks[max(0, k - apart + 1) : k + apart]
                highest = max(0.0, *(min(v, ceiling) for near in beside for v in near.tolist() if not math.isnan(v)))
                sheet.text(left + width / 2, bottom - round(high * highest / ceiling) - 10, _plain(mean), 13,
                           anchor="mm")  # fmt: skip
    for number in range(1, count + 1):
        if (number - 1) % apart == 0:
            sheet.text(_LEFT + (number - 0.5) * slot, bottom + 11, str(number), 12, GREY, "mm")
    below = "chunk of the test views (bars: PSNR, line: mean, pale: not learned yet)"
    sheet.text(_LEFT + plot / 2, bottom + 31, below, 13, GREY, "mm")
    return sheet


# What both share


def _cleaned(values: Values) -> np.ndarray:
    """Values as (N,) float64, NaN where there is none."""
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def _tidied(looks: Mapping[str, Looks]) -> dict[str, _Rows]:
    """Looks with values as (N,) arrays, in order; a look at no frames says nothing, of two at one moment the last."""
    runs = {}
    for name, rows in looks.items():
        kept = {chunks: _cleaned(values) for chunks, values in rows if len(values) > 0 and chunks > 0}
        runs[name] = sorted(kept.items())
    return runs


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    """(N,) values as (count,), NaN behind them."""
    return np.concatenate([values, np.full(count - len(values), np.nan)])


def _edges(count: int, most: int) -> np.ndarray:
    """Where at most `most` blocks of `count` things, about equally long, begin, and where the last ends."""
    blocks = min(count, most)
    return np.arange(blocks + 1) * count // blocks


def _block_means(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(B,) means of the values that there are in each of B blocks, NaN where there are none."""
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), edges[:-1])
    counts = np.add.reduceat(known.astype(np.int64), edges[:-1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that there are, NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _colour_span(values: Iterable[float]) -> tuple[tuple[float, float], str]:
    """Ends of the colour scale, without what is far off, and where something lies beyond them."""
    finite = np.array([value for value in values if math.isfinite(value)])
    if not finite.size:
        return (0.0, 1.0), "neither"
    # A few frames far off would take the colours from all others.
    near, far = np.percentile(finite, (1.0, 99.0))
    low, high = max(finite.min(), near - 2.0), min(finite.max(), far + 2.0)
    low = min(low, high - LEAST_SPAN)
    below, above = bool((finite < low).any()), bool((finite > high).any())
    return (float(low), float(high)), "both" if below and above else "min" if below else "max" if above else "neither"


def _ceiling(values: Iterable[float]) -> float:
    """Upper end of an axis of PSNR: the next multiple of 5 dB."""
    return max(5.0, 5.0 * math.ceil(max((value for value in values if math.isfinite(value)), default=5.0) / 5.0))


def _learned_text(chunks: Sequence[np.ndarray], over: int) -> str:
    learned = [values for values in chunks[: max(over, 0)] if len(values)]
    mean = _mean(np.concatenate(learned)) if learned else math.nan
    if math.isnan(mean):
        return "nothing learned yet"
    return f"mean of all test views of chunks learned so far: {decibels(mean, 1)} dB"


def _plain(value: float) -> str:
    """A PSNR as text in the signs that Pillow's own font has."""
    return decibels(value, 1).replace("∞", "inf")


def _chunk_colour(index: int, count: int, learned: bool) -> str:
    """Chunks go through viridis, so that early and late differ and neighbours too."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    colour = to_hex(colormaps[MAP](0.9 * index / max(1, count - 1)))
    return colour if learned else _tint(colour, 0.78)


def _tint(colour: str, white: float) -> str:
    """A colour with so much white in it."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(c + (255 - c) * white):02x}" for c in channels)


def _numbers(count: int, most: int, *, first: bool = True) -> list[int]:
    """Numbers to write beside `count` things: at most about `most` round ones, and the first if wanted."""
    step = next(s for s in (m * 10**e for e in range(12) for m in (1, 2, 5)) if count / s <= most)
    if first and step == 2:
        return list(range(1, count + 1, 2))
    return sorted({*([1] if first else []), *range(step, count + 1, step)})


@functools.cache
def _font(size: int) -> FreeTypeFont | BitmapFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
