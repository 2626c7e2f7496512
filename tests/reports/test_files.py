"""What is written is whole or not there, with an error that names it; writing it again gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest

from nerfcl.errors import NerfclError
from nerfcl.files import write_json
from nerfcl.reports.comparison.bytes import bytes_figure
from nerfcl.reports.comparison.figures import comparison_curves_figure, comparison_figure
from nerfcl.reports.html.page import html_report
from nerfcl.reports.run.animation import forgetting_gif
from nerfcl.reports.run.figures import curves_figure, matrix_figure, views_figure
from nerfcl.reports.stream.animation import chunk_bars_gif, frames_gif
from nerfcl.reports.stream.figures import chunk_bars_figure, evolution_figure, frames_figure, seen_curve_figure
from reports.summaries import CURVE, TWO, comparison, single, two_summaries
from support.pictures import noise

IMAGE, OTHER = noise(8, 8), noise(8, 8, 1)
BOTH = two_summaries()
LOGS = {name: [(1, [30.0, 29.0]), (2, [25.0, 24.0, 31.0, 30.0])] for name in ("finetune", "replay")}

WRITERS: dict[str, Callable[[Path], object]] = {
    "results.json": lambda path: write_json(path, {"a": 1}),
    "matrix.png": lambda path: matrix_figure(path, [[30.0, 12.0]], TWO, "t"),
    "curves.png": lambda path: curves_figure(path, CURVE, TWO, 100, "t"),
    "views.png": lambda path: views_figure(path, [IMAGE], [[OTHER]], [[9.0]], TWO, "t"),
    "forgetting.gif": lambda path: forgetting_gif(path, {"replay": [(1.0, IMAGE)]}, IMAGE, TWO, 100),
    "comparison.png": lambda path: comparison_figure(path, [single("replay", [[30.0, 12.0], [29.0, 29.0]])], TWO, "t"),
    "both.png": lambda path: comparison_curves_figure(path, {"replay": CURVE}, TWO, 100, "t"),
    "bytes.png": lambda path: bytes_figure(path, comparison(BOTH), [BOTH[:1], BOTH[1:]]),
    "report.html": lambda path: html_report(path, comparison(BOTH)),
    "frames.png": lambda path: frames_figure(path, LOGS, 2, "t"),
    "curve.png": lambda path: seen_curve_figure(path, LOGS, "t"),
    "frames.gif": lambda path: frames_gif(path, LOGS, 2, "t"),
    "chunks.png": lambda path: chunk_bars_figure(path, [[30.0], [20.0]], 1, "t"),
    "chunks.gif": lambda path: chunk_bars_gif(path, [(1, [[30.0], [20.0]])], "t"),
    "view.png": lambda path: evolution_figure(path, IMAGE, [(1, OTHER, 30.0)], "t"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_file_is_whole_and_the_same_each_time_or_not_there(tmp_path: Path, name: str) -> None:
    settings = dict(matplotlib.rcParams)
    WRITERS[name](tmp_path / name)
    first = (tmp_path / name).read_bytes()
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert dict(matplotlib.rcParams) == settings, "figures leave the global settings alone"
    assert [path.name for path in tmp_path.iterdir()] == [name]

    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()  # a folder is in the way: the renaming fails, even for root
    with pytest.raises(NerfclError, match=re.escape(str(tmp_path / name))):
        WRITERS[name](tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
