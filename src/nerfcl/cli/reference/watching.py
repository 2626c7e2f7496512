"""Who watches the training: keeps checkpoints, and writes what TensorBoard shows, under the reference's names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerfcl.models.settings import ModelSettings
from nerfcl.reports.tensorboard import TensorBoardWriter
from nerfcl.training.checkpoints import load_checkpoint, save_checkpoint
from nerfcl.training.learner import History, Learner, StepReport

KEPT = 5


class CheckpointKeeper:
    """Saves a learner at each validation: the best few by a monitored loss stay, and always the last.

    What is there already is taken into account, so that an interrupted run goes on as if it had not been.

    Args:
        folder: where the files epoch=N.ckpt are.
        learner: who learns, `before` epochs ago with another task.
        model_settings: how to build its model.
        run: what the checkpoints tell of the run.
        monitored: position of the experience whose validation loss decides; small is good.
        before: epochs before the present experience.
        steps_an_epoch: of the present experience.
    """

    def __init__(
        self,
        folder: Path,
        learner: Learner,
        model_settings: ModelSettings,
        run: dict[str, Any],
        monitored: int,
        before: int,
        steps_an_epoch: int,
    ) -> None:
        self._folder, self.learner, self._model_settings, self._run = folder, learner, model_settings, run
        self._monitored, self._before, self._steps_an_epoch = monitored, before, steps_an_epoch
        self.losses = {
            epoch: validation_losses(load_checkpoint(path).history)[monitored]
            for epoch, path in saved_epochs(folder).items()
        }

    def stepped(self, report: StepReport) -> None: ...

    def looked(self, history: History) -> None:
        """Saves, and removes what is neither among the best any more nor the last."""
        epoch = self._before + self.learner.at // self._steps_an_epoch
        run = {**self._run, "epoch": epoch}
        save_checkpoint(checkpoint_file(self._folder, epoch), self.learner, run, self._model_settings)
        self.losses[epoch] = validation_losses(history)[self._monitored]
        _remove_others(self._folder, self.losses, epoch)

    def finished(self, learner: Learner) -> None: ...


class ChunkKeeper:
    """Saves a learner after each chunk: the best few of those that were validated stay, and always the last.

    Args:
        folder: where the files epoch=N.ckpt are, of chunks so far; those of later chunks are removed.
        model_settings: how to build the model.
        run: what the checkpoints tell of the run.
        done: chunks so far.
    """

    def __init__(self, folder: Path, model_settings: ModelSettings, run: dict[str, Any], done: int) -> None:
        self._folder, self._model_settings, self._run = folder, model_settings, run
        self.losses: dict[int, float] = {}
        for epoch, path in saved_epochs(folder).items():
            if epoch > done:
                path.unlink()
            else:
                self.losses[epoch] = _loss_after(epoch, load_checkpoint(path).history)

    def stepped(self, report: StepReport) -> None: ...

    def looked(self, history: History) -> None: ...

    def finished(self, learner: Learner) -> None:
        """Saves, and removes what is neither among the best any more nor the last."""
        epoch = learner.done
        save_checkpoint(checkpoint_file(self._folder, epoch), learner, self._run, self._model_settings)
        self.losses[epoch] = _loss_after(epoch, learner.history)
        _remove_others(self._folder, self.losses, epoch)


def _remove_others(folder: Path, losses: dict[int, float], last: int) -> None:
    """Removes checkpoints that are neither among the best few nor the last; what was not validated is none of those."""
    validated = [epoch for epoch in losses if losses[epoch] < math.inf]
    best = sorted(validated, key=lambda epoch: losses[epoch])[:KEPT]
    for other in set(losses) - {*best, last}:
        checkpoint_file(folder, other).unlink(missing_ok=True)
        del losses[other]


def _loss_after(chunk: int, history: History) -> float:
    """The validation loss after a chunk; infinite where it was not validated."""
    return validation_losses(history)[0] if history.curve and history.curve[-1][0] == chunk else math.inf


class Board(TensorBoardWriter):
    """TensorBoard under the reference's names: val/loss_r and val/psnr_r of the right side, likewise _l; see above.

    Args:
        folder: of the event files.
        tasks: names of the stream's experiences: sides, or "all", which has no suffix.
        purge_step: see `TensorBoardWriter`.
    """

    def __init__(self, folder: Path, tasks: Sequence[str], purge_step: int) -> None:
        super().__init__(folder, tasks, purge_step)
        self._suffixes = ["" if task == "all" else f"_{task[0]}" for task in tasks]

    def looked(self, history: History) -> None:
        """After each validation."""
        for suffix, loss, psnr in zip(self._suffixes, validation_losses(history), history.curve[-1][1], strict=True):
            self._writer.add_scalar(f"val/loss{suffix}", loss, history.steps)
            self._writer.add_scalar(f"val/psnr{suffix}", psnr, history.steps)

    def finished(self, learner: Learner) -> None:
        """After the experience: nothing is added, its end was a validation, too."""
        del learner
        self._writer.flush()


def validation_losses(history: History) -> list[float]:
    """Each experience's validation loss when it was last looked at: the mean over views of the mean squared error."""
    return [sum(10.0 ** (-psnr / 10.0) for psnr in views) / len(views) for views in history.looks[-1]]


def checkpoint_file(folder: Path, epoch: int) -> Path:
    """Where the checkpoint of an epoch is."""
    return folder / f"epoch={epoch}.ckpt"


def saved_epochs(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by epoch, in order."""
    found = ((re.fullmatch(r"epoch=(\d+)\.ckpt", path.name), path) for path in folder.glob("epoch=*.ckpt"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))
