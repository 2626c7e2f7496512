"""PSNR against seconds of training, before and now, one panel for each scene and size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator, NullFormatter

from nerfcl.reports.style import colour_of, new_figure, save

CURVES = Path(__file__).parents[1] / "docs/images/speed.png"
Line = tuple[str, Sequence[dict[str, Any]]]


def draw_curves(panels: Sequence[tuple[str, Sequence[Line]]], path: Path) -> None:
    """Draw a panel for each title; a line's points have "seconds" and "psnr"."""
    figure = new_figure(3.6 * len(panels), 3.4)
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for index, (name, points) in enumerate(lines):
            seconds, psnr = ([point[key] for point in points] for key in ("seconds", "psnr"))
            axes.plot(seconds, psnr, marker="os"[index % 2], color=colour_of(index), label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(title, fontsize=10.5)
        axes.set_xlabel("training, seconds")
        axes.set_ylabel("PSNR on test views, dB")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, loc="lower right")
    save(figure, path)
