"""How far a run has come, while it runs: progress in the terminal, and events read back from TensorBoard's files."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from nerfcl.errors import NerfclError
from nerfcl.reports.live.progress import ProgressBar, track
from nerfcl.reports.live.tensorboard import TensorBoardWriter
from nerfcl.training.callbacks import StepReport
from nerfcl.training.history import History
from nerfcl.training.learner import Learner
from reports.summaries import TWO, validations
from support.folders import scalars
from support.pictures import noise


def learner_with(history: History, done: int = 0) -> Learner:
    """As much of a learner as callbacks read."""
    return cast(Learner, SimpleNamespace(history=history, done=done))


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


# Progress


def test_plain_lines_at_the_ends_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("nerfcl.reports.live.progress.time.perf_counter", lambda: clock.now)
    out, history = io.StringIO(), History()
    learner = learner_with(history)
    with ProgressBar("replay", TWO, Console(file=out, width=40)) as bar:
        for step in range(1, 41):
            clock.now += 0.4
            task = "right" if step <= 20 else "left"
            bar.on_step(
                learner, step_report(step, task=task, loss=0.05 / step if step % 10 == 0 or step == 1 else None)
            )
            if step % 10 == 0:
                history.validation += validations([(step / 20, [30.0 + step / 100, 20.0 + step / 100])])
                bar.on_evaluation(learner)
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
            bar.on_step(learner_with(History()), step_report(step, loss=0.00123))
    text = out.getvalue()
    assert "replay · right" in text
    assert "40/40" in text
    assert "loss 0.00123" in text
    assert text.count("replay · right") < 8, "the first and the last step, and once more when it stops"


def test_tracking_passes_everything_on_in_order_and_tells_when_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(track(["a", "b"], "letters")) == ["a", "b"]
    assert capsys.readouterr().err == ""
    clock = iter(range(0, 100, 3))
    monkeypatch.setattr("nerfcl.reports.live.progress.time.perf_counter", lambda: float(next(clock)))
    assert list(track(range(4), "numbers")) == [0, 1, 2, 3]
    assert capsys.readouterr().err.splitlines() == ["numbers 1/4", "numbers 3/4"]


# TensorBoard


def events(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={IMAGES: 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_events_are_what_was_reported(tmp_path: Path) -> None:
    tasks = ["right", "sector 1/10"]
    history, frame = History(), noise(6, 9)
    learner = learner_with(history, done=1)
    with TensorBoardWriter(tmp_path, tasks) as writer:
        for step in range(1, 21):
            loss = 0.25 / step if step == 1 or step % 10 == 0 else None
            writer.on_step(learner, step_report(step, loss=loss, seconds=0.5 * step))
            history.steps = step
            if step % 2 == 0:
                history.frames.append((step / 20, frame + np.uint8(step)))
            if step % 10 == 0:
                history.validation += validations([(step / 20, [20.5 + step, 10.5])])
            if step % 2 == 0:
                writer.on_evaluation(learner)
        history.R.append([31.25, 12.5])
        history.tested.append(1)
        writer.on_experience_end(learner)
        history.steps = 30
        writer.on_experience_end(learner_with(history, done=2))  # not tested again: nothing to write

    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == {
        "train/loss",
        "train/new_loss",
        "train/psnr",
        "lr",
        "train/samples_per_ray",
        "train/rays_per_second",
        "val/psnr_right",
        "val/psnr_sector_1-10",
        "test/psnr_right",
        "test/psnr_sector_1-10",
    }
    assert scalars(tmp_path, "train/loss") == [(1, 0.25), (10, np.float32(0.025)), (20, np.float32(0.0125))]
    assert scalars(tmp_path, "train/psnr") == [(1, 21.5), (10, 21.5), (20, 21.5)]
    assert scalars(tmp_path, "lr")[0] == (1, np.float32(0.02))
    assert scalars(tmp_path, "train/samples_per_ray") == [(1, 8.0), (10, 8.0), (20, 8.0)]
    # 1024 rays every half second; before the first write nothing is known.
    assert scalars(tmp_path, "train/rays_per_second") == [(10, 2048.0), (20, 2048.0)]
    assert scalars(tmp_path, "val/psnr_right") == [(10, 30.5), (20, 40.5)]
    assert scalars(tmp_path, "val/psnr_sector_1-10") == [(10, 10.5), (20, 10.5)]
    assert scalars(tmp_path, "test/psnr_right") == [(20, 31.25)]
    assert scalars(tmp_path, "test/psnr_sector_1-10") == [(20, 12.5)]

    images = found.Images("pictured_view")
    assert [image.step for image in images] == [2, 10, 18], "every fourth of the frames at 2, 4, 6, ..."
    with Image.open(io.BytesIO(images[1].encoded_image_string)) as image:
        assert (np.asarray(image) == frame + np.uint8(10)).all()


def test_tensorboard_tells_the_parts_of_the_loss_apart_and_takes_metrics(tmp_path: Path) -> None:
    parts, learner = {"new": 0.5, "replay": 0.25, "distill": 0.125, "psnr": 3.0}, learner_with(History())
    with TensorBoardWriter(tmp_path, TWO) as writer:
        writer.on_step(learner, dataclasses.replace(step_report(1), losses={"new": 0.5, "psnr": 2.0}))
        writer.on_step(learner, dataclasses.replace(step_report(2), losses=None))
        third = dataclasses.replace(step_report(3), losses=parts, learning_rate=0.5, metrics={"memory/rays": 7.0})
        writer.on_step(learner, third)
    assert scalars(tmp_path, "train/loss") == [(1, 0.5), (3, 0.875)]
    assert scalars(tmp_path, "train/psnr") == [(1, 2.0), (3, 3.0)]
    assert scalars(tmp_path, "train/replay_loss") == [(3, 0.25)]
    assert scalars(tmp_path, "train/distill_loss") == [(3, 0.125)]
    assert scalars(tmp_path, "lr") == [(1, np.float32(0.02)), (3, 0.5)]
    assert scalars(tmp_path, "memory/rays") == [(3, 7.0)]


def test_tensorboard_leaves_out_tasks_without_views(tmp_path: Path) -> None:
    history = History(validation=validations([(1.0, [None, 12.0])]), R=[[math.nan, 13.0]], tested=[1], steps=5)
    with TensorBoardWriter(tmp_path, TWO) as writer:
        writer.on_evaluation(learner_with(history))
        writer.on_experience_end(learner_with(history, done=1))
    assert events(tmp_path).Tags()["scalars"] == ["val/psnr_left", "test/psnr_left"]


def test_a_resumed_run_writes_no_old_evaluations_and_forgets_what_was_lost(tmp_path: Path) -> None:
    history = History(validation=validations([(1.0, [30.0, 12.0])]), frames=[(1.0, noise(4, 4))], steps=20)
    learner = learner_with(history)
    with TensorBoardWriter(tmp_path, TWO) as writer:
        for step in (10, 20, 30):
            writer.on_step(learner, step_report(step, loss=1.0))
    with TensorBoardWriter(tmp_path, TWO, purge_step=20) as writer:
        history.steps = 25
        history.frames.append((1.25, noise(4, 4)))
        writer.on_evaluation(learner)
        writer.on_step(learner, step_report(30, loss=0.5))
    assert scalars(tmp_path, "train/loss") == [(10, 1.0), (30, 0.5)]
    assert "val/psnr_right" not in events(tmp_path).Tags()["scalars"]


@pytest.mark.parametrize(
    "clock", [[5e9, 4e9, 3e9, 1e9], [1e9, 1e9, 1e9, 1e9], [1e9, 4e9, 2e9, 3e9], [7.0, 5.0, 6.0, 4.0]]
)
@pytest.mark.parametrize("before", [0, 6, 7, 96, 97])
def test_a_resumed_run_shows_every_point_once_whatever_the_clock_says(
    clock: list[float], before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.summary.writer import event_file_writer

    # Names of files end with a number that a process counts up.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(before))
    written = 0
    for start, now in zip((0, 20, 50, 80), clock, strict=True):
        monkeypatch.setattr("time.time", lambda now=now: now)
        assert start <= written, "killed after its last checkpoint"
        with TensorBoardWriter(tmp_path, TWO, purge_step=start + 1) as writer:
            for step in range(start + 1, start + 41):
                writer.on_step(learner_with(History()), step_report(step, loss=1.0 + start))
        written = start + 40
    monkeypatch.undo()
    assert scalars(tmp_path, "train/loss") == [
        (step, 1.0 + max(start for start in (0, 20, 50, 80) if start < step)) for step in range(1, 121)
    ]


def test_a_tensorboard_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NerfclError, match="file"):
        TensorBoardWriter(tmp_path / "file" / "events", TWO)
