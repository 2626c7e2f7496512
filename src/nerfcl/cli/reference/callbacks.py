"""Callbacks with the reference project's names: checkpoints by epoch, and TensorBoard scalars."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nerfcl.errors import NerfclError
from nerfcl.experiments.outputs import Run
from nerfcl.reports.live.tensorboard import TensorBoardWriter
from nerfcl.training.callbacks import Callback
from nerfcl.training.checkpoints import load_checkpoint, save_checkpoint
from nerfcl.training.history import History
from nerfcl.training.learner import Learner

KEPT = 5


class CheckpointKeeper(Callback):
    """Saves a learner at each validation; keeps the checkpoints of the lowest monitored losses, and always the last.

    Existing checkpoints are taken into account, so that an interrupted run continues as if it had not been interrupted.

    Args:
        run: run being trained; its folder holds the files epoch=N.ckpt.
        extra: additional content of the checkpoints.
        monitored: index of the group whose validation loss is monitored.
        before: epochs before the current experience.
        epoch_steps: steps per epoch of the current experience.
    """

    def __init__(self, run: Run, extra: dict[str, Any], monitored: int, before: int, epoch_steps: int) -> None:
        self._run, self._extra, self._monitored = run, extra, monitored
        self._before, self._epoch_steps = before, epoch_steps
        self.losses = {
            epoch: validation_losses(history)[monitored] for epoch, history in _saved_histories(run.folder).items()
        }

    def on_evaluation(self, learner: Learner) -> None:
        """Save, and remove checkpoints that are neither among the best nor the last."""
        epoch = self._before + learner.at // self._epoch_steps
        _save(self._run, learner, epoch, {**self._extra, "epoch": epoch})
        self.losses[epoch] = validation_losses(learner.history)[self._monitored]
        _remove_others(self._run.folder, self.losses, epoch)


class ChunkKeeper(Callback):
    """Saves a learner after each chunk; keeps the checkpoints of the lowest validation losses, and always the last.

    Args:
        run: run being trained; its folder holds the files epoch=N.ckpt. Those of chunks after `done` are removed.
        extra: additional content of the checkpoints.
        done: number of chunks learned.
    """

    def __init__(self, run: Run, extra: dict[str, Any], done: int) -> None:
        self._run, self._extra = run, extra
        for epoch, path in saved_epochs(run.folder).items():
            if epoch > done:
                path.unlink()
        histories = _saved_histories(run.folder)
        self.losses = {epoch: _loss_after(epoch, history) for epoch, history in histories.items()}

    def on_experience_end(self, learner: Learner) -> None:
        """Save, and remove checkpoints that are neither among the best nor the last."""
        _save(self._run, learner, learner.done, self._extra)
        self.losses[learner.done] = _loss_after(learner.done, learner.history)
        _remove_others(self._run.folder, self.losses, learner.done)


def _save(run: Run, learner: Learner, epoch: int, extra: dict[str, Any]) -> None:
    path = checkpoint_file(run.folder, epoch)
    prepared = run.prepared
    save_checkpoint(path, learner, run.experiment.to_plain(), prepared.model, data=prepared.data, extra=extra)


def _saved_histories(folder: Path) -> dict[int, History]:
    """Read the histories of the checkpoints in a folder, without damaged ones, which are trained again."""
    histories = {}
    for epoch, path in saved_epochs(folder).items():
        with suppress(NerfclError):
            histories[epoch] = load_checkpoint(path).history
    return histories


def _remove_others(folder: Path, losses: dict[int, float], last: int) -> None:
    """Remove checkpoints that are neither among the best nor the last; those without validation are never best."""
    validated = [epoch for epoch in losses if losses[epoch] < math.inf]
    best = sorted(validated, key=lambda epoch: losses[epoch])[:KEPT]
    for other in set(losses) - {*best, last}:
        checkpoint_file(folder, other).unlink(missing_ok=True)
        del losses[other]


def _loss_after(chunk: int, history: History) -> float:
    """Return the validation loss after a chunk; infinity if it was not validated."""
    validated = history.validation and history.validation[-1].at == chunk
    return validation_losses(history)[0] if validated else math.inf


class Board(TensorBoardWriter):
    """TensorBoard writer with the reference's names: val/loss_r and val/psnr_r for the right side, _l for the left.

    Args:
        folder: folder of the event files.
        tasks: names of the stream's groups: sides, or "all", which has no suffix.
        purge_step: see `TensorBoardWriter`.
    """

    def __init__(self, folder: Path, tasks: Sequence[str], purge_step: int) -> None:
        super().__init__(folder, tasks, purge_step)
        self._suffixes = ["" if task == "all" else f"_{task[0]}" for task in tasks]

    def write_validation(self, learner: Learner) -> None:
        """Write loss and PSNR of the latest validation."""
        history = learner.history
        losses, means = validation_losses(history), history.validation[-1].means
        for suffix, loss, psnr in zip(self._suffixes, losses, means, strict=True):
            self._writer.add_scalar(f"val/loss{suffix}", loss, history.steps)
            self._writer.add_scalar(f"val/psnr{suffix}", psnr, history.steps)

    def on_experience_end(self, learner: Learner) -> None:
        """Write nothing new: the end of an experience has already been validated."""
        del learner
        self._writer.flush()


def validation_losses(history: History) -> list[float]:
    """Compute the latest validation loss of each group: the mean squared error, averaged over views."""
    return [sum(10.0 ** (-psnr / 10.0) for psnr in views) / len(views) for views in history.validation[-1].psnr]


def checkpoint_file(folder: Path, epoch: int) -> Path:
    """Return the path of the checkpoint of an epoch."""
    return folder / f"epoch={epoch}.ckpt"


def saved_epochs(folder: Path) -> dict[int, Path]:
    """List the checkpoints in a folder by epoch, in order."""
    found = ((re.fullmatch(r"epoch=(\d+)\.ckpt", path.name), path) for path in folder.glob("epoch=*.ckpt"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))
