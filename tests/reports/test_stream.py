"""Pictures of a learner on a stream: what is drawn, how large the files are, that no label covers another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from nerfcl.reports.stream import figures
from nerfcl.reports.stream.figures import chunk_bars_figure, evolution_figure, frames_figure, seen_curve_figure
from nerfcl.reports.stream.table import stream_table
from reports.summaries import (
    STRATEGIES,
    cells_of,
    drawn_in,
    is_colour,
    log_of,
    logs_of,
    psnr_of_chunks,
    result,
    summary,
)
from support.pictures import assert_apart, texts_of

AT_THE_END = "PSNR at the end (dB)"


def heat_maps(figure: Figure) -> list[tuple[Axes, Any]]:
    found = [(axes, mesh) for axes in figure.axes for mesh in axes.collections if isinstance(mesh, QuadMesh)]
    return [(axes, mesh) for axes, mesh in found if axes.get_xlabel()]  # a colour bar is one, too


def cells_in(figure: Figure) -> list[np.ma.MaskedArray]:
    return [np.ma.asarray(mesh.get_array()) for _, mesh in heat_maps(figure)]


def one_colour(height: int, width: int, level: int = 0) -> np.ndarray:
    return np.full((height, width, 3), (12, 200, level), dtype=np.uint8)


# Every frame, as a heat map


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_heat_map_for_each_strategy_and_their_ends_below(count: int) -> None:
    logs = logs_of(count)
    figure = figures._frames(logs, 2, "truck, 50 chunks of 2 frames")
    panels = [axes for axes, _ in heat_maps(figure)]
    assert len(panels) == count
    for cells, log in zip(cells_in(figure), logs.values(), strict=True):
        assert cells.shape == (50, 100)
        for k, (_, values) in enumerate(log):
            assert cells[k, : len(values)].tolist() == pytest.approx(values)
            assert np.ma.getmaskarray(cells)[k, len(values) :].all(), "what was not seen is blank"
    assert len({mesh.get_clim() for _, mesh in heat_maps(figure)}) == 1, "all have one scale"
    assert all(axes.get_ylim() == (100.0, 0.0) for axes in panels)
    assert [text for text, _ in texts_of(figure)].count("PSNR (dB)") == 1, "one colour bar"

    lines = next(axes for axes in figure.axes if axes.get_ylabel() == AT_THE_END)
    assert [np.asarray(line.get_ydata()).tolist() for line in lines.lines] == [
        pytest.approx(log[-1][1]) for log in logs.values()
    ]
    assert np.asarray(lines.lines[0].get_xdata()).tolist() == list(range(1, 101))
    assert lines.get_xlim() == panels[0].get_xlim() == (0.5, 100.5)
    assert [text.get_text() for text in lines.texts] == (STRATEGIES[:count] if count > 1 else [])


@pytest.mark.parametrize(
    ("count", "frames", "chunks"),
    [(1, 100, 50), (3, 100, 50), (4, 5000, 50), (1, 1, 1), (4, 1, 1), (2, 10, 1)],
)
def test_no_label_of_the_frames_covers_another(tmp_path: Path, count: int, frames: int, chunks: int) -> None:
    logs = logs_of(count, frames, chunks)
    texts = texts_of(figures._frames(logs, frames // chunks, "truck"))
    assert any(text == "truck" for text, _ in texts)
    assert_apart(texts)
    frames_figure(tmp_path / "frames.png", logs, frames // chunks, "truck")
    pixels = drawn_in(tmp_path / "frames.png")
    assert 900 < pixels.shape[1] < 1800
    assert 750 < pixels.shape[0] < 900


def test_of_thousands_of_frames_neighbours_are_averaged() -> None:
    figure = figures._frames({"replay": [(1, [20.0, 30.0] * 1000), (2, [20.0, 30.0] * 2000)]}, 2000, "t")
    (cells,) = cells_in(figure)
    assert cells.shape == (2, 400)
    assert np.allclose(cells[1], 25.0)
    assert np.ma.getmaskarray(cells).tolist() == [[False] * 200 + [True] * 200, [False] * 400]
    assert set(np.asarray(figure.axes[-1].lines[0].get_ydata()).tolist()) == {25.0}
    assert figure.axes[-1].get_title("right") == "means of about 20 neighbouring frames"


def test_rows_are_as_high_as_what_was_learned_between_entries() -> None:
    figure = figures._frames({"replay": [(1, [30.0] * 2), (4, [29.0] * 8), (5, [28.0] * 10)]}, 2, "t")
    ((_, mesh),) = heat_maps(figure)
    assert mesh.get_coordinates()[:, 0, 1].tolist() == [0.0, 2.0, 8.0, 10.0]
    assert mesh.get_coordinates()[0, [0, -1], 0].tolist() == [0.5, 10.5]


def test_missing_values_are_blank_and_infinite_ones_at_the_top(tmp_path: Path) -> None:
    logs = {"replay": [(1, [30.0, None]), (2, [math.nan, 20.0, math.inf, 25.0])], "ewc": [(1, [None, math.nan])]}
    figure = figures._frames(logs, 2, "t")
    cells = cells_in(figure)[0]
    assert np.ma.getmaskarray(cells).tolist() == [[False, True, True, True], [True, False, False, False]]
    assert cells[1, 2] == 30.0
    lines = figure.axes[-1].lines
    assert np.asarray(lines[0].get_ydata()).tolist()[1:] == [20.0, 25.0, 25.0], "as high as the best of the end"
    assert "ewc: none" in [text for text, _ in texts_of(figure)]
    for nothing in ({}, {"a": [(0, [])], "b": [(1, [None])]}):
        frames_figure(tmp_path / "frames.png", nothing, 2, "t")
        drawn_in(tmp_path / "frames.png")


def test_a_frame_far_off_does_not_take_the_colours_and_small_losses_look_small() -> None:
    values = [25.0 + (k % 50) / 10 for k in range(300)]
    values[7] = 3.0
    ((_, mesh),) = heat_maps(figures._frames({"replay": [(1, values)]}, 300, "t"))
    low, high = mesh.get_clim()
    assert low > 22.0
    assert high == pytest.approx(29.9)
    ((_, flat),) = heat_maps(figures._frames({"replay": [(1, [30.0, 29.5])]}, 2, "t"))
    assert flat.get_clim() == pytest.approx((24.0, 30.0))


# Every frame, as one curve


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_line_for_each_strategy_through_the_means_of_what_was_seen(tmp_path: Path, count: int) -> None:
    logs = {f"strategy {i}": log_of(100, 25, 2.0 * i) for i in range(count)} | {"joint": [(1, [33.0] * 100)]}
    figure = figures._seen_curve(logs, "truck")
    (axes,) = figure.axes
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [
        pytest.approx([np.mean(values) for _, values in log]) for log in logs.values()
    ]
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == list(range(4, 101, 4)), "frames, not chunks"
    last = axes.lines[-1]
    assert (last.get_marker(), np.asarray(last.get_xdata()).tolist()) == ("o", [100]), "a single entry is a dot"
    assert [text.get_text() for text in axes.texts] == list(logs)
    assert len({(line.get_color(), str(line.get_linestyle())) for line in axes.lines}) == count + 1
    assert_apart(texts_of(figure))

    seen_curve_figure(tmp_path / "curve.png", logs, "truck")
    pixels = drawn_in(tmp_path / "curve.png")
    assert 1000 < pixels.shape[1] < 1300
    assert 500 < pixels.shape[0] < 650


def test_what_was_not_evaluated_leaves_no_point() -> None:
    logs = {"replay": [(1, [30.0, None]), (2, [None, math.nan, None]), (3, [20.0, 30.0, 25.0, None])], "agem": []}
    figure = figures._seen_curve(logs, "t")
    assert np.asarray(figure.axes[0].lines[0].get_xydata()).tolist() == [[2.0, 30.0], [4.0, 25.0]]
    assert "agem: none" in [text for text, _ in texts_of(figure)]
    figures._seen_curve({}, "t").draw_without_rendering()


# Chunks


@pytest.mark.parametrize("views", [10, 100])
def test_a_bar_for_each_test_view_in_the_colour_of_its_chunk(tmp_path: Path, views: int) -> None:
    psnr = psnr_of_chunks(10, views, 6)
    figure = figures._chunk_bars(psnr, 6, "truck, replay")
    (axes,) = figure.axes
    drawn = cast("list[Any]", axes.containers)
    assert [[bar.get_height() for bar in bars] for bars in drawn] == psnr
    colours = [{bar.get_facecolor() for bar in bars} for bars in drawn]
    assert all(len(colour) == 1 for colour in colours)
    assert len(set().union(*colours)) == 10
    assert [min(*colour.pop()[:3]) > 0.75 for colour in colours] == [False] * 6 + [True] * 4, "pale: not learned yet"
    means = [line.get_ydata()[0] for line in cast("list[Any]", axes.lines) if line.get_gid() == "mean"]
    assert means == pytest.approx([np.mean(values) for values in psnr[:6]])
    assert [text.get_text() for text in axes.texts] == [f"{mean:.1f}" for mean in means]
    assert axes.get_xticks().tolist() == list(range(1, 11))
    assert axes.get_ylim()[0] == 0.0
    assert_apart(texts_of(figure))

    chunk_bars_figure(tmp_path / "chunks.png", psnr, 6, "truck, replay")
    pixels = drawn_in(tmp_path / "chunks.png")
    assert 1300 < pixels.shape[1] < 1500
    assert 500 < pixels.shape[0] < 650


@pytest.mark.parametrize(("chunks", "views"), [(1, 1), (2, 3), (18, 5), (19, 5), (100, 2)])
def test_no_label_covers_another_at_other_numbers_of_chunks(chunks: int, views: int) -> None:
    assert_apart(texts_of(figures._chunk_bars(psnr_of_chunks(chunks, views, chunks), chunks, "truck")))


def test_chunks_without_views_or_values_are_blank_and_below_zero_there_is_no_bar(tmp_path: Path) -> None:
    figure = figures._chunk_bars([[30.0, None, 20.0], [], [math.nan, None], [math.inf, 10.0], [12.0]], 4, "t")
    (axes,) = figure.axes
    drawn = cast("list[Any]", axes.containers)
    assert [[bar.get_height() for bar in bars] for bars in drawn] == [[30.0, 20.0], [30.0, 10.0], [12.0]]
    assert [text.get_text() for text in axes.texts] == ["25.0", "no\nviews", "no\nviews", "∞"]
    assert_apart(texts_of(figure))
    below = figures._chunk_bars([[-3.0, -1.0], [20.0, -2.0]], 2, "t")
    assert [text.get_text() for text in below.axes[0].texts] == ["-2.0", "9.0"]
    assert_apart(texts_of(below))
    for nothing in ([], [[]], [[None]]):
        chunk_bars_figure(tmp_path / "none.png", nothing, 1, "t")
        drawn_in(tmp_path / "none.png")


# One view


@pytest.mark.parametrize(("height", "width"), [(24, 32), (40, 16), (300, 400)])
@pytest.mark.parametrize("count", [1, 6, 30])
def test_a_view_after_more_and_more_chunks(tmp_path: Path, height: int, width: int, count: int) -> None:
    truth = one_colour(height, width)
    images = [(k + 1, one_colour(height, width, 5 * k + 5), 34.0 - k / 2) for k in range(count)]
    figure = figures._evolution(truth, images, "truck, replay")
    pictures = [cast(np.ndarray, axes.images[0].get_array()) for axes in figure.axes]
    captions = [axes.get_xlabel() for axes in figure.axes]
    assert len(pictures) == min(12, count + 1)
    assert captions[:2] == ["truth", "after chunk 1: 34.0 dB"]
    assert captions[-1] == f"after chunk {count}: {34.0 - (count - 1) / 2:.1f} dB"
    assert np.array_equal(pictures[0], truth)
    assert np.array_equal(pictures[-1], images[-1][1])
    figure.draw_without_rendering()
    assert len({round(axes.get_position().y0, 3) for axes in figure.axes}) == (1 if count < 6 else 2)
    assert_apart(texts_of(figure))

    evolution_figure(tmp_path / "view.png", truth, images, "truck, replay")
    rows, columns = np.nonzero(is_colour(drawn_in(tmp_path / "view.png"), "#0cc800"))
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(width / height, rel=0.05), "the truth's shape"


def test_a_view_without_psnr_or_pictures(tmp_path: Path) -> None:
    truth = one_colour(8, 8)
    figure = figures._evolution(truth, [(1, truth, None), (2, truth, math.nan), (3, truth, math.inf)], "t")
    captions = [axes.get_xlabel() for axes in figure.axes]
    assert captions == ["truth", "after chunk 1", "after chunk 2", "after chunk 3: ∞ dB"]
    evolution_figure(tmp_path / "view.png", truth, [], "t")
    drawn_in(tmp_path / "view.png")


# The table of a comparison


def test_differences_to_the_upper_bound_are_taken_seed_by_seed() -> None:
    # 1, 2 and 3 dB below joint: the strategies vary less than their differences.
    R_of_seeds = ([[30.0], [29.0]], [[32.0], [30.0]], [[28.0], [28.0]])
    results = [result(R, tasks=["all"], seconds=s, kept=2048) for R, s in zip(R_of_seeds, (2, 8, 8), strict=True)]
    bounds = [result([[psnr]], tasks=["all"], seconds=4) for psnr in (30.0, 32.0, 31.0)]
    rows = [summary("replay", results), summary("joint", bounds, "upper bound")]
    assert cells_of(stream_table(rows, [40, 40])) == [
        ["strategy", "PSNR", "minus\njoint", "forgetting", "backward\ntransfer", "frames/s", "seconds", "kept"],
        ["replay", "29.00 ± 1.00", "-2.00 ± 1.00", "+1.00", "-1.00", "10", "6.0", "2.0 KB"],
        ["joint", "31.00 ± 1.00", "", "", "", "10", "4.0", "0"],
    ]


def test_one_seed_has_no_deviation_and_without_an_upper_bound_there_is_no_difference() -> None:
    rows = [summary("finetune", [result([[19.75], [20.0]], tasks=["all"], seconds=4)])]
    assert cells_of(stream_table(rows, [10])) == [
        ["strategy", "PSNR", "forgetting", "backward\ntransfer", "frames/s", "seconds", "kept"],
        ["finetune", "20.00", "-0.25", "+0.25", "2.5", "4.0", "0"],
    ]
