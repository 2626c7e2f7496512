"""Images and colours for HTML reports."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nerfcl.reports.comparison.summary import ComparisonSummary, Summary, test_after
from nerfcl.reports.style import INK, MAP
from nerfcl.reports.text import decibels

LEAST_ERROR = 8.0  # levels of 0..255; the error of the brightest colour is at least this


@dataclass(frozen=True)
class Pictures:
    """Test views of the pictured task, for the first seed.

    Attributes:
        views: indices among the pictured task's test views.
        heads: column heads: truth, after its task, after the last, error.
        tiles: by label, one row per view of (caption, image as a data URI).
        top: error of the brightest colour, in levels of 0..255.
    """

    views: Sequence[int]
    heads: Sequence[str]
    tiles: Mapping[str, Sequence[Sequence[tuple[str, str]]]]
    top: float


def pictures_of(compared: ComparisonSummary, most: int, side: int) -> Pictures:
    """Collect the images of every configuration, with the largest total drop over all configurations first.

    Args:
        compared: the comparison.
        most: maximum number of views per configuration.
        side: maximum width and height in pixels; larger images are shrunk.
    """
    j = compared.pictured_task

    def lost(view: int) -> float:
        scores = [row.history.psnr for row in compared.summaries]
        first = test_after(j, compared.summaries[0].history.tested)
        return sum(psnr[first][j][view] - psnr[-1][j][view] for psnr in scores)

    views = sorted(compared.truths, key=lost, reverse=True)[:most]
    errors = [_error(row.history.renderings[-1][v], compared.truths[v]) for row in compared.summaries for v in views]
    top = max(LEAST_ERROR, float(np.percentile(np.stack(errors), 99.7)))
    tiles = {row.label: [_tile(compared, row, view, side, top) for view in views] for row in compared.summaries}
    times = [compared.tasks[j], compared.tasks[-1]] if j < len(compared.tasks) - 1 else [compared.tasks[j]]
    return Pictures(views, ["truth", *(f"after {task}" for task in times), "error"], tiles, top)


def png_uri(image: np.ndarray, side: int) -> str:
    """Encode an (H, W, 3) uint8 image as a PNG in a data URI, shrunk if it is larger than `side` pixels."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def heat_colours(low: float, high: float) -> Callable[[float], tuple[str, str]]:
    """Make a function from a cell's value to its background and text colour; the colour map covers `low` to `high`."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps[MAP]

    def colours(value: float) -> tuple[str, str]:
        fraction = min(max((value - low) / (high - low), 0.0), 1.0)
        # Viridis lightens monotonically; above this fraction, dark text has more contrast.
        return to_hex(scale(fraction)), INK if fraction > 0.6 else "#ffffff"

    return colours


def _tile(compared: ComparisonSummary, row: Summary, view: int, side: int, top: float) -> list[tuple[str, str]]:
    j, history, truth = compared.pictured_task, row.history, compared.truths[view]
    name = row.results[0]["views"][row.view_places.index((j, view))]["name"]
    shown = [(name, png_uri(truth, side))]
    for i in sorted({test_after(j, history.tested), len(history.renderings) - 1}):
        shown.append((f"{decibels(history.psnr[i][j][view])} dB", png_uri(history.renderings[i][view], side)))
    error = _coloured(_error(history.renderings[-1][view], truth), top)
    return [*shown, ("error", png_uri(error, side))]


def _error(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the absolute error (H, W), averaged over channels, in levels of 0..255."""
    return np.abs(picture.astype(float) - truth.astype(float)).mean(-1)


def _coloured(error: np.ndarray, top: float) -> np.ndarray:
    from matplotlib import colormaps

    return (colormaps["magma"](np.minimum(error / top, 1.0))[..., :3] * 255.0).round().astype(np.uint8)
