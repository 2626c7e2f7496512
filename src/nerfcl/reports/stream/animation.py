"""Animated GIFs of the PSNR of every frame and chunk of a stream over time."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerfcl.files import written_aside
from nerfcl.reports.run.animation import TRACK, evenly, flattened, shortened
from nerfcl.reports.stream.values import (
    Chunks,
    Log,
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
from nerfcl.reports.style import GREY, INK, colour_of
from nerfcl.reports.text import decibels

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

MOST_PAGES = 60
MOST_BYTES = 1_500_000
PLAY_SECONDS = 6.2
HOLD_SECONDS = 1.8
LONGEST_PAGE = 0.6  # seconds; maximum for all pages but the last

_PLOT = 800  # approximate width of the bars in pixels
_LEFT, _RIGHT, _HEADER, _NAME, _FOOT = 56, 20, 46, 26, 46
_WIDEST_BAR = 48


def frames_gif(path: str | Path, logs: Mapping[str, Log], chunk_frames: int, title: str) -> None:
    """Draw a page for each entry, with one bar per frame and strategies below each other, for about eight seconds.

    Frames of the latest chunk are black. At most sixty entries are shown; a log without an entry at that time shows its
    latest one.

    Args:
        path: GIF to write.
        logs: one to four logs by label; see `Log`. None and NaN are left blank; infinity is drawn at the top.
        chunk_frames: frames per chunk.
        title: title of the pages.
    """
    _write_gif(path, [sheet.image for sheet in _frames_pages(logs, chunk_frames, title)])


def chunk_bars_gif(path: str | Path, rows: Sequence[tuple[int, Chunks]], title: str) -> None:
    """Draw a page for each row, with one bar per test view, grouped by chunk, for about eight seconds.

    Args:
        path: GIF to write.
        rows: in order, (chunks learned so far, PSNR (dB) of the test views of each chunk; see `Chunks`); at most sixty
            are shown.
        title: title of the pages.
    """
    _write_gif(path, [sheet.image for sheet in _chunk_pages(rows, title)])


def _write_gif(path: str | Path, pages: Sequence[Image]) -> None:
    data = b""
    for most_pages, colours in ((MOST_PAGES, 256), (MOST_PAGES, 64), (40, 64), (20, 32)):
        flat = flattened([pages[k] for k in evenly(len(pages), most_pages)], colours)
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
    """A page with bars, which records the positions of its texts."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.texts: list[tuple[str, tuple[float, float, float, float]]] = []  # left, top, right, bottom in pixels

    def text(self, x: float, y: float, text: str, size: int, colour: str = INK, anchor: str = "lm") -> float:
        """Write a text and return its right edge."""
        font = _font(size)
        box = self.draw.textbbox((x, y), text, font=font, anchor=anchor)
        self.draw.rectangle((box[0] - 2, box[1], box[2] + 2, box[3]), fill="white")  # hides grid lines
        self.draw.text((x, y), text, fill=colour, font=font, anchor=anchor)
        self.texts.append((text, box))
        return box[2]

    def head(self, title: str, right: str) -> None:
        """Write the title, as large as fits, and a counter at the right."""
        end = self.image.width - _RIGHT
        self.fitted(10, 18, title, 17, end - 24 - _font(17).getlength(right))
        self.text(end, 18, right, 17, anchor="rm")

    def fitted(self, x: float, y: float, text: str, size: int, right: float) -> float:
        """Write a text that ends before `right`, made smaller and then cut if necessary; return its right edge."""
        least = size - 4
        while size > least and x + _font(size).getlength(text) > right:
            size -= 1
        return self.text(x, y, shortened(text, right - x, _font(size).getlength), size)

    def scale(self, left: int, right: int, top: int, bottom: int, ceiling: float) -> None:
        """Draw labelled grid lines, in dB, and the base line."""
        step = next((s for s in (5, 10, 20, 50) if (bottom - top) * s / ceiling >= 19), 100)
        for value in range(0, int(ceiling) + 1, step):
            y = bottom - round((bottom - top) * value / ceiling)
            self.draw.line((left, y, right, y), fill=TRACK if value else GREY)
            self.text(left - 6, y, f"{value} dB" if value + step > ceiling else str(value), 12, GREY, "rm")

    def bar(self, left: int, right: int, height: int, bottom: int, colour: str) -> None:
        """Draw a bar from column `left` to `right` inclusive, `height` pixels high."""
        if height > 0:
            self.draw.rectangle((left, bottom - height, right, bottom - 1), fill=colour)


def _frames_pages(logs: Mapping[str, Log], chunk_frames: int, title: str) -> list[_Sheet]:
    runs = tidied(logs)
    moments = sorted({chunks for rows in runs.values() for chunks, _ in rows})
    frames = max((len(values) for rows in runs.values() for _, values in rows), default=1)
    ceiling = ceiling_of(value for rows in runs.values() for _, values in rows for value in values.tolist())
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
    """Draw one page: header; name, mean and bars of each strategy; frame axis."""
    pitch = _PLOT // frames
    plot = pitch * frames if pitch >= 4 else _PLOT
    high = {1: 260, 2: 170, 3: 125}.get(max(1, len(last)), 100)
    each = _NAME + high + 10
    sheet = _Sheet(_LEFT + plot + _RIGHT, _HEADER + each * max(1, len(last)) + _FOOT)
    seen = max((len(row[1]) for row in last.values() if row), default=0)
    sheet.head(title, f"{seen:,} frames seen" if seen != 1 else "1 frame seen")
    columns = min(frames, plot)
    edges = block_edges(frames, columns)
    bottom = _HEADER
    for i, (name, row) in enumerate(last.items()):
        top = _HEADER + i * each + _NAME
        bottom = top + high
        sheet.scale(_LEFT, _LEFT + plot - 1, top, bottom, ceiling)
        values = row[1] if row else np.empty(0)
        mean = mean_known(values)
        text = "nothing seen" if math.isnan(mean) else f"mean of the frames seen: {_plain(mean)} dB"
        room = _LEFT + plot - _font(14).getlength(text) - 24 - (190 if i == 0 else 0)
        sheet.text(_LEFT + plot, top - 15, text, 14, anchor="rm")
        sheet.draw.rectangle((_LEFT, top - 21, _LEFT + 11, top - 10), fill=colour_of(i))
        end = sheet.fitted(_LEFT + 18, top - 15, name, 14, room)
        if i == 0:
            sheet.draw.rectangle((end + 18, top - 21, end + 29, top - 10), fill=INK)
            sheet.text(end + 36, top - 15, "latest chunk", 14, GREY)
        new = (row[0] - 1) * chunk_frames if row else frames
        means = block_means(padded(np.minimum(values, ceiling), frames), edges)
        for c in np.flatnonzero(means > 0.0).tolist():
            x0, x1 = _LEFT + round(plot * c / columns), _LEFT + round(plot * (c + 1) / columns) - 1
            if pitch >= 4:
                x1 -= 1
                spare = max(0, x1 - x0 + 1 - _WIDEST_BAR)
                x0, x1 = x0 + spare // 2, x1 - (spare + 1) // 2
            colour = INK if edges[c + 1] > new else colour_of(i)
            sheet.bar(x0, x1, round(high * float(means[c]) / ceiling), bottom, colour)
    for number in round_numbers(frames, 10):
        sheet.text(_LEFT + plot * (number - 0.5) / frames, bottom + 11, f"{number:,}", 12, GREY, "mm")
    sheet.text(_LEFT + plot / 2, bottom + 31, "frame, in the order seen (bars: PSNR)", 13, GREY, "mm")
    return sheet


def _chunk_pages(rows: Sequence[tuple[int, Chunks]], title: str) -> list[_Sheet]:
    tidy = [(done, [cleaned(values) for values in chunks]) for done, chunks in rows]
    count = max((len(chunks) for _, chunks in tidy), default=1) or 1
    ceiling = ceiling_of(value for _, chunks in tidy for values in chunks for value in values.tolist())
    pages = [_chunk_page(*tidy[k], count, ceiling, title) for k in evenly(len(tidy), MOST_PAGES)]
    return pages or [_chunk_page(0, [], count, ceiling, title)]


def _chunk_page(done: int, chunks: Sequence[np.ndarray], count: int, ceiling: float, title: str) -> _Sheet:
    """Draw one page: header; bars and mean of each chunk; chunk axis."""
    slot = max(6, _PLOT // count)
    plot, high, over_bars = slot * count, 230, 10
    top = _HEADER + _NAME + over_bars
    bottom = top + high
    sheet = _Sheet(_LEFT + plot + _RIGHT, bottom + _FOOT)
    sheet.head(title, f"{done} of {count} chunks learned")
    sheet.text(_LEFT, _HEADER + 8, learned_text(chunks, done).replace("∞", "inf"), 14)
    sheet.scale(_LEFT, _LEFT + plot - 1, top, bottom, ceiling)
    apart = -(-34 // slot)
    for k, values in enumerate(chunks):
        left = _LEFT + k * slot + max(1, slot // 20)
        width = slot - 2 * max(1, slot // 20)
        columns = min(max(len(values), 1), width)
        pitch = width / columns
        means = block_means(np.minimum(values, ceiling), block_edges(len(values), columns)) if len(values) else values
        learned = k < done
        for c in np.flatnonzero(means > 0.0).tolist():
            x0, x1 = left + round(pitch * c), left + round(pitch * (c + 1)) - (2 if pitch >= 4 else 1)
            spare = max(0, x1 - x0 + 1 - _WIDEST_BAR)
            x0, x1 = x0 + spare // 2, x1 - (spare + 1) // 2
            sheet.bar(x0, x1, round(high * float(means[c]) / ceiling), bottom, chunk_colour(k, count, learned))
        mean = mean_known(values)
        if math.isnan(mean) and slot >= 34:
            sheet.text(left + width / 2, bottom - 10, "none", 12, GREY, "mm")
        if learned and not math.isnan(mean):
            y = bottom - round(high * max(0.0, min(mean, ceiling)) / ceiling)
            sheet.draw.rectangle((left, y - 2, left + width - 1, y + 2), fill="white")
            sheet.draw.rectangle((left, y - 1, left + width - 1, y + 1), fill=INK)
            if k % apart == 0:
                # A number wider than its bars must clear neighbouring bars, too.
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


def _plain(value: float) -> str:
    """Format a PSNR with characters of Pillow's default font."""
    return decibels(value, 1).replace("∞", "inf")


@functools.cache
def _font(size: int) -> FreeTypeFont | BitmapFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
