"""What is to be seen in figures and files of pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

Edges = tuple[float, float, float, float]  # left, top or bottom, right, the other


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8, random."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def texts_of(figure: Figure) -> list[tuple[str, Edges]]:
    """What is written in a figure, with its box in pixels; of ticks those that lie on their axis."""
    figure.draw_without_rendering()
    beyond = set()
    for axes in cast("list[Axes]", figure.findobj(Axes)):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    beyond |= {tick.label1, tick.label2}
    found = []
    for text in cast("list[Text]", figure.findobj(Text)):
        if text.get_text() and text.get_visible() and text not in beyond:
            box = Text.get_window_extent(text)  # of an annotation without its arrow
            found.append((text.get_text(), (box.x0, box.y0, box.x1, box.y1)))
    return found


def assert_apart(boxes: Sequence[tuple[str, Edges]]) -> None:
    """No two boxes overlap."""
    for (a, one), (b, two) in itertools.combinations(boxes, 2):
        beside = one[2] <= two[0] + 0.5 or two[2] <= one[0] + 0.5
        below = one[3] <= two[1] + 0.5 or two[3] <= one[1] + 0.5
        assert beside or below, f"{a!r} and {b!r} overlap: {one}, {two}"


def gif_pages(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """The pages of a GIF, (H, W, 3) uint8, and the milliseconds that each is shown."""
    pages, durations = [], []
    with Image.open(path) as image:
        assert image.format == "GIF"
        for k in range(getattr(image, "n_frames", 1)):
            image.seek(k)
            pages.append(np.asarray(image.convert("RGB")))
            durations.append(image.info.get("duration", 0))
    return pages, durations
