"""A run's figures and pictures for TensorBoard."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nerfcl.errors import NerfclError

if TYPE_CHECKING:
    from nerfcl.training.learner import History, Learner, StepReport

IMAGE_EVERY = 4  # frames
_PARTS = {"psnr": "train/psnr", "replay": "train/replay_loss", "soft": "train/distill_loss"}


class TensorBoardWriter:
    """Writes a run's events into a folder: an observer and a context manager.

    Tags are train/loss, train/psnr, train/replay_loss, train/distill_loss, lr, train/samples_per_ray,
    train/rays_per_second, val/psnr_TASK, test/psnr_TASK and the image watched_view; the global step is the training
    step. Figures of the strategy's state have their own names.

    Args:
        folder: of the event files; made where it is missing.
        tasks: names of the stream's tasks.
        purge_step: of a resumed run: events from this step on, written before the interruption, are to be forgotten.

    Raises:
        NerfclError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, tasks: Sequence[str], purge_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._tags = [f"psnr_{tag_of(task)}" for task in tasks]
        try:
            self._writer = SummaryWriter(str(folder), purge_step=purge_step)
        except OSError as error:
            raise NerfclError(f"{folder}: cannot be written ({error.strerror}); check the folder's rights") from error
        self._rays = 0
        self._since: float | None = None  # training seconds at the last write

    def __enter__(self) -> TensorBoardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def stepped(self, report: StepReport) -> None:
        """After every training step: writes where the loss was read."""
        if self._since is not None:
            self._rays += report.rays
        if report.loss is None:
            return
        write, step = self._writer.add_scalar, report.step
        write("train/loss", report.loss, step)
        for name, value in (report.losses or {}).items():
            if name in _PARTS:
                write(_PARTS[name], value, step)
        for name, value in report.figures.items():
            write(name, value, step)
        write("lr", report.learning_rate, step)
        write("train/samples_per_ray", report.samples / report.rays, step)
        if self._since is not None and report.seconds > self._since:
            write("train/rays_per_second", self._rays / (report.seconds - self._since), step)
        self._rays, self._since = 0, report.seconds

    def looked(self, history: History) -> None:
        """After the curve or the frames got longer: writes what is new; of the frames every fourth."""
        # A resumed run brings old looks along: only those of the present place are new.
        present = max(looks[-1][0] for looks in (history.curve, history.frames) if looks)
        if history.curve and history.curve[-1][0] == present:
            for tag, value in zip(self._tags, history.curve[-1][1], strict=True):
                if math.isnan(value):
                    continue
                self._writer.add_scalar(f"val/{tag}", value, history.steps)
        if history.frames and history.frames[-1][0] == present and (len(history.frames) - 1) % IMAGE_EVERY == 0:
            self._writer.add_image("watched_view", history.frames[-1][1], history.steps, dataformats="HWC")

    def finished(self, learner: Learner) -> None:
        """After an experience was learned and scored."""
        history = learner.history
        if history.scored and history.scored[-1] == learner.done:
            for tag, value in zip(self._tags, history.R[-1], strict=True):
                if not math.isnan(value):
                    self._writer.add_scalar(f"test/{tag}", value, history.steps)
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left to write."""
        self._writer.close()


def tag_of(task: str) -> str:
    """A task's name without spaces and slashes, which TensorBoard takes for groups: "sector 1/10" is sector_1-10."""
    return re.sub(r"[^\w.-]+", "_", task.replace("/", "-"))
