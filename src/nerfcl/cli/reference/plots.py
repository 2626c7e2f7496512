"""Bar charts of train_online.py --save_plots: loss and PSNR of every frame seen so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nerfcl.files import written_aside
from nerfcl.reports.run.animation import evenly
from nerfcl.reports.style import COLOURS, GREY, INK, clean, new_figure, save, set_title
from nerfcl.training.callbacks import Callback
from nerfcl.training.history import History
from nerfcl.training.learner import Learner

_MOST_PAGES = 60
_PLAY_SECONDS, _HOLD_SECONDS, _LONGEST_PAGE = 6.0, 1.8, 0.6
_LONGEST_TITLE = 80


@dataclass(frozen=True)
class Kind:
    """A quantity shown by bars.

    Attributes:
        name: name in file names.
        label: axis label, with unit.
        of: computes the value of a frame from its PSNR (dB).
        ceiling: computes the upper end of the axis from the highest value.
        text: formats a value.
    """

    name: str
    label: str
    of: Callable[[float], float]
    ceiling: Callable[[float], float]
    text: Callable[[float], str]


def _round_above(value: float) -> float:
    """Round up to one of 0.001, 0.002, 0.005, 0.01, ..."""
    return next(m * 10.0**e for e in range(-3, 4) for m in (1, 2, 5) if m * 10.0**e >= value)


KINDS = (
    Kind("loss", "loss (mean squared error)", lambda psnr: 10.0 ** (-psnr / 10.0), _round_above, "{:.5f}".format),
    Kind("psnr", "PSNR (dB)", float, lambda highest: max(40.0, 10.0 * math.ceil(highest / 10.0)), "{:.2f} dB".format),
)


class FramePlots(Callback):
    """Callback that draws plotloss_N.png and plotpsnr_N.png after chunk N, and at the end a GIF of each.

    Args:
        folder: output folder.
        frames: number of frames in the stream.
        chunk_frames: number of frames in a chunk.
        chunks: number of chunks in the stream.
        title: title of the charts.
    """

    def __init__(self, folder: Path, frames: int, chunk_frames: int, chunks: int, title: str) -> None:
        self._folder, self._frames, self._chunk_frames, self._chunks = folder, frames, chunk_frames, chunks
        self._title = title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 1] + "…"
        self.gifs = [folder / f"plot{kind.name}.gif" for kind in KINDS]

    def on_experience_end(self, learner: Learner) -> None:
        """Draw the charts after a chunk."""
        for kind in KINDS:
            self._draw(kind, *learner.history.seen[-1], _ceiling(kind, learner.history.seen))

    def complete(self, history: History) -> None:
        """Draw charts that are missing or whose axis has since grown, and then the GIFs."""
        for kind, gif in zip(KINDS, self.gifs, strict=True):
            ceiling = _ceiling(kind, history.seen)
            for k, (over, psnr) in enumerate(history.seen):
                if _ceiling(kind, history.seen[: k + 1]) < ceiling or not self._file(kind, over).exists():
                    self._draw(kind, over, psnr, ceiling)
            shown = [history.seen[k][0] for k in evenly(len(history.seen), _MOST_PAGES)]
            _write_gif(gif, [self._file(kind, over) for over in shown])

    def _file(self, kind: Kind, over: int) -> Path:
        return self._folder / f"plot{kind.name}_{over}.png"

    def _draw(self, kind: Kind, over: int, psnr: Sequence[float], ceiling: float) -> None:
        from matplotlib.ticker import MaxNLocator

        values = np.array([kind.of(value) for value in psnr])
        numbers = np.arange(1, len(values) + 1)
        new = numbers > (over - 1) * self._chunk_frames
        figure = new_figure(8.0, 3.6)
        set_title(figure, self._title)
        axes = figure.add_subplot()
        for chosen, colour, label in ((~new, COLOURS[0], "earlier chunks"), (new, INK, "chunk learned last")):
            axes.bar(numbers[chosen], np.minimum(values[chosen], ceiling), 0.8, color=colour, label=label)
        mean = float(values.mean())
        axes.axhline(min(mean, ceiling), color=COLOURS[1], linewidth=1.3, label="mean of the frames seen")
        axes.set(xlim=(0.4, self._frames + 0.6), ylim=(0.0, ceiling), ylabel=kind.label)
        axes.set_xlabel("frame, in the order seen")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
        text = f"after chunk {over} of {self._chunks}: {len(values)} of {self._frames} frames, mean {kind.text(mean)}"
        axes.set_title(text, loc="left", fontsize=10.5, color=GREY)
        clean(axes)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
        save(figure, self._file(kind, over))


def _ceiling(kind: Kind, seen: Sequence[tuple[int, list[float]]]) -> float:
    """Return the upper end of the axis for everything seen so far."""
    values = [kind.of(value) for _, psnr in seen for value in psnr]
    return kind.ceiling(max((value for value in values if math.isfinite(value)), default=0.0))


def _write_gif(path: Path, files: Sequence[Path]) -> None:
    pages = []
    for file in files:
        with Image.open(file) as image:
            pages.append(image.convert("RGB"))
    size = (max(page.width for page in pages), max(page.height for page in pages))
    palette = pages[-1].quantize(64)
    flat = []
    for page in pages:
        sheet = Image.new("RGB", size, "white")
        sheet.paste(page)
        flat.append(sheet.quantize(palette=palette, dither=Image.Dither.NONE))
    each = min(_LONGEST_PAGE, _PLAY_SECONDS / max(1, len(flat) - 1))
    durations = [round(each * 100) * 10] * (len(flat) - 1) + [round(_HOLD_SECONDS * 1000)]
    with written_aside(path) as aside:
        flat[0].save(aside, save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=True)
