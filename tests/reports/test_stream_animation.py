"""GIFs of a learner on a stream: their size and pace, what is on a page, that no text covers another."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from nerfcl.reports.stream import animation
from nerfcl.reports.stream.animation import chunk_bars_gif, frames_gif
from nerfcl.reports.stream.values import Log
from reports.summaries import is_colour, logs_of, psnr_of_chunks
from support.pictures import assert_apart, gif_pages

Sheet = animation._Sheet


def words_of(sheet: Sheet) -> list[str]:
    return [text for text, _ in sheet.texts]


def assert_legible(sheet: Sheet) -> None:
    """No text covers another or is cut off at a side."""
    assert_apart(sheet.texts)
    assert all(box[0] >= 0 and box[2] <= sheet.image.width for _, box in sheet.texts)


# Frames


def test_the_frames_gif_is_small_and_holds_its_last_page(tmp_path: Path) -> None:
    path = tmp_path / "frames.gif"
    frames_gif(path, logs_of(4), 2, "truck")
    pages, durations = gif_pages(path)
    assert len(pages) == 50
    assert 7000 <= sum(durations) <= 9000
    assert durations[-1] == 1800 > max(durations[:-1])
    assert path.stat().st_size < 1_500_000
    assert pages[0].shape[1] == 54 + 800 + 22
    assert all(is_colour(pages[-1], colour).any() for colour in ("#0072B2", "#D55E00", "#009E73", "#CC79A7"))
    blue = [int(is_colour(page, "#0072B2").sum()) for page in pages]
    assert blue[0] < 200, "at first there is but the square beside the name"
    assert blue[-1] > blue[24] > blue[0]


def test_thousands_of_frames_keep_to_sixty_pages(tmp_path: Path) -> None:
    path = tmp_path / "frames.gif"
    frames_gif(path, logs_of(2, 5000, 250), 20, "truck")
    pages, durations = gif_pages(path)
    assert len(pages) == 60
    assert 7000 <= sum(durations) <= 9000
    assert path.stat().st_size < 1_500_000
    assert pages[0].shape[1] < 900


@pytest.mark.parametrize("logs", [{}, {"a": [(0, [])], "b": [(1, [None])]}])
def test_where_nothing_was_seen_there_is_one_page(tmp_path: Path, logs: dict[str, Log]) -> None:
    frames_gif(tmp_path / "frames.gif", logs, 2, "t")
    assert len(gif_pages(tmp_path / "frames.gif")[0]) == 1


@pytest.mark.parametrize(
    ("count", "frames", "chunks"), [(1, 100, 50), (4, 100, 50), (3, 5000, 50), (2, 1, 1), (1, 170, 10)]
)
def test_no_text_of_a_page_of_frames_covers_another(count: int, frames: int, chunks: int) -> None:
    title = "a title that is much too long for the line above the bars, so that it has to be cut somewhere " * 2
    logs = {name: log[:: max(1, chunks // 4)] + log[-1:] for name, log in logs_of(count, frames, chunks).items()}
    for sheet in animation._frames_pages(logs, frames // chunks, title):
        assert_legible(sheet)


def test_a_page_says_what_was_seen_and_marks_the_new_frames() -> None:
    logs = {"replay": [(1, [30.0, 20.0]), (2, [28.0, 18.0, 30.0, 24.0])], "joint": [(2, [31.0, 31.0, None, 29.0])]}
    first, second = animation._frames_pages(logs, 2, "truck")
    assert "2 frames seen" in words_of(first)
    assert "4 frames seen" in words_of(second)
    said = [[text for text in words_of(sheet) if "seen:" in text or "nothing" in text] for sheet in (first, second)]
    assert said == [
        ["mean of the frames seen: 25.0 dB", "nothing seen"],
        ["mean of the frames seen: 25.0 dB", "mean of the frames seen: 30.3 dB"],
    ]
    pixels = np.asarray(second.image)
    top = animation._HEADER + animation._NAME
    upper = pixels[top : top + 170]
    # Bars of frames 1 and 2 blue, of 3 and 4 black; as high as their PSNR on a scale up to 35 dB.
    for frame, (value, colour) in enumerate([(28, "#0072B2"), (18, "#0072B2"), (30, "#1a1a1a"), (24, "#1a1a1a")]):
        column = upper[:, animation._LEFT + 200 * frame + 100]
        assert is_colour(column, colour).sum() == round(170 * value / 35)
    lower = pixels[top + 206 : top + 206 + 170, animation._LEFT + 500]
    assert not is_colour(lower, "#1a1a1a").any(), "a frame without PSNR has no bar"


# Chunks


@pytest.mark.parametrize("views", [10, 100])
def test_the_chunks_gif_shows_a_page_for_each_row(tmp_path: Path, views: int) -> None:
    path = tmp_path / "chunks.gif"
    chunk_bars_gif(path, [(over, psnr_of_chunks(10, views, over)) for over in range(1, 11)], "truck, replay")
    pages, durations = gif_pages(path)
    assert len(pages) == 10
    assert durations[-1] == 1800
    assert 5000 <= sum(durations) <= 9000
    assert path.stat().st_size < 1_500_000
    (sheet,) = animation._chunk_pages([(3, psnr_of_chunks(10, views, 3))], "truck, replay")
    assert "3 of 10 chunks learned" in words_of(sheet)
    assert [text for text in words_of(sheet) if re.fullmatch(r"\d+\.\d", text)] == [
        f"{np.mean(values):.1f}" for values in psnr_of_chunks(10, views, 3)[:3]
    ]
    assert_legible(sheet)


@pytest.mark.parametrize(("chunks", "views"), [(1, 1), (2, 3), (18, 5), (19, 5), (100, 2)])
def test_no_text_of_a_page_of_chunks_covers_another(chunks: int, views: int) -> None:
    rows = [(over, psnr_of_chunks(chunks, views, over)) for over in (0, chunks)]
    for sheet in animation._chunk_pages(rows, "truck"):
        assert_legible(sheet)


def test_chunks_below_zero_have_no_bar_but_their_mean() -> None:
    (sheet,) = animation._chunk_pages([(2, [[-3.0, -1.0], [20.0, -2.0]])], "t")
    assert {"-2.0", "9.0"} <= set(words_of(sheet))
    assert_legible(sheet)


def test_chunks_without_views_or_values_have_pages(tmp_path: Path) -> None:
    psnr = [[30.0, None, 20.0], [], [math.nan, None], [math.inf, 10.0], [12.0]]
    chunk_bars_gif(tmp_path / "chunks.gif", [(1, []), (4, psnr), (5, psnr)], "t")
    assert len(gif_pages(tmp_path / "chunks.gif")[0]) == 3
    chunk_bars_gif(tmp_path / "chunks.gif", [], "t")
    assert len(gif_pages(tmp_path / "chunks.gif")[0]) == 1
