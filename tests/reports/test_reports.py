"""Pictures, tables, progress and events, read back from what was written."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from nerfcl.errors import NerfclError
from nerfcl.files import write_json, written_aside
from nerfcl.reports import progress
from nerfcl.reports.run.animation import evenly, forgetting_gif
from nerfcl.reports.comparison.figures import comparison_curves_figure, comparison_figure
from nerfcl.reports.run.figures import curves_figure, matrix_figure, views_figure
from nerfcl.reports.live.progress import ProgressBar, duration
from nerfcl.reports.style import kept_apart
from nerfcl.reports.tables import ComparisonRow, comparison_table, human_bytes, print_table, run_table
from nerfcl.reports.live.tensorboard import TensorBoardWriter
from nerfcl.reports.timeline import pieces, task_indices
from nerfcl.training.learner import History, Learner, StepReport

TWO = ["right", "left"]
TEN = [f"sector {i + 1}/10" for i in range(10)]
CURVE = [(0.5, [25.0, 12.0]), (1.0, [30.0, 13.0]), (1.5, [24.0, 26.0]), (2.0, [22.0, 30.0])]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def row(strategy: str, final: list[float], drop: float, std: float = 0.0, kept: float = 0.0) -> ComparisonRow:
    return ComparisonRow(
        strategy=strategy,
        final=final,
        final_std=[std] * len(final),
        drop=drop,
        drop_std=2.0 * std,
        seconds=31.4,
        memory_bytes=kept,
    )


def step_report(step: int, *, task: str = "right", loss: float | None = 0.01, seconds: float = 1.0) -> StepReport:
    return StepReport(
        step=step,
        last_step=40,
        task=task,
        epoch=0,
        losses=None if loss is None else {"new": loss, "psnr": 21.5},
        learning_rate=0.02,
        rays=1024,
        samples=8192,
        seconds=seconds,
    )


def shown(path: Path) -> np.ndarray:
    """The PNG's pixels, after a look that there is something on a white ground."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).all(), "the ground is white up to the edges"
    assert (pixels != 255).any(-1).mean() > 0.01, "something is drawn"
    return pixels


def has_colour(pixels: np.ndarray, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((pixels == wanted).all(-1).any())


# Files


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "picture.png"
    with written_aside(target) as aside:
        assert aside.parent == target.parent
        assert aside.suffix == ".png"
        aside.write_bytes(b"half")
        assert not target.exists()
        aside.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"

    def write_and_fail() -> None:
        with written_aside(target) as aside:
            aside.write_bytes(b"half")
            raise ValueError("on the way")

    with pytest.raises(ValueError, match="on the way"):
        write_and_fail()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


WRITERS: dict[str, Callable[[Path], object]] = {
    "matrix.png": lambda path: matrix_figure(path, [[30.0, 12.0]], TWO, "t"),
    "curves.png": lambda path: curves_figure(path, CURVE, TWO, 100, "t"),
    "views.png": lambda path: views_figure(path, [picture(8, 8)], [[picture(8, 8, 1)]], [[9.0]], TWO, "t"),
    "forgetting.gif": lambda path: forgetting_gif(path, {"replay": [(1.0, picture(8, 8))]}, picture(8, 8), TWO, 100),
    "comparison.png": lambda path: comparison_figure(path, [row("replay", [30.0, 29.0], -1.0)], TWO, "t"),
    "both.png": lambda path: comparison_curves_figure(path, {"replay": CURVE}, TWO, 100, "t"),
    "results.json": lambda path: write_json(path, {"a": 1}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_failing_write_names_the_file_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()  # a folder is in the way: the renaming fails, even for root
    with pytest.raises(NerfclError, match=re.escape(str(tmp_path / name))):
        WRITERS[name](tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NerfclError, match=r"file/results\.json"):
        write_json(tmp_path / "file" / "results.json", {})


def test_json_is_indented_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"R": [[31.5]], "strategy": "replay"})
    assert path.read_text() == '{\n  "R": [\n    [\n      31.5\n    ]\n  ],\n  "strategy": "replay"\n}\n'
    for bad in (math.nan, math.inf, object()):
        with pytest.raises(NerfclError, match=r"results\.json"):
            write_json(path, {"R": bad})
    assert json.loads(path.read_text())["R"] == [[31.5]]
    assert list(tmp_path.iterdir()) == [path]


# Figures


@pytest.mark.parametrize("tasks", [TWO[:1], TWO, TEN])
def test_matrix_and_curves_for_one_two_and_ten_tasks(tmp_path: Path, tasks: list[str]) -> None:
    n = len(tasks)
    R = [[30.0 - abs(i - j) for j in range(n)] for i in range(n)]
    matrix_figure(tmp_path / "matrix.png", R, tasks, "replay")
    matrix = shown(tmp_path / "matrix.png")
    assert has_colour(matrix, "#fde725") or n == 1, "the best cell has the brightest colour of viridis"
    assert 0.9 < matrix.shape[1] / matrix.shape[0] < 2.6

    curve = [(k / 4, [20.0 + j + k / 8 for j in range(n)]) for k in range(1, 4 * n + 1)]
    curves_figure(tmp_path / "curves.png", curve, tasks, 500, "replay")
    curves = shown(tmp_path / "curves.png")
    assert 1.6 < curves.shape[1] / curves.shape[0] < 2.3
    for colour in ("#0072B2", "#D55E00", "#009E73")[:n]:
        assert has_colour(curves, colour)


def test_figures_leave_the_global_settings_alone(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    WRITERS["matrix.png"](tmp_path / "m.png")
    WRITERS["comparison.png"](tmp_path / "c.png")
    assert dict(matplotlib.rcParams) == before


def test_an_interrupted_run_and_infinite_scores_can_be_drawn(tmp_path: Path) -> None:
    matrix_figure(tmp_path / "matrix.png", [[math.inf, 12.0]], TWO, "replay")
    shown(tmp_path / "matrix.png")
    curves_figure(tmp_path / "curves.png", CURVE[:1], TWO, 100, "replay")
    shown(tmp_path / "curves.png")
    curves_figure(tmp_path / "none.png", [], TWO, 100, "replay")


@pytest.mark.parametrize(("height", "width"), [(24, 24), (16, 40), (40, 16)])
def test_views_keep_their_aspect_and_their_pixels(tmp_path: Path, height: int, width: int) -> None:
    # A truth of one colour that occurs nowhere else: its area in the figure is the area of the first column.
    truth = np.full((height, width, 3), (12, 200, 34), dtype=np.uint8)
    renderings = [[picture(height, width, seed)] * 2 for seed in (1, 2)]
    views_figure(tmp_path / "views.png", [truth, truth], renderings, [[20.0, 20.0], [18.0, 18.0]], TWO, "right")
    pixels = shown(tmp_path / "views.png")
    rows, columns = np.nonzero((pixels == (12, 200, 34)).all(-1))
    lines = np.unique(rows)
    gap = int(np.argmax(np.diff(lines)))  # between the first view and the second
    upper = rows <= lines[gap]
    seen = (np.ptp(columns[upper]) + 1) / (np.ptp(rows[upper]) + 1)
    assert seen == pytest.approx(width / height, rel=0.03)
    assert (~upper).sum() == pytest.approx(upper.sum(), rel=0.03), "both rows have the same size"


def test_of_many_tasks_the_first_and_the_last_two_are_in_the_views(tmp_path: Path) -> None:
    size = 12
    truth = np.full((size, size, 3), 255, dtype=np.uint8)
    marks = [(10 + i, 100, 200 - i) for i in range(5)]
    renderings = [[np.full((size, size, 3), mark, dtype=np.uint8)] for mark in marks]
    views_figure(tmp_path / "views.png", [truth], renderings, [[5.0]] * 5, TEN[:5], "sectors")
    pixels = shown(tmp_path / "views.png")
    assert [bool((pixels == mark).all(-1).any()) for mark in marks] == [True, False, False, True, True]


@pytest.mark.parametrize(("count", "tasks"), [(1, TWO[:1]), (1, TWO), (12, TWO), (12, TEN)])
def test_comparison_grows_with_the_strategies(tmp_path: Path, count: int, tasks: list[str]) -> None:
    rows = [row(f"replay-unlimited-{i}", [25.0 + i / 4] * len(tasks), i - 3.0, std=0.1 * (i % 2)) for i in range(count)]
    comparison_figure(tmp_path / "comparison.png", rows, tasks, "truck")
    pixels = shown(tmp_path / "comparison.png")
    assert 1050 < pixels.shape[1] < 1400
    assert 200 + 40 * count < pixels.shape[0] < 420 + 90 * count


def test_comparison_curves_show_every_strategy(tmp_path: Path) -> None:
    curves = {"finetune": CURVE, "replay-unlimited": [(x, [31.0, v[1]]) for x, v in CURVE], "joint": CURVE}
    comparison_curves_figure(tmp_path / "curves.png", curves, TWO, 1500, "truck")
    pixels = shown(tmp_path / "curves.png")
    assert all(has_colour(pixels, colour) for colour in ("#0072B2", "#D55E00", "#009E73"))


def test_labels_are_kept_apart() -> None:
    assert kept_apart([5.0, 1.0], 1.0, 0.0, 10.0) == [5.0, 1.0]
    # Three wishes at one place spread around it; their order stays.
    assert kept_apart([5.0, 5.0, 5.2], 1.0, 0.0, 10.0) == pytest.approx([5.0667 - 1.0, 5.0667, 5.0667 + 1.0], abs=1e-3)
    # At the upper end they are pushed down, and push on those below.
    assert kept_apart([10.0, 10.0, 8.2], 1.0, 0.0, 10.0) == pytest.approx([9.0, 10.0, 8.0])


def test_looks_belong_to_tasks_and_curves_are_cut_at_restarts() -> None:
    assert task_indices([0.0, 0.5, 1.0, 1.0, 1.5, 2.0]) == [0, 0, 0, 1, 1, 1]
    assert task_indices([1.0, 2.0]) == [0, 1]
    assert list(pieces(CURVE, 0, from_scratch=False)) == [[(0.5, 25.0), (1.0, 30.0), (1.5, 24.0), (2.0, 22.0)]]
    assert list(pieces(CURVE, 1, from_scratch=True)) == [[(0.5, 12.0), (1.0, 13.0)], [(1.5, 26.0), (2.0, 30.0)]]


# The GIF


def gif(path: Path) -> tuple[list[np.ndarray], list[int]]:
    pages, durations = [], []
    with Image.open(path) as image:
        for k in range(getattr(image, "n_frames", 1)):
            image.seek(k)
            pages.append(np.asarray(image.convert("RGB")))
            durations.append(image.info.get("duration", 0))
    return pages, durations


def test_gif_has_few_frames_and_plays_for_seven_seconds(tmp_path: Path) -> None:
    truth = picture(32, 32)
    # 301 frames that go from black to truth, in brightness.
    frames = [(2.0 * k / 300, (truth * (k / 300)).astype(np.uint8)) for k in range(1, 301)]
    path = tmp_path / "forgetting.gif"
    forgetting_gif(path, {"replay": frames}, truth, TWO, 1500)
    pages, durations = gif(path)
    assert 40 <= len(pages) <= 90
    assert 6000 <= sum(durations) <= 8000
    assert durations[-1] == 1500
    assert len(set(durations[:-1])) == 1
    assert path.stat().st_size < 2_000_000

    height, width, _ = pages[0].shape
    assert width >= 2 * 256
    assert height > 256
    # The truth, left, is the same on every page; the rendering, right, gets brighter up to the truth.
    left = [page[34 : 34 + 256, : width // 2] for page in pages]
    right = [page[34 : 34 + 256, width // 2 + 6 : width - 12] for page in pages]
    assert all((panel == left[0]).all() for panel in left)
    means = [panel.mean() for panel in right]
    assert means[0] < 5.0
    assert means == sorted(means)
    # Nearest neighbour by 8: every block of 8x8 pixels has one colour.
    block = left[-1][8:16, 12 + 16 : 12 + 24]
    assert (block == block[0, 0]).all()


def test_gif_of_few_large_frames_and_another_shape(tmp_path: Path) -> None:
    truth = np.zeros((600, 300, 3), dtype=np.uint8)
    frames = [(0.5, truth + np.uint8(9)), (1.0, truth + np.uint8(99)), (2.0, truth + np.uint8(200))]
    forgetting_gif(tmp_path / "few.gif", {"replay": frames}, truth, TWO, 10)
    pages, durations = gif(tmp_path / "few.gif")
    assert durations == [500, 500, 1500]
    assert pages[0].shape[0] < 420
    assert all((page[2:6] == 255).all() for page in pages), "the ground is white, not nearly white"


@pytest.mark.parametrize(("count", "rows", "abreast"), [(2, 1, 3), (5, 1, 6), (6, 2, 4), (14, 3, 5)])
def test_gif_of_many_strategies_has_rows(tmp_path: Path, count: int, rows: int, abreast: int) -> None:
    truth = np.zeros((64, 64, 3), dtype=np.uint8)
    frames = {f"strategy with a long name {k}": [(1.0, truth + np.uint8(10 * k + 10))] for k in range(count)}
    forgetting_gif(tmp_path / "many.gif", frames, truth, TWO, 10)
    page = gif(tmp_path / "many.gif")[0][0]
    side = 256 if count < 3 else 192
    width = abreast * side + (abreast + 1) * 12
    assert page.shape[:2] == (34 + rows * (side + 26) + (rows - 1) * 12 + 22, width)
    captions = page[34 + side + 2 : 34 + side + 24]
    assert (captions[:, :2] == 255).all()
    assert (captions[:, -2:] == 255).all(), "nothing is cut off"
    last = page[34 + (rows - 1) * (side + 38) + 96, 12 + (count - (rows - 1) * abreast) * (side + 12) + 50]
    assert abs(int(last[0]) - 10 * count) < 8


def test_frames_are_chosen_evenly_with_both_ends() -> None:
    assert evenly(3, 90) == [0, 1, 2]
    assert evenly(11, 6) == [0, 2, 4, 6, 8, 10]
    chosen = evenly(1000, 90)
    assert (len(chosen), chosen[0], chosen[-1]) == (90, 0, 999)


# Tables


def cells(table: Any) -> list[list[str]]:
    """Its rows, the headers first."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(line) for line in zip(*columns, strict=True)]


def test_comparison_table_by_hand() -> None:
    rows = [row("finetune", [22.0, 30.126], -9.1), row("replay", [29.5, 29.0], 0.25, kept=245760)]
    assert cells(comparison_table(rows, TWO)) == [
        ["strategy", "right", "left", "change on\nright", "average", "seconds", "kept"],
        ["finetune", "22.00", "30.13", "-9.10", "26.06", "31", "0"],
        ["replay", "29.50", "29.00", "+0.25", "29.25", "31", "240 KB"],
    ]


def test_several_seeds_show_their_deviation() -> None:
    rows = [row("replay", [29.5, 29.0], -1.0, std=0.123)]
    assert cells(comparison_table(rows, TWO))[1][1:4] == ["29.50 ± 0.12", "29.00 ± 0.12", "-1.00 ± 0.25"]


def test_tables_of_many_tasks_stay_narrow() -> None:
    rows = [row("replay", [20.0 + j for j in range(10)], -1.0)]
    head, line = cells(comparison_table(rows, TEN))
    assert head[1:3] == ["sector 1/10", "sector 10/10"]
    assert line[1:5] == ["20.00", "29.00", "-1.00", "24.50"]
    R = [[30.0 - abs(i - j) for j in range(10)] for i in range(10)]
    assert cells(run_table(R, TEN))[3] == ["after sector 3/10", "28.00", "30.00", "23.00", "26.90"]


def test_run_table_by_hand() -> None:
    assert cells(run_table([[31.0, 14.0], [25.5, 30.0]], TWO)) == [
        ["", "right", "left"],
        ["after right", "31.00", "14.00"],
        ["after left", "25.50", "30.00"],
        ["average", "27.75", ""],
        ["backward transfer", "-5.50", ""],
        ["forgetting", "+5.50", ""],
    ]
    assert cells(run_table([[31.0]], ["all"]))[1:] == [["after all", "31.00"], ["average", "31.00"]]


def test_a_table_without_a_terminal_is_plain_and_not_cut() -> None:
    out = io.StringIO()
    rows = [row("replay-unlimited", [29.5, 29.0], -1.0, std=0.1, kept=2.1 * 1024**2)]
    print_table(comparison_table(rows, TWO), Console(file=out, width=40))
    text = out.getvalue()
    assert "\x1b" not in text
    assert "…" not in text
    line = next(line for line in text.splitlines() if "replay-unlimited" in line)
    assert " ".join(line.split()) == "replay-unlimited 29.50 ± 0.10 29.00 ± 0.10 -1.00 ± 0.20 29.25 31 2.1 MB"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (245760, "240 KB"),
        (1024**2 - 1, "1.0 MB"),
        (2202009, "2.1 MB"),
        (10.2 * 1024**2, "10 MB"),
        (3 * 1024**3, "3.0 GB"),
        (5000 * 1024**4, "5000 TB"),
    ],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert human_bytes(count) == text


# Progress


def test_plain_lines_at_the_ends_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("nerfcl.reports.live.progress.time.perf_counter", lambda: clock.now)
    out, history = io.StringIO(), History()
    with ProgressBar("replay", TWO, Console(file=out, width=40)) as bar:
        for step in range(1, 41):
            clock.now += 0.4
            task = "right" if step <= 20 else "left"
            bar.stepped(step_report(step, task=task, loss=0.05 / step if step % 10 == 0 or step == 1 else None))
            if step % 10 == 0:
                history.curve.append((step / 20, [30.0 + step / 100, 20.0 + step / 100]))
                bar.looked(history)
    assert out.getvalue().splitlines() == [
        "replay · right · step 1/40 · loss 0.05000 · PSNR –",
        "replay · right · step 14/40 · loss 0.00500 · PSNR 30.1 dB · 10 s left",
        "replay · left · step 27/40 · loss 0.00250 · PSNR 20.2 dB · 5 s left",
        "replay · left · step 40/40 · loss 0.00125 · PSNR 20.3 dB · took 16 s",
    ]


def test_a_terminal_gets_a_bar_that_is_seldom_drawn() -> None:
    out = io.StringIO()
    with ProgressBar("replay", TWO, Console(file=out, width=100, force_terminal=True)) as bar:
        for step in range(1, 41):
            bar.stepped(step_report(step, loss=0.00123))
    text = out.getvalue()
    assert "replay · right" in text
    assert "40/40" in text
    assert "loss 0.00123" in text
    assert text.count("replay · right") < 8, "the first and the last step, and once more when it stops"


def test_durations_for_people() -> None:
    assert [duration(s) for s in (0.2, 59.4, 59.6, 185, 3599.7, 3720)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "3 min 05 s",
        "1 h 00 min",
        "1 h 02 min",
    ]


# TensorBoard


def events(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={SCALARS: 0, IMAGES: 0})
    accumulator.Reload()
    return accumulator


def scalars(accumulator: Any, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_tensorboard_events_are_what_was_reported(tmp_path: Path) -> None:
    tasks = ["right", "sector 1/10"]
    history, frame = History(), picture(6, 9)
    with TensorBoardWriter(tmp_path, tasks) as writer:
        for step in range(1, 21):
            loss = 0.25 / step if step == 1 or step % 10 == 0 else None
            writer.stepped(step_report(step, loss=loss, seconds=0.5 * step))
            history.steps = step
            if step % 2 == 0:
                history.frames.append((step / 20, frame + np.uint8(step)))
            if step % 10 == 0:
                history.curve.append((step / 20, [20.5 + step, 10.5]))
            if step % 2 == 0:
                writer.looked(history)
        history.R.append([31.25, 12.5])
        history.scored.append(1)
        writer.finished(cast(Learner, SimpleNamespace(history=history, done=1)))
        history.steps = 30
        writer.finished(cast(Learner, SimpleNamespace(history=history, done=2)))  # not scored again: nothing to write

    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == {
        "train/loss",
        "train/psnr",
        "lr",
        "train/samples_per_ray",
        "train/rays_per_second",
        "val/psnr_right",
        "val/psnr_sector_1-10",
        "test/psnr_right",
        "test/psnr_sector_1-10",
    }
    assert scalars(found, "train/loss") == [(1, 0.25), (10, np.float32(0.025)), (20, np.float32(0.0125))]
    assert scalars(found, "train/psnr") == [(1, 21.5), (10, 21.5), (20, 21.5)]
    assert scalars(found, "lr")[0] == (1, np.float32(0.02))
    assert scalars(found, "train/samples_per_ray") == [(1, 8.0), (10, 8.0), (20, 8.0)]
    # 1024 rays every half second; before the first write nothing is known.
    assert scalars(found, "train/rays_per_second") == [(10, 2048.0), (20, 2048.0)]
    assert scalars(found, "val/psnr_right") == [(10, 30.5), (20, 40.5)]
    assert scalars(found, "val/psnr_sector_1-10") == [(10, 10.5), (20, 10.5)]
    assert scalars(found, "test/psnr_right") == [(20, 31.25)]
    assert scalars(found, "test/psnr_sector_1-10") == [(20, 12.5)]

    images = found.Images("watched_view")
    assert [image.step for image in images] == [2, 10, 18], "every fourth of the frames at 2, 4, 6, ..."
    with Image.open(io.BytesIO(images[1].encoded_image_string)) as image:
        assert (np.asarray(image) == frame + np.uint8(10)).all()


def test_tensorboard_tells_the_parts_of_the_loss_apart(tmp_path: Path) -> None:
    parts = {"new": 0.5, "replay": 0.25, "soft": 0.125, "psnr": 3.0}
    with TensorBoardWriter(tmp_path, TWO) as writer:
        writer.stepped(dataclasses.replace(step_report(1), losses={"new": 0.5, "psnr": 2.0}))
        writer.stepped(dataclasses.replace(step_report(2), losses=None))
        writer.stepped(dataclasses.replace(step_report(3), losses=parts, learning_rate=0.5))
    found = events(tmp_path)
    assert scalars(found, "train/loss") == [(1, 0.5), (3, 0.875)]
    assert scalars(found, "train/psnr") == [(1, 2.0), (3, 3.0)]
    assert scalars(found, "train/replay_loss") == [(3, 0.25)]
    assert scalars(found, "train/distill_loss") == [(3, 0.125)]
    assert scalars(found, "lr") == [(1, np.float32(0.02)), (3, 0.5)]


def test_a_resumed_run_writes_no_old_looks_and_forgets_what_was_lost(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path, TWO) as writer:
        for step in (10, 20, 30):
            writer.stepped(step_report(step, loss=1.0))
    history = History(curve=[(1.0, [30.0, 12.0])], frames=[(1.0, picture(4, 4))], steps=20)
    with TensorBoardWriter(tmp_path, TWO, purge_step=20) as writer:
        history.steps = 25
        history.frames.append((1.25, picture(4, 4)))
        writer.looked(history)
        writer.stepped(step_report(30, loss=0.5))
    found = events(tmp_path)
    assert scalars(found, "train/loss") == [(10, 1.0), (30, 0.5)]
    assert "val/psnr_right" not in found.Tags()["scalars"]


def test_tensorboard_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NerfclError, match="file"):
        TensorBoardWriter(tmp_path / "file" / "events", TWO)


def test_tracking_passes_everything_on_in_order_and_tells_when_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress.track(["a", "b"], "letters")) == ["a", "b"]
    assert capsys.readouterr().err == ""
    clock = iter(range(0, 100, 3))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    assert list(progress.track(range(4), "numbers")) == [0, 1, 2, 3]
    assert capsys.readouterr().err.splitlines() == ["numbers 1/4", "numbers 3/4"]
