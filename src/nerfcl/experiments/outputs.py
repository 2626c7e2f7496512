"""Outputs of a run: checkpoints, event files, figures, results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nerfcl.config.experiment import SCHEMA, Experiment
from nerfcl.experiments.folders import claimed_folder
from nerfcl.experiments.prepare import Prepared
from nerfcl.files import write_json
from nerfcl.reports.live.progress import ProgressBar
from nerfcl.reports.live.tensorboard import TensorBoardWriter
from nerfcl.reports.run.animation import forgetting_gif
from nerfcl.reports.run.figures import curves_figure, matrix_figure, views_figure
from nerfcl.reports.run.results import results_of
from nerfcl.reports.stream.animation import chunk_bars_gif, frames_gif
from nerfcl.reports.stream.figures import chunk_bars_figure, evolution_figure, frames_figure
from nerfcl.streams.stream import Stream
from nerfcl.training.callbacks import Callback
from nerfcl.training.checkpoints import previous_of, save_checkpoint
from nerfcl.training.history import History
from nerfcl.training.learner import Learner

RESULTS = "results.json"  # written when a run is finished


@dataclass(frozen=True)
class Run:
    """An experiment being executed.

    Attributes:
        experiment: description of the experiment.
        prepared: stream, model settings and device.
        folder: output folder.
        label: label of the strategy.
        show: whether to show progress; not if other runs share the terminal.
        command: command that reproduces the run; None is one that reads the description.
    """

    experiment: Experiment
    prepared: Prepared
    folder: Path
    label: str
    show: bool = True
    command: str | None = None

    def progress_bar(self, label: str) -> ProgressBar:
        """Create the progress bar of the run, which is silent unless `show`."""
        from rich.console import Console

        console = None if self.show else Console(quiet=True, force_terminal=False)
        return ProgressBar(label, self.prepared.stream.names, console)


class Outputs(Protocol):
    """What is saved of a run, and where."""

    def claimed(self, run: Run) -> AbstractContextManager[bool]:
        """Hold the folder for this run, see `claimed_folder`.

        Raises:
            NerfclError: the folder holds something else, or is in use.
        """
        ...

    def checkpoints(self, run: Run) -> list[Path]:
        """List where checkpoints to resume from may be, newest first."""
        ...

    def is_over(self, run: Run, learner: Learner) -> bool:
        """Tell whether there is nothing left to learn."""
        ...

    def callbacks(self, run: Run, learner: Learner) -> AbstractContextManager[list[Callback]]:
        """Open the callbacks; the last one saves the learner, so that whatever a kill loses is done again."""
        ...

    def finish(self, run: Run, learner: Learner) -> dict[str, Any]:
        """Write the reports of a finished run, and return its results."""
        ...


class TaskOutputs:
    """A checkpoint after each task, and figures of what was forgotten."""

    def claimed(self, run: Run) -> AbstractContextManager[bool]:
        return _claimed(run)

    def checkpoints(self, run: Run) -> list[Path]:
        return [self.checkpoint(run.folder, done) for done in range(len(run.prepared.stream), 0, -1)]

    def is_over(self, run: Run, learner: Learner) -> bool:
        return learner.done >= len(run.prepared.stream)

    @contextmanager
    def callbacks(self, run: Run, learner: Learner) -> Iterator[list[Callback]]:
        with open_live(run, learner) as live:
            yield [*live, _SaveTasks(run)]

    def finish(self, run: Run, learner: Learner) -> dict[str, Any]:
        results = described_results(run, learner.history)
        _draw_tasks(run, learner)
        write_json(run.folder / RESULTS, results)
        return results

    @staticmethod
    def checkpoint(folder: Path, done: int) -> Path:
        """Return the path of the checkpoint after `done` tasks."""
        return folder / "checkpoints" / f"task-{done}.pt"

    @staticmethod
    def save(run: Run, learner: Learner) -> None:
        """Write the checkpoint after a task."""
        save_checkpoint(
            TaskOutputs.checkpoint(run.folder, learner.done),
            learner,
            run.experiment.to_plain(),
            run.prepared.model,
            data=run.prepared.data,
            # Otherwise the next task starts with a new optimiser.
            with_optimiser=run.prepared.training.keep_optimiser,
        )


class FrameOutputs:
    """The latest checkpoint, written after each chunk, and figures of every frame and chunk."""

    def claimed(self, run: Run) -> AbstractContextManager[bool]:
        return _claimed(run)

    def checkpoints(self, run: Run) -> list[Path]:
        latest = self.checkpoint(run.folder)
        return [latest, previous_of(latest)]

    def is_over(self, run: Run, learner: Learner) -> bool:
        return learner.done >= len(run.prepared.stream)

    @contextmanager
    def callbacks(self, run: Run, learner: Learner) -> Iterator[list[Callback]]:
        with open_live(run, learner) as live:
            yield [*live, _SaveLatest(run)]

    def finish(self, run: Run, learner: Learner) -> dict[str, Any]:
        results = {**described_results(run, learner.history), "frames": run.prepared.stream.frames}
        _draw_frames(run, learner.history)
        write_json(run.folder / RESULTS, results)
        return results

    @staticmethod
    def checkpoint(folder: Path) -> Path:
        """Return the path of the latest checkpoint."""
        return folder / "checkpoints" / "latest.pt"


@contextmanager
def open_live(run: Run, learner: Learner) -> Iterator[list[Callback]]:
    """Open the progress bar and the event files of a run."""
    names = run.prepared.stream.names
    with (
        run.progress_bar(f"{run.label} · seed {run.experiment.seed}") as bar,
        TensorBoardWriter(run.folder / "tensorboard", names, purge_step=learner.history.steps + 1) as board,
    ):
        yield [bar, board]


def described_results(run: Run, history: History) -> dict[str, Any]:
    """Collect a run's results, together with its description."""
    results = results_of(history, run.prepared.stream, run.label, run.experiment.seed, run.prepared.training)
    return {**results, "schema": SCHEMA, "experiment": run.experiment.to_plain(), "data": run.prepared.data}


def _claimed(run: Run) -> AbstractContextManager[bool]:
    return claimed_folder(run.folder, run.experiment, run.prepared.data, label=run.label, command=run.command)


def draw_forgetting(path: Path, histories: Mapping[str, History], prepared: Prepared) -> None:
    """Draw the pictured view over the course of training, for each of several runs."""
    pictured = prepared.stream.pictured
    truth = prepared.stream.groups[pictured.group].test.images[pictured.view].numpy()
    frames = {label: history.frames for label, history in histories.items() if history.frames}
    if frames:
        forgetting_gif(path, frames, truth, prepared.stream.names, *prepared.training.length)


def draw_seen_frames(folder: Path, histories: Mapping[str, History], stream: Stream, title: str) -> None:
    """Draw the PSNR of every frame seen so far over the course of the stream, for each of several runs."""
    logs = {label: history.seen for label, history in histories.items()}
    chunk_frames = len(stream[0].train)
    frames_figure(folder / "frames.png", logs, chunk_frames, title)
    frames_gif(folder / "frames.gif", logs, chunk_frames, title)


class _SaveTasks(Callback):
    """Writes a checkpoint after each task."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_experience_end(self, learner: Learner) -> None:
        TaskOutputs.save(self._run, learner)


class _SaveLatest(Callback):
    """Writes the checkpoint after each chunk, so that a kill loses no more than the current chunk."""

    def __init__(self, run: Run) -> None:
        self._run, self._experiment = run, run.experiment.to_plain()

    def on_experience_end(self, learner: Learner) -> None:
        path, prepared = FrameOutputs.checkpoint(self._run.folder), self._run.prepared
        save_checkpoint(path, learner, self._experiment, prepared.model, data=prepared.data, keep_previous=True)


def _draw_tasks(run: Run, learner: Learner) -> None:
    history, stream, folder = learner.history, run.prepared.stream, run.folder
    title, names = f"{run.prepared.title}, {run.label}", stream.names
    pictured = stream.pictured
    test = stream.groups[pictured.group].test
    matrix_figure(folder / "matrix.png", history.R, names, title)
    length, unit = run.prepared.training.length
    from_scratch = learner.strategy.from_scratch
    curves_figure(folder / "curves.png", history.curve, names, length, title, unit=unit, from_scratch=from_scratch)
    views_figure(
        folder / "views.png",
        [test.images[v].numpy() for v in pictured.shown],
        [[images[v] for v in pictured.shown] for images in history.renderings],
        [[row[pictured.group][v] for v in pictured.shown] for row in history.psnr],
        names,
        title,
    )
    draw_forgetting(folder / "forgetting.gif", {run.label: history}, run.prepared)


def _draw_frames(run: Run, history: History) -> None:
    stream, folder, title = run.prepared.stream, run.folder, f"{run.prepared.title}, {run.label}"
    draw_seen_frames(folder, {run.label: history}, stream, title)
    chunks = list(zip(history.tested, history.psnr, strict=True))
    if len(stream) > 1:
        chunk_bars_figure(folder / "chunks.png", chunks[-1][1], chunks[-1][0], title)
        chunk_bars_gif(folder / "chunks.gif", chunks, title)
        for over, values in chunks:
            chunk_bars_figure(folder / "chunks" / f"after-{over}.png", values, over, title)
    pictured = stream.pictured
    view = pictured.shown[-1]
    images = [
        (over, renderings[view], values[pictured.group][view])
        for over, renderings, values in zip(history.tested, history.renderings, history.psnr, strict=True)
    ]
    truth = stream.groups[pictured.group].test.images[view].numpy()
    evolution_figure(folder / "evolution.png", truth, images, title)
