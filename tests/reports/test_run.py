"""One run over tasks: its pictures, its GIF, its table and its results."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nerfcl.errors import NerfclError
from nerfcl.reports.run.animation import evenly, forgetting_gif
from nerfcl.reports.run.figures import curves_figure, matrix_figure, views_figure
from nerfcl.reports.run.results import read_results, results_of
from nerfcl.reports.run.table import run_table
from nerfcl.reports.terminal import print_table
from nerfcl.reports.timeline import pieces, task_indices
from nerfcl.streams.stream import EvaluationGroup, Experience, Stream
from nerfcl.training.history import History
from nerfcl.training.settings import TrainingSettings
from reports.summaries import CURVE, TEN, TWO, cells_of, drawn_in, is_colour
from support.pictures import gif_pages, noise
from support.scenes import numbered_views

# Pictures


@pytest.mark.parametrize("tasks", [TWO[:1], TWO, TEN])
def test_matrix_and_curves_for_one_two_and_ten_tasks(tmp_path: Path, tasks: list[str]) -> None:
    n = len(tasks)
    R = [[30.0 - abs(i - j) for j in range(n)] for i in range(n)]
    matrix_figure(tmp_path / "matrix.png", R, tasks, "replay")
    matrix = drawn_in(tmp_path / "matrix.png")
    assert is_colour(matrix, "#fde725").any() or n == 1, "the best cell has the brightest colour of viridis"
    assert 0.9 < matrix.shape[1] / matrix.shape[0] < 2.6

    curve = [(k / 4, [20.0 + j + k / 8 for j in range(n)]) for k in range(1, 4 * n + 1)]
    curves_figure(tmp_path / "curves.png", curve, tasks, 500, "replay")
    curves = drawn_in(tmp_path / "curves.png")
    assert 1.6 < curves.shape[1] / curves.shape[0] < 2.3
    assert all(is_colour(curves, colour).any() for colour in ("#0072B2", "#D55E00", "#009E73")[:n])


def test_an_interrupted_run_and_infinite_psnr_can_be_drawn(tmp_path: Path) -> None:
    matrix_figure(tmp_path / "matrix.png", [[math.inf, 12.0]], TWO, "replay")
    drawn_in(tmp_path / "matrix.png")
    curves_figure(tmp_path / "curves.png", CURVE[:1], TWO, 100, "replay")
    drawn_in(tmp_path / "curves.png")
    curves_figure(tmp_path / "none.png", [], TWO, 100, "replay")


@pytest.mark.parametrize(("height", "width"), [(24, 24), (16, 40), (40, 16)])
def test_views_keep_their_aspect_and_their_pixels(tmp_path: Path, height: int, width: int) -> None:
    # A truth of one colour that occurs nowhere else: its area in the figure is the area of the first column.
    truth = np.full((height, width, 3), (12, 200, 34), dtype=np.uint8)
    renderings = [[noise(height, width, seed)] * 2 for seed in (1, 2)]
    views_figure(tmp_path / "views.png", [truth, truth], renderings, [[20.0, 20.0], [18.0, 18.0]], TWO, "right")
    rows, columns = np.nonzero(is_colour(drawn_in(tmp_path / "views.png"), "#0cc822"))
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
    pixels = drawn_in(tmp_path / "views.png")
    assert [bool((pixels == mark).all(-1).any()) for mark in marks] == [True, False, False, True, True]


def test_evaluations_belong_to_tasks_and_curves_are_cut_at_restarts() -> None:
    assert task_indices([0.0, 0.5, 1.0, 1.0, 1.5, 2.0]) == [0, 0, 0, 1, 1, 1]
    assert task_indices([1.0, 2.0]) == [0, 1]
    assert list(pieces(CURVE, 0, from_scratch=False)) == [[(0.5, 25.0), (1.0, 30.0), (1.5, 24.0), (2.0, 22.0)]]
    assert list(pieces(CURVE, 1, from_scratch=True)) == [[(0.5, 12.0), (1.0, 13.0)], [(1.5, 26.0), (2.0, 30.0)]]


# The GIF


def test_gif_has_few_frames_and_plays_for_seven_seconds(tmp_path: Path) -> None:
    truth = noise(32, 32)
    # 300 frames that go from black to truth, in brightness.
    frames = [(2.0 * k / 300, (truth * (k / 300)).astype(np.uint8)) for k in range(1, 301)]
    path = tmp_path / "forgetting.gif"
    forgetting_gif(path, {"replay": frames}, truth, TWO, 1500)
    pages, durations = gif_pages(path)
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
    pages, durations = gif_pages(tmp_path / "few.gif")
    assert durations == [500, 500, 1500]
    assert pages[0].shape[0] < 420
    assert all((page[2:6] == 255).all() for page in pages), "the ground is white, not nearly white"


@pytest.mark.parametrize(("count", "rows", "abreast"), [(2, 1, 3), (5, 1, 6), (6, 2, 4), (14, 3, 5)])
def test_gif_of_many_strategies_has_rows(tmp_path: Path, count: int, rows: int, abreast: int) -> None:
    truth = np.zeros((64, 64, 3), dtype=np.uint8)
    frames = {f"strategy with a long name {k}": [(1.0, truth + np.uint8(10 * k + 10))] for k in range(count)}
    forgetting_gif(tmp_path / "many.gif", frames, truth, TWO, 10)
    page = gif_pages(tmp_path / "many.gif")[0][0]
    side = 256 if count < 3 else 192
    width = abreast * side + (abreast + 1) * 12
    assert page.shape[:2] == (34 + rows * (side + 26) + (rows - 1) * 12 + 22, width)
    captions = page[34 + side + 2 : 34 + side + 24]
    assert (captions[:, :2] == 255).all()
    assert (captions[:, -2:] == 255).all(), "nothing is cut off"
    last = page[34 + (rows - 1) * (side + 38) + 96, 12 + (count - (rows - 1) * abreast) * (side + 12) + 50]
    assert abs(int(last[0]) - 10 * count) < 8


def test_positions_are_chosen_evenly_with_both_ends() -> None:
    assert evenly(3, 90) == [0, 1, 2]
    assert evenly(11, 6) == [0, 2, 4, 6, 8, 10]
    chosen = evenly(1000, 90)
    assert (len(chosen), chosen[0], chosen[-1]) == (90, 0, 999)


# Table and results


def test_table_of_a_run_by_hand() -> None:
    assert cells_of(run_table([[31.0, 14.0], [25.5, 30.0]], TWO)) == [
        ["", "right", "left"],
        ["after right", "31.00", "14.00"],
        ["after left", "25.50", "30.00"],
        ["average", "27.75", ""],
        ["backward transfer", "-5.50", ""],
        ["forgetting", "+5.50", ""],
    ]
    assert cells_of(run_table([[31.0]], ["all"]))[1:] == [["after all", "31.00"], ["average", "31.00"]]
    R = [[30.0 - abs(i - j) for j in range(10)] for i in range(10)]
    head, *_, third = cells_of(run_table(R, TEN))[:4]
    assert head == ["", "sector 1/10", "current", "sector 10/10", "mean of all"]
    assert third == ["after sector 3/10", "28.00", "30.00", "23.00", "26.90"]


def test_a_table_without_a_terminal_is_plain_and_not_cut() -> None:
    out, tasks = io.StringIO(), ["the right half of the truck", "the left half of the truck"]
    print_table(run_table([[31.0, 14.0], [25.5, 30.0]], tasks), Console(file=out, width=40))
    text = out.getvalue()
    assert "\x1b" not in text
    assert "…" not in text
    assert "after the left half of the truck 25.50 30.00" in [" ".join(line.split()) for line in text.splitlines()]


def results_by_hand() -> dict[str, Any]:
    """Results of three groups, of which one has no views and one was tested only at the end."""
    views = numbered_views(2)
    groups = [
        EvaluationGroup(name, views, numbered_views(n, first=k))
        for name, n, k in (("a", 2, 0), ("b", 0, 0), ("c", 1, 7))
    ]
    stream = Stream((Experience("all", views, views, views),), tuple(groups))
    history = History(
        R=[[20.0, math.nan, 10.0], [18.0, math.nan, 30.0]],
        tested=[1, 3],
        psnr=[[[21.0, 19.0], [], [10.0]], [[17.0, 19.0], [], [30.0]]],
        ssim=[[[0.9, 0.8], [], [0.1]], [[0.7, 0.8], [], []]],
        steps=90,
    )  # fmt: skip
    return results_of(history, stream, "replay", 4, TrainingSettings(epochs=2))


def test_results_of_a_run_by_hand() -> None:
    results = results_by_hand()
    assert results["R"] == [[20.0, None, 10.0], [18.0, None, 30.0]]
    assert [results[name] for name in ("psnr", "average", "backward_transfer", "forgetting")] == [22.0, 24.0, -2.0, 2.0]
    assert [results[name] for name in ("strategy", "seed", "epochs", "total_steps")] == ["replay", 4, 2, 90]
    assert results["views"] == [
        {"task": "a", "name": "0", "psnr": [21.0, 17.0], "ssim": [0.9, 0.7]},
        {"task": "a", "name": "1", "psnr": [19.0, 19.0], "ssim": [0.8, 0.8]},
        {"task": "c", "name": "7", "psnr": [10.0, 30.0], "ssim": [0.1]},
    ]


def test_results_of_version_0_1_are_read(tmp_path: Path) -> None:
    path, results = tmp_path / "results.json", results_by_hand()
    old = {"scored": results["tested"], **{name: value for name, value in results.items() if name != "tested"}}
    path.write_text(json.dumps(old))
    assert read_results(path) == results


def damaged_results() -> dict[str, str]:
    """Texts of results.json that cannot be believed, by what is wrong."""
    good = results_by_hand()
    changes: dict[str, dict[str, Any]] = {
        "a row of R is too short": {"R": [[20.0, None], [18.0, None, 30.0]]},
        "R has words": {"R": [["x", None, 10.0], [18.0, None, 30.0]]},
        "more rows than tests": {"tested": [3]},
        "no rows": {"R": [], "tested": []},
        "views of no task": {"views": [{"task": "d", "name": "0", "psnr": [1.0], "ssim": []}]},
        "a view without the PSNR after a task": {"views": [{"task": "a", "name": "0", "psnr": [1.0], "ssim": []}]},
        "a figure of a thousand digits": {"memory_bytes": 10**999},
        "views that are words": {"views": ["view"]},
        "another shape of seconds": {"seconds": 3.0},
        "a seed in words": {"seed": "four"},
        "a figure in words": {"psnr": "22"},
        "an infinite figure": {"average": math.inf},
    }
    texts = {what: json.dumps({**good, **change}) for what, change in changes.items()}
    for name in ("strategy", "R", "views"):
        texts[f"without {name}"] = json.dumps({key: value for key, value in good.items() if key != name})
    whole = json.dumps(good)
    return {
        **texts,
        "empty": "",
        "truncated": whole[: len(whole) // 2],
        "a list": "[]",
        "a number": "3",
        "deep": "[" * 99999,
    }


@pytest.mark.parametrize("what", list(damaged_results()))
def test_damaged_results_are_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(damaged_results()[what])
    with pytest.raises(NerfclError, match=r"^.*results\.json: .*; remove it and run the same command again$"):
        read_results(path)


def test_missing_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NerfclError, match=r"missing\.json: is not a run's results; remove it"):
        read_results(tmp_path / "missing.json")
