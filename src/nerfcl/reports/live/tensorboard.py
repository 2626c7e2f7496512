"""TensorBoard events of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nerfcl.errors import NerfclError
from nerfcl.training.callbacks import Callback

if TYPE_CHECKING:
    from nerfcl.training.callbacks import StepReport
    from nerfcl.training.learner import Learner

IMAGE_EVERY = 4  # frames between images


class TensorBoardWriter(Callback):
    """Writes a run's events to a folder; a callback and a context manager.

    Tags are train/loss, train/NAME_loss for each term of the loss, train/psnr, lr, train/samples_per_ray,
    train/rays_per_second, val/psnr_TASK, test/psnr_TASK and the image pictured_view; the global step is the training
    step. Metrics of the strategy's state have their own names.

    Args:
        folder: folder of the event files; created if it is missing.
        tasks: names of the stream's groups.
        purge_step: for a resumed run, the step from which on events written before the interruption are discarded.

    Raises:
        NerfclError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, tasks: Sequence[str], purge_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._tags = [f"psnr_{tag_of(task)}" for task in tasks]
        self._folder = Path(folder)
        with self._errors_named():
            _number_earlier_files(self._folder)
            self._writer = SummaryWriter(str(folder), purge_step=purge_step)
        self._rays = 0
        self._since: float | None = None  # training time at the last write

    def __enter__(self) -> TensorBoardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(*(() if kind is None else (NerfclError,))):  # the first error is the one to tell
            self.close()

    def on_step(self, learner: Learner, report: StepReport) -> None:
        """Write the values that were read in this step, if any."""
        if self._since is not None:
            self._rays += report.rays
        if report.losses is None:
            return
        values = {f"train/{name}" if name == "psnr" else f"train/{name}_loss": v for name, v in report.losses.items()}
        values = {"train/loss": report.loss, **values, **report.metrics, "lr": report.learning_rate}
        values["train/samples_per_ray"] = report.samples / report.rays
        if self._since is not None and report.seconds > self._since:
            values["train/rays_per_second"] = self._rays / (report.seconds - self._since)
        self._write(values, report.step)
        self._rays, self._since = 0, report.seconds

    def on_evaluation(self, learner: Learner) -> None:
        """Write the latest validation, and every fourth frame."""
        history = learner.history
        ends = [entries[-1] for entries in (history.curve, history.frames) if entries]
        # The history of a resumed run contains old evaluations; only those at the current position are new.
        present = max(at for at, _ in ends)
        if history.validation and history.validation[-1].at == present:
            self.write_validation(learner)
        if history.frames and history.frames[-1][0] == present and (len(history.frames) - 1) % IMAGE_EVERY == 0:
            with self._errors_named():
                self._writer.add_image("pictured_view", history.frames[-1][1], history.steps, dataformats="HWC")

    def write_validation(self, learner: Learner) -> None:
        """Write the latest validation."""
        self._write_tasks("val", learner.history.validation[-1].means, learner.history.steps)

    def on_experience_end(self, learner: Learner) -> None:
        """Write the latest test, if one followed the experience."""
        history = learner.history
        if history.tested and history.tested[-1] == learner.done:
            self._write_tasks("test", history.R[-1], history.steps)
        with self._errors_named():
            self._writer.flush()

    def close(self) -> None:
        """Write pending events and close the file."""
        with self._errors_named():
            self._writer.close()

    def _write_tasks(self, group: str, values: Sequence[float], step: int) -> None:
        named = zip(self._tags, values, strict=True)
        self._write({f"{group}/{tag}": value for tag, value in named if not math.isnan(value)}, step)

    def _write(self, values: Mapping[str, float | None], step: int) -> None:
        with self._errors_named():
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turn errors of the file, which may appear in any later call, into one that names the folder."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise NerfclError(
                f"{self._folder}: cannot be written ({reason}); check the folder and the free disk space"
            ) from error


def _number_earlier_files(folder: Path) -> None:
    """Rename the event files of a folder so that they sort before a new one.

    TensorBoard reads files in the order of their names, which begin with the clock's time in seconds. If that was set
    back, or two files were begun in the same second, it would discard the wrong points.
    """
    for number, path in enumerate(sorted(folder.glob("events.out.tfevents.*"))):
        path.rename(path.with_name(f"events.out.tfevents.{number:010d}.earlier"))


def tag_of(task: str) -> str:
    """Replace spaces, and slashes, which TensorBoard takes for groups: "sector 1/10" becomes "sector_1-10"."""
    return re.sub(r"[^\w.-]+", "_", task.replace("/", "-"))
