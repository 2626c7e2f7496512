"""A comparison: its summaries by hand and by properties; terminal, pictures and page show these numbers, legibly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from nerfcl.reports.comparison.bytes import bytes_figure
from nerfcl.reports.comparison.figures import comparison_curves_figure, comparison_figure
from nerfcl.reports.comparison.summary import (
    Dip,
    Statistic,
    Summary,
    deepest_dip,
    over_seeds,
    pareto_front,
    stream_row,
    tasks_row,
    upper_bound,
)
from nerfcl.reports.comparison.table import comparison_table
from nerfcl.reports.html.table import table_columns
from nerfcl.reports.style import save
from nerfcl.reports.text import human_bytes
from reports.summaries import (
    CURVE,
    TEN,
    TWO,
    cells_of,
    comparison,
    drawn_in,
    is_colour,
    many_summaries,
    result,
    single,
    summary,
    two_summaries,
)
from support.pictures import assert_apart, texts_of

VALUES = st.floats(-100.0, 100.0)
POINTS = st.lists(st.tuples(st.integers(0, 5).map(float), st.integers(20, 25).map(float)), min_size=1, max_size=12)


def about(mean: float, std: float | None = None) -> Statistic:
    return Statistic(pytest.approx(mean), pytest.approx(std) if std is not None else None)  # pyright: ignore[reportArgumentType]


# Over seeds


@given(st.lists(VALUES, min_size=1, max_size=9))
def test_statistics_over_seeds_are_mean_and_sample_deviation(values: list[float]) -> None:
    found = over_seeds(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.std is None) == (len(values) == 1)
    assert found.spread == pytest.approx(np.std(values, ddof=1) if len(values) > 1 else 0.0, abs=1e-9)
    for unknown in (None, math.nan):
        without = over_seeds([*values, unknown])
        assert math.isnan(without.mean)
        assert without.std is None, "nothing is measured where any seed lacks it"


def test_summaries_of_two_configurations_and_two_seeds_by_hand() -> None:
    replay, joint = two_summaries()
    assert [replay.final(0), joint.final(0)] == [about(28.0, 2**1.5), about(31.5, 1.5 * 2**0.5)]  # 26 and 30; 30 and 33
    assert [replay.final(1), joint.final(1)] == [about(32.0, 2**0.5), about(31.5, 1.5 * 2**0.5)]
    assert [replay.mean_final, joint.mean_final] == [about(30.0, 1.5 * 2**0.5), about(31.5, 1.5 * 2**0.5)]
    assert replay.psnr == replay.mean_final, "each task has two views"
    assert replay.change_on_first == replay.backward_transfer == about(-3.0, 2**0.5)  # -4 and -2
    assert joint.change_on_first == joint.backward_transfer == about(0.5, 0.5**0.5)  # 0 and 1
    assert replay.forgetting == about(3.0, 2**0.5)
    assert [replay.kept, replay.seconds] == [about(1024.0, 0.0), about(22.0, 8**0.5)]
    assert replay.frames_per_second(120) == about(5.5, 0.5**0.5)  # 6 and 5: not 120 in 22 s
    assert replay.mean_matrix == [[31.0, 11.0], [28.0, 32.0]]
    # 28.5 - 30 and 31.5 - 33, seed by seed: both vary, their difference does not.
    assert replay.gap(joint) == replay.gap(joint, "psnr") == about(-1.5, 0.0)
    assert all(math.isnan(gap.mean) for gap in (joint.gap(joint), replay.gap(None)))


def test_a_task_without_test_views_has_no_value_and_counts_in_no_mean() -> None:
    unseen = single("replay", [[30.0, None], [26.0, None]])
    assert math.isnan(unseen.final(1).mean)
    assert unseen.mean_final == Statistic(26.0)
    assert unseen.backward_transfer == Statistic(-4.0)
    assert repr(unseen.mean_matrix) == "[[30.0, nan], [26.0, nan]]"
    assert math.isnan(single("replay", [[None, 10.0], [None, 31.0]]).change_on_first.mean)


def test_what_is_written_of_a_configuration_are_its_summaries() -> None:
    replay, joint = two_summaries()
    assert tasks_row(replay) == {
        "strategy": "replay", "final": [28.0, 32.0], "final_std": pytest.approx([2**1.5, 2**0.5]),
        "drop": -3.0, "drop_std": pytest.approx(2**0.5), "seconds": 22.0, "memory_bytes": 1024.0,
    }  # fmt: skip
    on_stream = {
        "strategy": "replay", "psnr": 30.0, "psnr_std": pytest.approx(1.5 * 2**0.5),
        "to_joint": -1.5, "to_joint_std": 0.0, "forgetting": 3.0, "backward_transfer": -3.0,
        "frames_per_second": 5.5, "seconds": 22.0, "memory_bytes": 1024.0,
    }  # fmt: skip
    assert stream_row(replay, 120, joint) == on_stream
    assert stream_row(replay, 120, None) == {**on_stream, "to_joint": None, "to_joint_std": None}
    assert stream_row(joint, 120, joint)["to_joint"] is None, "of the bound itself there is no gap"
    # One test at the end tells nothing about what was forgotten, and one seed nothing about how far seeds differ.
    once = stream_row(summary("once", [result([[30.0]], tasks=["all"])]), 10, None)
    assert (once["forgetting"], once["backward_transfer"], once["psnr_std"]) == (None, None, 0.0)


# Against each other


def test_bounds_and_contenders_of_a_comparison() -> None:
    R = [[30.0, 10.0], [26.0, 31.0]]
    finetune, replay = single("finetune", R, "lower bound"), single("replay", R)
    joint = single("joint", R, "upper bound")
    all_three = comparison([replay, finetune, joint])
    assert (all_three.lower, all_three.upper, all_three.contenders) == (finetune, joint, [replay, finetune])
    assert [each.is_bound for each in all_three.summaries] == [False, True, True]
    alone = comparison([joint])
    assert (alone.lower, alone.upper, alone.contenders) == (None, joint, [joint]), "nothing else contends"
    assert upper_bound([replay, finetune]) is None
    assert comparison([replay]).has_past
    assert not comparison([replay], ["all"]).has_past


def test_the_front_by_hand() -> None:
    points = [(100.0, 25.0), (0.0, 20.0), (50.0, 24.0), (60.0, 24.0), (100.0, 24.5), (200.0, 25.0), (0.0, 19.0)]
    # 60 bytes for what 50 give, 200 for what 100 give, less at as many bytes: beaten.
    assert pareto_front(points) == [1, 2, 0]
    assert pareto_front([(5.0, 20.0), (5.0, 20.0)]) == [0, 1], "equals do not beat each other"
    found = comparison(two_summaries())
    assert found.front == list(found.summaries[:1]), "the upper bound is no contender"


@given(POINTS)
def test_no_point_beats_one_on_the_front_and_one_there_beats_every_other(points: list[tuple[float, float]]) -> None:
    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one != other and one[0] <= other[0] and one[1] >= other[1]

    front = pareto_front(points)
    on_it = [points[i] for i in front]
    assert on_it == sorted(on_it)
    for i, point in enumerate(points):
        assert any(beats(other, point) for other in on_it) == (i not in front)


# Within tasks


def test_the_dip_by_hand() -> None:
    curve = [(0.5, [25.0, 9.0]), (1.0, [30.0, 9.0]), (1.25, [22.5, 20.0]), (1.5, [24.0, 25.0]), (2.0, [26.0, 30.0])]
    dip = deepest_dip(curve)
    assert dip == Dip(task=1, before=30.0, lowest=22.5, after=26.0, at=1.25)
    assert dip is not None
    assert dip.depth == 7.5
    assert summary("replay", [result([[30.0, 9.0], [26.0, 30.0]])], curve=curve).deepest_dip == dip
    # The third task takes 6 dB, less; then 8, more.
    assert deepest_dip([*curve, (2.5, [20.0, 10.0]), (3.0, [25.0, 10.0])]) == dip
    assert deepest_dip([*curve, (2.5, [18.0, 10.0]), (3.0, [25.0, 10.0])]) == Dip(2, 26.0, 18.0, 25.0, 2.5)
    rising = deepest_dip([(1.0, [20.0]), (1.5, [21.0]), (2.0, [22.0])])
    assert rising is not None
    assert rising.depth == 0.0
    assert deepest_dip(curve[:2]) is None, "nothing came after the first task"
    assert deepest_dip([]) is None
    assert deepest_dip([(1.0, [math.nan]), (2.0, [math.nan])]) is None, "the first task has no view"


def test_old_views_by_hand() -> None:
    tasks = ["a", "b", "c"]
    first = result([[30.0, 1.0, 1.0], [28.0, 31.0, 1.0], [27.0, 25.0, 32.0]], tasks=tasks)
    second = result([[32.0, 1.0, 1.0], [28.0, 33.0, 1.0], [29.0, 29.0, 32.0]], tasks=tasks)
    second["views"][0]["psnr"][-1] += 2.0
    found = summary("replay", [first, second]).old_views
    # b fell by 6 and 4, a by 3 and 3, its first view in the second seed by 1; c is not old.
    shown = [(view.task, view.position, view.name, view.change) for view in found]
    assert shown == [(1, 0, "r_0", -5.0), (1, 1, "r_1", -5.0), (0, 1, "r_1", -3.0), (0, 0, "r_0", -2.0)]
    assert (found[0].before, found[0].after) == (33.0, 28.0)


def test_a_task_is_old_from_the_first_test_after_it_on() -> None:
    # Two of three tasks had been learned at the first test: both are compared with it.
    rare = {**result([[30.0, 29.0, 1.0], [27.0, 28.0, 32.0]], tasks=["a", "b", "c"]), "tested": [2, 3]}
    assert [(view.task, view.change) for view in summary("replay", [rare]).old_views] == [
        (0, -3.0), (0, -3.0), (1, -1.0), (1, -1.0),
    ]  # fmt: skip


# Table, pictures and page


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures of comparisons that were saved."""
    found: list[Figure] = []

    def keep_and_save(figure: Figure, path: Path) -> None:
        found.append(figure)
        save(figure, path)

    for module in ("figures", "bytes"):
        monkeypatch.setattr(f"nerfcl.reports.comparison.{module}.save", keep_and_save)
    return found


def page_table(summaries: list[Summary], tasks: list[str]) -> dict[str, list[str]]:
    """By the heads of the page's columns: mean and standard deviation of each row."""
    columns = table_columns(comparison(summaries, tasks))
    return {column.head: [f"{cell.text} {cell.std}".strip() for cell in column.cells] for column in columns}


def written(value: Statistic) -> str:
    return f"{value.mean:.2f}" if value.std is None else f"{value.mean:.2f} ± {value.std:.2f}"


def test_two_configurations_and_two_seeds_by_hand(tmp_path: Path, figures: list[Figure]) -> None:
    summaries = two_summaries()
    assert cells_of(comparison_table(summaries, TWO)) == [
        ["strategy", "right", "left", "change on\nright", "average", "seconds", "kept"],
        ["replay", "28.00 ± 2.83", "32.00 ± 1.41", "-3.00 ± 1.41", "30.00", "22", "1.0 KB"],
        ["joint", "31.50 ± 2.12", "31.50 ± 2.12", "+0.50 ± 0.71", "31.50", "40", "1.0 MB"],
    ]
    comparison_figure(tmp_path / "comparison.png", summaries, TWO, "truck")
    texts = [text for text, _ in texts_of(figures[0])]
    assert {"28.00 ± 2.83", "32.00 ± 1.41", "−3.00", "+0.50", "1.0 KB kept, 22 s", "1.0 MB kept, 40 s"} <= set(texts)
    assert texts.count("31.50 ± 2.12") == 2
    assert page_table(summaries, TWO) == {
        "right": ["28.00 ± 2.83", "31.50 ± 2.12"],
        "left": ["32.00 ± 1.41", "31.50 ± 2.12"],
        "mean": ["30.00 ± 2.12", "31.50 ± 2.12"],
        "backward transfer": ["−3.00 ± 1.41", "+0.50 ± 0.71"],
        "forgetting": ["+3.00 ± 1.41", "−0.50 ± 0.71"],
        "minus joint": ["−1.50 ± 0.00", "–"],
        "kept": ["1.0 KB", "1.0 MB"],
        "seconds": ["22 ± 2.8", "40 ± 0.0"],
    }


@pytest.mark.parametrize(
    ("count", "tasks", "seeds"), [(1, TWO[:1], 1), (1, TWO, 1), (3, TWO, 2), (12, TWO, 1), (12, TEN, 2)]
)
def test_table_picture_and_page_show_the_numbers_of_the_summaries(
    tmp_path: Path, figures: list[Figure], count: int, tasks: list[str], seeds: int
) -> None:
    summaries = many_summaries(3, tasks, seeds)[1:2] if count == 1 else many_summaries(count, tasks, seeds)
    comparison_figure(tmp_path / "comparison.png", summaries, tasks, "truck")
    pixels = drawn_in(tmp_path / "comparison.png")
    assert 1050 < pixels.shape[1] < 1400
    assert 200 + 40 * count < pixels.shape[0] < 420 + 90 * count, "it grows with the configurations"
    texts = texts_of(figures[0])
    assert_apart([each for each in texts if len(tasks) <= 4 or each[0] not in tasks])  # many names are slanted
    drawn = [text for text, _ in texts]

    lines, page = cells_of(comparison_table(summaries, tasks))[1:], page_table(summaries, tasks)
    ends = range(len(tasks)) if len(tasks) <= 6 else (0, len(tasks) - 1)
    for i, (row, line) in enumerate(zip(summaries, lines, strict=True)):
        finals = [row.final(j) for j in range(len(tasks))]
        told = [written(finals[j]) for j in ends]
        change, kept, seconds = f"{row.change_on_first.mean:+.2f}", human_bytes(row.kept.mean), round(row.seconds.mean)
        assert [line[0], *line[1 : len(told) + 1]] == [row.label, *told]
        assert line[len(told) + 1].split(" ± ")[0] == change
        assert line[-3:] == [f"{row.mean_final.mean:.2f}", str(seconds), kept]
        assert [page[tasks[j]][i] for j in ends] == told
        assert (page["kept"][i], page["seconds"][i].split()[0]) == (kept, str(seconds))
        assert {row.label, f"{kept} kept, {seconds} s"} <= set(drawn)
        assert {written(each) if len(tasks) <= 4 else f"{each.mean:.1f}" for each in finals} <= set(drawn)
        assert len(tasks) == 1 or change.replace("-", "−") in drawn


def test_curves_show_every_strategy(tmp_path: Path, figures: list[Figure]) -> None:
    curves = {"finetune": CURVE, "replay-unlimited": [(x, [31.0, v[1]]) for x, v in CURVE], "joint": CURVE}
    comparison_curves_figure(tmp_path / "curves.png", curves, TWO, 1500, "truck")
    pixels = drawn_in(tmp_path / "curves.png")
    assert all(is_colour(pixels, colour).any() for colour in ("#0072B2", "#D55E00", "#009E73"))
    assert_apart(texts_of(figures[0]))
    # What begins from scratch is cut at the switch, where it was untrained, and its ends are joined.
    finetune, _, *joint = [np.asarray(line.get_xydata()).tolist() for line in figures[0].axes[0].lines[:5]]
    assert finetune == [[750.0, 25.0], [1500.0, 30.0], [2250.0, 24.0], [3000.0, 22.0]]
    assert joint == [finetune[:2], finetune[2:], finetune[1::2]]


def test_a_line_joins_what_differs_in_bytes_only(tmp_path: Path, figures: list[Figure]) -> None:
    rows = [
        single("finetune", [[30.0, 10.0], [20.0, 31.0]], "lower bound"),
        single("replay @ 4K", [[30.0, 10.0], [28.0, 30.0]], kept=4096.0),
        single("replay @ 1K", [[30.0, 10.0], [26.0, 30.0]], kept=1024.0),
        single("best", [[30.0, 10.0], [30.0, 31.0]], kept=2048.0),
        single("joint", [[30.0, 10.0], [31.0, 31.0]], "upper bound", kept=8192.0),
    ]
    families = [rows[:1], rows[1:3], [], rows[3:4], rows[4:]]
    assert bytes_figure(tmp_path / "bytes.png", comparison(rows), families)
    (axes,) = figures[0].axes
    drawn = {box.get_label(): box[0].get_xydata().tolist() for box in axes.containers}  # pyright: ignore
    assert drawn == {"best": [[2048.0, 30.5]], "replay": [[1024.0, 28.0], [4096.0, 29.0]]}
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["best", "replay"], "the best first"
    assert {text.get_text() for text in axes.texts} == {"finetune 25.5", "joint 31.0"}
    bounds = [rows[0], rows[4]]
    assert not bytes_figure(tmp_path / "none.png", comparison(bounds), [bounds[:1], bounds[1:]])
    assert not (tmp_path / "none.png").exists()


def test_the_picture_of_bytes_of_many_configurations_is_written(tmp_path: Path, figures: list[Figure]) -> None:
    rows = many_summaries(20, TWO, seeds=2)
    assert bytes_figure(tmp_path / "bytes.png", comparison(rows), [[each] for each in rows])
    assert drawn_in(tmp_path / "bytes.png").shape[1] > 900
    (axes,) = figures[0].axes
    assert len(axes.containers) == 18, "all but the bounds"
