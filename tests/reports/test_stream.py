"""Pictures of a learner on a stream: what is drawn, how large the files are, that no label covers another."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.reports import stream_animation, streams
from nerfcl.reports.stream.animation import chunk_bars_gif, frames_gif
from nerfcl.reports.stream.figures import chunk_bars_figure, evolution_figure, frames_figure, seen_curve_figure

NAMES = ["finetune", "replay", "self-replay", "a-strategy-with-quite-a-long-name"]
Look = tuple[int, list[float]]


def stream(frames: int, chunks: int, loss: float = 8.0) -> list[Look]:
    """A look after every chunk; a frame loses up to `loss` dB as it gets older."""
    each = frames // chunks
    looks = []
    for chunk in range(1, chunks + 1):
        age = (chunk * each - 1 - np.arange(chunk * each)) // each
        values = 28.0 + 3.0 * np.sin(np.arange(chunk * each) / 7.0) - loss * (1.0 - np.exp(-age / 6.0))
        looks.append((chunk, values.tolist()))
    return looks


def runs(count: int, frames: int = 100, chunks: int = 50) -> dict[str, list[Look]]:
    return {name: stream(frames, chunks, 3.0 * i) for i, name in enumerate(NAMES[:count])}


def chunk_scores(chunks: int, views: int, over: int) -> list[list[float]]:
    return [
        [(max(9.0, 29.0 - 0.5 * (over - k)) if k < over else 15.0) + math.sin(3.1 * v + k) for v in range(views)]
        for k in range(chunks)
    ]


def picture(height: int, width: int, level: int = 0) -> np.ndarray:
    return np.full((height, width, 3), (12, 200, level), dtype=np.uint8)


def apart(boxes: Sequence[tuple[str, tuple[float, float, float, float]]]) -> None:
    """No two boxes (text, (left, top or bottom, right, the other)) touch."""
    for (a, one), (b, two) in itertools.combinations(boxes, 2):
        beside = one[2] <= two[0] + 0.5 or two[2] <= one[0] + 0.5
        below = one[3] <= two[1] + 0.5 or two[3] <= one[1] + 0.5
        assert beside or below, f"{a!r} and {b!r} overlap: {one}, {two}"


def texts(figure: Figure) -> list[tuple[str, tuple[float, float, float, float]]]:
    """What is written in a figure, with its box in pixels; of ticks those that lie on their axis."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text

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


def shown(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert (pixels != 255).any(-1).mean() > 0.01
    return pixels


def gif(path: Path) -> tuple[list[np.ndarray], list[int]]:
    pages, durations = [], []
    with Image.open(path) as image:
        assert image.format == "GIF"
        for k in range(getattr(image, "n_frames", 1)):
            image.seek(k)
            pages.append(np.asarray(image.convert("RGB")))
            durations.append(image.info.get("duration", 0))
    return pages, durations


def is_colour(pixels: np.ndarray, colour: str) -> np.ndarray:
    return (pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(-1)


# Every frame, as a figure


def maps(figure: Figure) -> list[np.ma.MaskedArray]:
    from matplotlib.collections import QuadMesh

    found = [[mesh for mesh in axes.collections if isinstance(mesh, QuadMesh)] for axes in figure.axes]
    return [np.ma.asarray(meshes[0].get_array()) for meshes in found if meshes]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_heat_map_per_strategy_and_their_ends_below(count: int) -> None:
    looks = runs(count)
    figure = streams._frames(looks, 2, "truck, 50 chunks of 2 frames")
    panels = [axes for axes in figure.axes if axes.get_ylabel() != "PSNR at the end (dB)"][:count]
    assert len(maps(figure)) == count
    for cells, rows in zip(maps(figure), looks.values(), strict=True):
        assert cells.shape == (50, 100)
        for k, (_, values) in enumerate(rows):
            assert cells[k, : len(values)].tolist() == pytest.approx(values)
            assert np.ma.getmaskarray(cells)[k, len(values) :].all(), "what was not seen is blank"
    spans = {axes.collections[0].get_clim() for axes in panels}
    assert len(spans) == 1, "all share one scale"
    assert all(axes.get_ylim() == (100.0, 0.0) for axes in panels)
    assert [text for text, _ in texts(figure)].count("PSNR (dB)") == 1, "one colour bar"

    lines = next(axes for axes in figure.axes if axes.get_ylabel() == "PSNR at the end (dB)")
    assert [np.asarray(line.get_ydata()).tolist() for line in lines.lines] == [
        pytest.approx(rows[-1][1]) for rows in looks.values()
    ]
    assert np.asarray(lines.lines[0].get_xdata()).tolist() == list(range(1, 101))
    assert lines.get_xlim() == panels[0].get_xlim() == (0.5, 100.5)
    assert [text.get_text() for text in lines.texts] == (NAMES[:count] if count > 1 else [])


@pytest.mark.parametrize(
    ("count", "frames", "chunks"),
    [(1, 100, 50), (3, 100, 50), (4, 5000, 50), (1, 1, 1), (4, 1, 1), (2, 10, 1)],
)
def test_no_label_of_the_frames_covers_another(tmp_path: Path, count: int, frames: int, chunks: int) -> None:
    looks = runs(count, frames, chunks)
    figure = streams._frames(looks, frames // chunks, "truck")
    found = texts(figure)
    assert any(text == "truck" for text, _ in found)
    apart(found)
    frames_figure(tmp_path / "frames.png", looks, frames // chunks, "truck")
    pixels = shown(tmp_path / "frames.png")
    assert 900 < pixels.shape[1] < 1800
    assert 750 < pixels.shape[0] < 900


def test_of_thousands_of_frames_neighbours_are_averaged() -> None:
    figure = streams._frames({"replay": [(1, [20.0, 30.0] * 1000), (2, [20.0, 30.0] * 2000)]}, 2000, "t")
    cells = maps(figure)[0]
    assert cells.shape == (2, 400)
    assert np.allclose(cells[1], 25.0)
    assert np.ma.getmaskarray(cells).tolist() == [[False] * 200 + [True] * 200, [False] * 400]
    line = figure.axes[-1].lines[0]
    assert set(np.asarray(line.get_ydata()).tolist()) == {25.0}
    assert figure.axes[-1].get_title("right") == "means of about 20 neighbouring frames"


def test_rows_are_as_high_as_what_was_learned_between_looks() -> None:
    figure = streams._frames({"replay": [(1, [30.0] * 2), (4, [29.0] * 8), (5, [28.0] * 10)]}, 2, "t")
    mesh = cast(Any, figure.axes[0].collections[0])
    assert mesh.get_coordinates()[:, 0, 1].tolist() == [0.0, 2.0, 8.0, 10.0]
    assert mesh.get_coordinates()[0, [0, -1], 0].tolist() == [0.5, 10.5]


def test_missing_scores_are_blank_and_infinite_ones_at_the_top(tmp_path: Path) -> None:
    looks = {"replay": [(1, [30.0, None]), (2, [math.nan, 20.0, math.inf, 25.0])], "ewc": [(1, [None, math.nan])]}
    figure = streams._frames(looks, 2, "t")
    cells = maps(figure)[0]
    assert np.ma.getmaskarray(cells).tolist() == [[False, True, True, True], [True, False, False, False]]
    assert cells[1, 2] == 30.0
    lines = figure.axes[-1].lines
    assert np.asarray(lines[0].get_ydata()).tolist()[1:] == [20.0, 25.0, 25.0], "as high as the best of the end"
    assert "ewc: none" in [text for text, _ in texts(figure)]
    for nothing in ({}, {"a": [(0, [])], "b": [(1, [None])]}):
        frames_figure(tmp_path / "frames.png", cast(Any, nothing), 2, "t")
        shown(tmp_path / "frames.png")
        frames_gif(tmp_path / "frames.gif", cast(Any, nothing), 2, "t")
        assert len(gif(tmp_path / "frames.gif")[0]) == 1


def test_a_frame_far_off_does_not_take_the_colours_and_small_losses_look_small() -> None:
    rows = [(1, [25.0 + (k % 50) / 10 for k in range(300)])]
    rows[0][1][7] = 3.0
    mesh = streams._frames({"replay": rows}, 300, "t").axes[0].collections[0]
    assert mesh.get_clim()[0] > 22.0
    assert mesh.get_clim()[1] == pytest.approx(29.9)
    flat = streams._frames({"replay": [(1, [30.0, 29.5])]}, 2, "t").axes[0].collections[0]
    assert flat.get_clim() == pytest.approx((24.0, 30.0))


# Every frame, in one figure


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_line_per_strategy_through_the_means_of_what_was_seen(tmp_path: Path, count: int) -> None:
    looks = {f"strategy {i}": stream(100, 25, 2.0 * i) for i in range(count)} | {"joint": [(1, [33.0] * 100)]}
    figure = streams._seen_curve(looks, "truck")
    (axes,) = figure.axes
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [
        pytest.approx([np.mean(values) for _, values in rows]) for rows in looks.values()
    ]
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == list(range(4, 101, 4)), "frames, not chunks"
    assert (axes.lines[-1].get_marker(), np.asarray(axes.lines[-1].get_xdata()).tolist()) == ("o", [100]), (
        "a single look is a dot"
    )
    assert [text.get_text() for text in axes.texts] == list(looks)
    assert len({(line.get_color(), str(line.get_linestyle())) for line in axes.lines}) == count + 1
    apart(texts(figure))

    seen_curve_figure(tmp_path / "curve.png", looks, "truck")
    pixels = shown(tmp_path / "curve.png")
    assert 1000 < pixels.shape[1] < 1300
    assert 500 < pixels.shape[0] < 650


def test_what_was_not_scored_leaves_no_point() -> None:
    looks = {"replay": [(1, [30.0, None]), (2, [None, math.nan, None]), (3, [20.0, 30.0, 25.0, None])], "agem": []}
    figure = streams._seen_curve(cast(Any, looks), "t")
    line = figure.axes[0].lines[0]
    assert np.asarray(line.get_xydata()).tolist() == [[2.0, 30.0], [4.0, 25.0]]
    assert "agem: none" in [text for text, _ in texts(figure)]
    streams._seen_curve({}, "t").draw_without_rendering()


# Every frame, animated


def test_the_frames_gif_is_small_and_holds_its_last_page(tmp_path: Path) -> None:
    path = tmp_path / "frames.gif"
    frames_gif(path, runs(4), 2, "truck")
    pages, durations = gif(path)
    assert len(pages) == 50
    assert 7000 <= sum(durations) <= 9000
    assert durations[-1] == 1800 > max(durations[:-1])
    assert path.stat().st_size < 1_500_000
    assert pages[0].shape[1] == 54 + 800 + 22
    assert all(is_colour(pages[-1], colour).any() for colour in ("#0072B2", "#D55E00", "#009E73", "#CC79A7"))
    blue = [int(is_colour(page, "#0072B2").sum()) for page in pages]
    assert blue[0] < 200, "at first there is but the square beside the name"
    assert blue[-1] > blue[24] > blue[0]


@pytest.mark.parametrize(("frames", "chunks"), [(5000, 250)])
def test_thousands_of_frames_keep_to_sixty_pages(tmp_path: Path, frames: int, chunks: int) -> None:
    path = tmp_path / "frames.gif"
    frames_gif(path, runs(2, frames, chunks), frames // chunks, "truck")
    pages, durations = gif(path)
    assert len(pages) == min(60, chunks)
    assert 7000 <= sum(durations) <= 9000
    assert path.stat().st_size < 1_500_000
    assert pages[0].shape[1] < 900


@pytest.mark.parametrize(
    ("count", "frames", "chunks"), [(1, 100, 50), (4, 100, 50), (3, 5000, 50), (2, 1, 1), (1, 170, 10)]
)
def test_no_text_of_a_page_covers_another(count: int, frames: int, chunks: int) -> None:
    title = "a title that is much too long for the line above the bars, so that it has to be cut somewhere " * 2
    looks = {name: rows[:: max(1, chunks // 4)] + rows[-1:] for name, rows in runs(count, frames, chunks).items()}
    for sheet in stream_animation._frames_pages(looks, frames // chunks, title):
        apart(sheet.texts)
        assert all(box[0] >= 0 and box[2] <= sheet.image.width for _, box in sheet.texts)


def test_a_page_says_what_was_seen_and_marks_the_new_frames() -> None:
    looks = {"replay": [(1, [30.0, 20.0]), (2, [28.0, 18.0, 30.0, 24.0])], "joint": [(2, [31.0, 31.0, None, 29.0])]}
    first, second = stream_animation._frames_pages(looks, 2, "truck")
    wrote = [[text for text, _ in sheet.texts] for sheet in (first, second)]
    assert "2 frames seen" in wrote[0]
    assert "4 frames seen" in wrote[1]
    assert [text for text in wrote[0] if "seen:" in text or text == "nothing seen"] == [
        "mean of the frames seen: 25.0 dB",
        "nothing seen",
    ]
    assert [text for text in wrote[1] if "seen:" in text] == [
        "mean of the frames seen: 25.0 dB",
        "mean of the frames seen: 30.3 dB",
    ]
    pixels = np.asarray(second.image)
    top = stream_animation._HEADER + stream_animation._NAME
    upper = pixels[top : top + 170]
    # Bars of frames 1 and 2 blue, of 3 and 4 black; as high as their PSNR on a scale up to 35 dB.
    for frame, (value, colour) in enumerate([(28, "#0072B2"), (18, "#0072B2"), (30, "#1a1a1a"), (24, "#1a1a1a")]):
        column = upper[:, stream_animation._LEFT + 200 * frame + 100]
        assert is_colour(column, colour).sum() == round(170 * value / 35)
    lower = pixels[top + 206 : top + 206 + 170, stream_animation._LEFT + 500]
    assert not is_colour(lower, "#1a1a1a").any(), "a frame without PSNR has no bar"


# Chunks


@pytest.mark.parametrize("views", [10, 100])
def test_a_bar_per_test_view_in_the_colour_of_its_chunk(tmp_path: Path, views: int) -> None:
    scores = chunk_scores(10, views, 6)
    figure = streams._chunk_bars(scores, 6, "truck, replay")
    (axes,) = figure.axes
    drawn = cast("list[Any]", axes.containers)
    assert [[bar.get_height() for bar in bars] for bars in drawn] == scores
    colours = [{bar.get_facecolor() for bar in bars} for bars in drawn]
    assert all(len(colour) == 1 for colour in colours)
    assert len(set().union(*colours)) == 10
    assert [min(*colour.pop()[:3]) > 0.75 for colour in colours] == [False] * 6 + [True] * 4, "pale: not learned yet"
    means = [line.get_ydata()[0] for line in cast("list[Any]", axes.lines) if line.get_gid() == "mean"]
    assert means == pytest.approx([np.mean(values) for values in scores[:6]])
    assert [text.get_text() for text in axes.texts] == [f"{mean:.1f}" for mean in means]
    assert axes.get_xticks().tolist() == list(range(1, 11))
    assert axes.get_ylim()[0] == 0.0
    apart(texts(figure))

    chunk_bars_figure(tmp_path / "chunks.png", scores, 6, "truck, replay")
    pixels = shown(tmp_path / "chunks.png")
    assert 1300 < pixels.shape[1] < 1500
    assert 500 < pixels.shape[0] < 650


@pytest.mark.parametrize(("chunks", "views"), [(1, 1), (2, 3), (18, 5), (19, 5), (100, 2)])
def test_other_numbers_of_chunks(tmp_path: Path, chunks: int, views: int) -> None:
    apart(texts(streams._chunk_bars(chunk_scores(chunks, views, chunks), chunks, "truck")))
    for sheet in stream_animation._chunk_pages(
        [(over, chunk_scores(chunks, views, over)) for over in (0, chunks)], "truck"
    ):
        apart(sheet.texts)
        assert all(box[0] >= 0 and box[2] <= sheet.image.width for _, box in sheet.texts)


def test_scores_below_zero_have_no_bar_but_their_figure() -> None:
    scores = [[-3.0, -1.0], [20.0, -2.0]]
    assert [text.get_text() for text in streams._chunk_bars(scores, 2, "t").axes[0].texts] == ["-2.0", "9.0"]
    apart(texts(streams._chunk_bars(scores, 2, "t")))
    (sheet,) = stream_animation._chunk_pages([(2, scores)], "t")
    assert {"-2.0", "9.0"} <= {text for text, _ in sheet.texts}
    apart(sheet.texts)


def test_chunks_without_views_or_scores_are_blank(tmp_path: Path) -> None:
    scores = [[30.0, None, 20.0], [], [math.nan, None], [math.inf, 10.0], [12.0]]
    figure = streams._chunk_bars(scores, 4, "t")
    (axes,) = figure.axes
    drawn = cast("list[Any]", axes.containers)
    assert [[bar.get_height() for bar in bars] for bars in drawn] == [[30.0, 20.0], [30.0, 10.0], [12.0]]
    assert [text.get_text() for text in axes.texts] == ["25.0", "no\nviews", "no\nviews", "∞"]
    apart(texts(figure))
    for nothing in ([], [[]], [[None]]):
        chunk_bars_figure(tmp_path / "none.png", nothing, 1, "t")
        shown(tmp_path / "none.png")
    chunk_bars_gif(tmp_path / "chunks.gif", [(1, []), (4, scores), (5, scores)], "t")
    assert len(gif(tmp_path / "chunks.gif")[0]) == 3
    chunk_bars_gif(tmp_path / "chunks.gif", [], "t")
    assert len(gif(tmp_path / "chunks.gif")[0]) == 1


@pytest.mark.parametrize("views", [10, 100])
def test_the_chunks_gif_shows_a_page_per_row(tmp_path: Path, views: int) -> None:
    path = tmp_path / "chunks.gif"
    chunk_bars_gif(path, [(over, chunk_scores(10, views, over)) for over in range(1, 11)], "truck, replay")
    pages, durations = gif(path)
    assert len(pages) == 10
    assert durations[-1] == 1800
    assert 5000 <= sum(durations) <= 9000
    assert path.stat().st_size < 1_500_000
    sheets = stream_animation._chunk_pages([(3, chunk_scores(10, views, 3))], "truck, replay")
    wrote = [text for text, _ in sheets[0].texts]
    assert "3 of 10 chunks learned" in wrote
    assert [text for text in wrote if re.fullmatch(r"\d+\.\d", text)] == [
        f"{np.mean(values):.1f}" for values in chunk_scores(10, views, 3)[:3]
    ]
    apart(sheets[0].texts)


# One view


@pytest.mark.parametrize(("height", "width"), [(24, 32), (40, 16), (300, 400)])
@pytest.mark.parametrize("count", [1, 6, 30])
def test_a_view_after_more_and_more_chunks(tmp_path: Path, height: int, width: int, count: int) -> None:
    images = [(k + 1, picture(height, width, 5 * k + 5), 34.0 - k / 2) for k in range(count)]
    figure = streams._evolution(picture(height, width), images, "truck, replay")
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    captions = [axes.get_xlabel() for axes in figure.axes]
    assert len(pictures) == min(12, count + 1)
    assert captions[:2] == ["truth", "after chunk 1: 34.0 dB"]
    assert captions[-1] == f"after chunk {count}: {34.0 - (count - 1) / 2:.1f} dB"
    assert np.array_equal(cast(Any, pictures[0]), picture(height, width))
    assert np.array_equal(cast(Any, pictures[-1]), images[-1][1])
    figure.draw_without_rendering()
    assert len({round(axes.get_position().y0, 3) for axes in figure.axes}) == (1 if count < 6 else 2)
    apart(texts(figure))

    evolution_figure(tmp_path / "view.png", picture(height, width), images, "truck, replay")
    rows, columns = np.nonzero(is_colour(shown(tmp_path / "view.png"), "#0cc800"))
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(width / height, rel=0.05), "the truth's shape"


def test_a_view_without_score_or_pictures(tmp_path: Path) -> None:
    truth = picture(8, 8)
    figure = streams._evolution(truth, [(1, truth, None), (2, truth, math.nan), (3, truth, math.inf)], "t")
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "truth",
        "after chunk 1",
        "after chunk 2",
        "after chunk 3: ∞ dB",
    ]
    evolution_figure(tmp_path / "view.png", truth, [], "t")
    shown(tmp_path / "view.png")


# All


WRITERS: dict[str, Callable[[Path], object]] = {
    "frames.png": lambda path: frames_figure(path, runs(2, 4, 2), 2, "t"),
    "curve.png": lambda path: seen_curve_figure(path, runs(2, 4, 2), "t"),
    "frames.gif": lambda path: frames_gif(path, runs(2, 4, 2), 2, "t"),
    "chunks.png": lambda path: chunk_bars_figure(path, [[30.0], [20.0]], 1, "t"),
    "chunks.gif": lambda path: chunk_bars_gif(path, [(1, [[30.0], [20.0]])], "t"),
    "view.png": lambda path: evolution_figure(path, picture(8, 8), [(1, picture(8, 8, 1), 30.0)], "t"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_are_whole_and_the_same_each_time_or_not_there(tmp_path: Path, name: str) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    WRITERS[name](tmp_path / name)
    first = (tmp_path / name).read_bytes()
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert dict(matplotlib.rcParams) == before
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()  # a folder is in the way
    with pytest.raises(NerfclError, match=re.escape(str(tmp_path / name))):
        WRITERS[name](tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
