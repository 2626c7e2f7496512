"""train_online.py: learns a trajectory of frames, a chunk at a time, and resumes from a finished chunk."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from nerfcl.cli.reference.callbacks import Board, ChunkKeeper, checkpoint_file, saved_epochs
from nerfcl.cli.reference.describe import check_layout, online_experiment, told_flags
from nerfcl.cli.reference.plots import FramePlots
from nerfcl.cli.reference.train import claimed_for_flags
from nerfcl.errors import NerfclError
from nerfcl.experiments.execute import execute
from nerfcl.experiments.outputs import Run
from nerfcl.experiments.prepare import prepare
from nerfcl.training.callbacks import Callback
from nerfcl.training.checkpoints import load_checkpoint
from nerfcl.training.learner import Learner


def run(options: Namespace) -> None:
    """Learn the stream from where it stopped, and print the mean PSNR and what was written.

    Args:
        options: checked flags; see `options.py`.

    Raises:
        NerfclError: the user can fix the error; nothing was written except for finished chunks.
    """
    experiment = online_experiment(options)
    check_layout(options)
    folder = Path("ckpts") / options.exp_name
    _check_origin(folder, options)
    prepared = prepare(experiment)
    for split in ("val", "test"):
        if not len(getattr(prepared.stream.groups[0], split)):
            raise NerfclError(f"--root_dir {options.root_dir}: has no {split} views; add some, or give another folder")
    execute(experiment, folder, label=options.exp_name, outputs=_Outputs(options), prepared=prepared)


class _Outputs:
    """Checkpoints by chunk in ckpts/, event files in logs/, and bar charts of all frames in plots/.

    Args:
        options: checked flags.
    """

    def __init__(self, options: Namespace) -> None:
        self._options = options
        self._logs, self._plots_folder = (Path(name) / options.exp_name for name in ("logs", "plots"))
        self._keeper: ChunkKeeper | None = None
        self._plots: FramePlots | None = None

    def claimed(self, run: Run) -> AbstractContextManager[bool]:
        return claimed_for_flags(run, self._options)

    def checkpoints(self, run: Run) -> list[Path]:
        saved = saved_epochs(run.folder)
        if self._options.resume:
            return [saved[self._options.resume // self._options.chunk_size]]
        return [*reversed(saved.values())]

    def is_over(self, run: Run, learner: Learner) -> bool:
        stream = run.prepared.stream
        extra = {"flags": told_flags(self._options), "tasks": ["all"]}
        self._keeper = ChunkKeeper(run, extra, learner.done)
        if self._options.save_plots:
            title = f"{run.prepared.title}, {self._options.exp_name}"
            self._plots = FramePlots(self._plots_folder, stream.frames, self._options.chunk_size, len(stream), title)
        return learner.done >= len(stream)

    @contextmanager
    def callbacks(self, run: Run, learner: Learner) -> Iterator[list[Callback]]:
        step = learner.history.steps + 1
        assert self._keeper is not None
        with run.progress_bar(self._options.exp_name) as bar, Board(self._logs, ["all"], purge_step=step) as board:
            # The keeper last: what a kill loses of the others is redone with the chunk.
            yield [bar, board, *([self._plots] if self._plots else []), self._keeper]

    def finish(self, run: Run, learner: Learner) -> dict[str, Any]:
        history = learner.history
        if self._plots is not None:
            self._plots.complete(history)
        for what, psnr in (("test views", history.psnr[-1][0]), ("frames seen", history.seen[-1][1])):
            print(f"Mean PSNR over {len(psnr)} {what} : {sum(psnr) / len(psnr):.2f}")
        assert self._keeper is not None
        for epoch, loss in sorted(self._keeper.losses.items()):
            print(f"{checkpoint_file(run.folder, epoch)}: val/loss {loss:.6f}")
        if self._plots is not None:
            print(f"plots: {self._plots_folder}, animated in {' and '.join(str(gif) for gif in self._plots.gifs)}")
        print(f"logs: {self._logs} (tensorboard --logdir logs)")
        return {}


def _check_origin(folder: Path, options: Namespace) -> None:
    """Reject `--resume` if the checkpoint of the chunk before is missing or damaged."""
    saved = saved_epochs(folder)
    chunk = options.resume // options.chunk_size
    if options.resume and chunk not in saved:
        others = ", ".join(str(epoch * options.chunk_size) for epoch in saved if epoch < options.num_epochs)
        there = f"give one of {others}" if others else "there are no others, either; leave it out"
        raise NerfclError(f"--resume {options.resume}: {checkpoint_file(folder, chunk)} is missing; {there}")
    if options.resume:
        load_checkpoint(saved[chunk])  # rejects a damaged one, instead of starting over
