"""Animated GIF of one old view during training."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerfcl.files import written_aside
from nerfcl.metrics.image import psnr
from nerfcl.reports.style import COLOURS, INK
from nerfcl.reports.timeline import task_indices

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_FRAMES = 90
MOST_BYTES = 2_000_000
PANEL, SMALL_PANEL = 256, 192  # approximate height in pixels, for up to two strategies and for more
MOST_ABREAST = 6  # panels per row
PLAY_SECONDS = 5.5
HOLD_SECONDS = 1.5

TRACK = "#e4e4e4"
_OWN_COLOURS = ("#ffffff", INK, TRACK, *COLOURS)
Frames = Sequence[tuple[float, np.ndarray]]
_MARGIN, _HEADER, _CAPTION, _TIMELINE = 12, 34, 26, 22


def forgetting_gif(
    path: str | Path,
    runs: Mapping[str, Frames],
    truth: np.ndarray,
    tasks: Sequence[str],
    steps: int,
    unit: str = "steps",
) -> None:
    """Animate ground truth and renderings during training, in rows of at most six panels, for about seven seconds.

    Args:
        path: GIF to write.
        runs: by label, (fractional number of tasks so far, (H, W, 3) uint8 rendering) in order; at least one run with
            at least one rendering. Frames follow the first run; other runs show their latest rendering at that time.
        truth: ground truth, (H, W, 3) uint8.
        tasks: task names.
        steps: length of a task in `unit`.
        unit: "steps" or "epochs".
    """
    moments = [x for x, _ in next(iter(runs.values()))]
    indices = task_indices(moments)
    data = b""
    for most_frames, colours in ((MOST_FRAMES, 256), (60, 256), (60, 128), (40, 64)):
        chosen = evenly(len(moments), most_frames)
        pages = [
            _page(moments[k], {name: _last_by(moments[k], frames) for name, frames in runs.items()}, truth, tasks,
                  indices[k], steps, unit)
            for k in chosen
        ]  # fmt: skip
        data = _encode(pages, colours)
        if len(data) <= MOST_BYTES:
            break
    with written_aside(path) as aside:
        aside.write_bytes(data)


def _last_by(moment: float, frames: Frames) -> np.ndarray:
    """Return the latest frame at a moment, or the first frame."""
    return [frame for x, frame in frames if x <= moment + 1e-9 or x == frames[0][0]][-1]


def evenly(count: int, most: int) -> list[int]:
    """Spread at most `most` indices evenly over `count`, including the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]


def _encode(pages: Sequence[Image], colours: int) -> bytes:
    flat = flattened(pages, colours)
    each = round(min(500.0, max(20.0, PLAY_SECONDS * 1000.0 / max(1, len(flat) - 1))) / 10.0) * 10
    durations = [each] * (len(flat) - 1) + [round(HOLD_SECONDS * 1000.0)]
    buffer = io.BytesIO()
    flat[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=flat[1:],
        duration=durations,
        loop=0,
        optimize=True,
        disposal=1,
    )
    return buffer.getvalue()


def flattened(pages: Sequence[Image], colours: int) -> list[Image]:
    """Quantise all pages to one palette, so that nothing flickers and unchanged pixels cost nothing."""
    from PIL import Image, ImageColor

    sample = [pages[k] for k in evenly(len(pages), 9)]
    width, height = pages[0].size
    sheet = Image.new("RGB", (width, height * len(sample)))
    for k, page in enumerate(sample):
        sheet.paste(page, (0, k * height))
    own = [ImageColor.getrgb(colour)[:3] for colour in _OWN_COLOURS]
    adapted = sheet.quantize(colours - len(own), method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in own for channel in colour] + adapted)
    flat = []
    for page in pages:
        indices = np.array(page.quantize(palette=palette, dither=Image.Dither.NONE))
        packed = np.asarray(page).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
        # Pillow's colour search is coarse; without this, white would become an off-white.
        for index, (red, green, blue) in enumerate(own):
            indices[packed == (red << 16 | green << 8 | blue)] = index
        flat.append(Image.fromarray(indices))
        flat[-1].putpalette(palette.getpalette() or [])
    return flat


def _page(
    x: float,
    frames: Mapping[str, np.ndarray],
    truth: np.ndarray,
    tasks: Sequence[str],
    task: int,
    steps: int,
    unit: str,
) -> Image:
    """Draw one page: header, ground truth and renderings with captions, timeline."""
    from PIL import Image, ImageDraw, ImageFont

    height = PANEL if len(frames) < 3 else SMALL_PANEL
    panels = [("truth", "", _scaled(truth, height))]
    for name, frame in frames.items():
        panels.append((name, f": {psnr(frame, truth):.1f} dB", _scaled(frame, height)))
    each = panels[0][2]
    rows = math.ceil(len(panels) / MOST_ABREAST)
    abreast = math.ceil(len(panels) / rows)
    width = max(abreast * each.width + (abreast + 1) * _MARGIN, 400)
    gap = (width - abreast * each.width) // (abreast + 1)
    row_height = each.height + _CAPTION
    page = Image.new("RGB", (width, _HEADER + rows * row_height + (rows - 1) * _MARGIN + _TIMELINE), "white")
    draw = ImageDraw.Draw(page)
    large, small = ImageFont.load_default(17), ImageFont.load_default(15)

    task = min(task, len(tasks) - 1)
    draw.rectangle((gap, 11, gap + 11, 22), fill=COLOURS[task % len(COLOURS)])
    draw.text((gap + 19, 17), f"training on {tasks[task]}", fill=INK, font=large, anchor="lm")
    draw.text((width - gap, 17), f"{unit.removesuffix('s')} {round(x * steps):,}", fill=INK, font=large, anchor="rm")
    for i, (name, score, picture) in enumerate(panels):
        x0, y0 = gap + i % abreast * (each.width + gap), _HEADER + i // abreast * (row_height + _MARGIN)
        page.paste(picture, (x0, y0))
        bottom = y0 + each.height
        draw.rectangle((x0 - 1, y0 - 1, x0 + each.width, bottom), outline=TRACK)
        room = each.width + gap - 6 - small.getlength(score)
        caption = shortened(name, room, small.getlength) + score
        draw.text((x0 + each.width // 2, bottom + _CAPTION // 2 + 1), caption, fill=INK, font=small, anchor="mm")
    _draw_timeline(page, x, len(tasks), gap, page.height - _TIMELINE + 5)
    return page


def shortened(text: str, room: float, width_of: Callable[[str], float]) -> str:
    """Shorten a text to a maximum width, with an ellipsis if anything is cut.

    Args:
        text: text to shorten.
        room: maximum width.
        width_of: measures the width of a text, in the same unit.
    """
    if width_of(text) <= room:
        return text
    return next((short for n in range(len(text) - 1, 0, -1) if width_of(short := f"{text[:n]}…") <= room), "…")


def _draw_timeline(page: Image, x: float, count: int, gap: int, top: int) -> None:
    """Draw a progress bar with a section for each task."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(page)
    length = page.width - 2 * gap
    for i in range(count):
        begin, end = gap + round(length * i / count), gap + round(length * (i + 1) / count) - 3
        draw.rectangle((begin, top, end, top + 6), fill=TRACK)
        done = min(max(x - i, 0.0), 1.0)
        if done > 0.0:
            draw.rectangle((begin, top, begin + round((end - begin) * done), top + 6), fill=COLOURS[i % len(COLOURS)])


def _scaled(image: np.ndarray, height: int) -> Image:
    """Scale an image to about `height` pixels, by an integer factor so that pixels stay square and sharp."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    factor = max(1, round(height / picture.height))
    if factor > 1:
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    shrink = max(1, round(picture.height / height))
    return picture.reduce(shrink) if shrink > 1 else picture
