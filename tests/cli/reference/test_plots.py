"""train_online.py --save_plots: bars of loss and PSNR of every frame seen so far, and their animations."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfcl.cli.reference import online_main
from nerfcl.cli.reference.callbacks import Board, ChunkKeeper
from nerfcl.cli.reference.plots import KINDS, FramePlots
from nerfcl.training.callbacks import StepReport
from nerfcl.training.history import History
from nerfcl.training.learner import Learner
from support.folders import files_in
from support.pictures import gif_pages
from support.reference import CHUNK, STREAM, assert_same_learner, checkpoint, train_online

PLOTS = Path("plots/p")


def after_chunk(history: History) -> Any:
    return SimpleNamespace(history=history)


def test_plots_after_every_chunk_and_animations_at_the_end(
    scene_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(board: Board, learner: Learner, report: StepReport) -> None:
        if report.step == 2 * CHUNK + 1:
            raise KeyboardInterrupt

    command = f"{STREAM} --save_plots --exp_name p"
    with monkeypatch.context() as patch:
        patch.setattr(Board, "on_step", interrupt)
        assert online_main(command.split()) == 130
    assert files_in(PLOTS) == {f"plot{kind}_{n}.png" for kind in ("loss", "psnr") for n in (1, 2)}
    (PLOTS / "plotloss_1.png").unlink()  # is drawn again
    train_online(command)
    gifs = {"plotloss.gif", "plotpsnr.gif"}
    assert files_in(PLOTS) == {f"plot{kind}_{n}.png" for kind in ("loss", "psnr") for n in (1, 2, 3)} | gifs
    said = capsys.readouterr().out
    for gif in gifs:
        assert str(PLOTS / gif) in said
        assert len(gif_pages(PLOTS / gif)[0]) == 3
    assert [(over, len(values)) for over, values in checkpoint("p", 3).history.seen] == [(1, 2), (2, 4), (3, 6)]


def test_plots_do_not_change_what_is_learned(scene_only: Path) -> None:
    train_online(f"{STREAM} --exp_name plain")
    train_online(f"{STREAM} --save_plots --exp_name p")
    assert_same_learner(checkpoint("plain", 3), checkpoint("p", 3))


def test_a_chunk_counts_as_done_when_all_of_it_is_written(scene_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint comes last: after a kill before it the chunk is learned again, and its plots are drawn again."""
    drawn: list[int] = []
    whole = ChunkKeeper.on_experience_end

    def save(keeper: ChunkKeeper, learner: Learner) -> None:
        drawn.append(len(files_in(PLOTS)))
        whole(keeper, learner)

    monkeypatch.setattr(ChunkKeeper, "on_experience_end", save)
    train_online(f"{STREAM} --save_plots --exp_name p")
    assert drawn == [2, 4, 6]


def test_axes_reach_as_far_in_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it shows only later how far they must; infinite PSNR is drawn at the top."""
    seen = [(1, [20.0, float("inf")]), (2, [20.0, 25.0, 43.0, 12.0])]
    ceilings: dict[tuple[str, int], float] = {}
    whole = FramePlots._draw

    def draw(plots: FramePlots, kind: Any, over: int, values: Any, ceiling: float) -> None:
        ceilings[kind.name, over] = ceiling
        whole(plots, kind, over, values, ceiling)

    monkeypatch.setattr(FramePlots, "_draw", draw)
    plots = FramePlots(tmp_path, 4, 2, 2, "a title")
    for count in (1, 2):
        plots.on_experience_end(after_chunk(History(seen=seen[:count])))
    assert ceilings == {("psnr", 1): 40.0, ("psnr", 2): 50.0, ("loss", 1): 0.01, ("loss", 2): 0.1}
    plots.complete(History(seen=seen))
    assert ceilings == {("psnr", 1): 50.0, ("psnr", 2): 50.0, ("loss", 1): 0.1, ("loss", 2): 0.1}
    assert [kind.name for kind in KINDS] == ["loss", "psnr"]


def test_bars_are_as_high_as_the_values(tmp_path: Path) -> None:
    """Counted in pixels: of four frames, the first is at a quarter of the axis, the second at half of it."""
    FramePlots(tmp_path, 4, 2, 2, "a title").on_experience_end(after_chunk(History(seen=[(1, [10.0, 20.0])])))
    pixels = np.asarray(Image.open(tmp_path / "plotpsnr_1.png").convert("RGB")).astype(int)
    dark = (pixels == 0x1A).all(-1)
    columns = dark.sum(0)
    wide = columns[columns > 60]  # letters are lower
    heights = sorted({int(h) for h in wide if (wide == h).sum() > 20})
    assert len(heights) == 2
    assert heights[1] / heights[0] == pytest.approx(2.0, abs=0.06)
