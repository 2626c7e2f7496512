"""Execution of one experiment in one folder, resuming from what the folder holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from nerfcl.config.experiment import Experiment
from nerfcl.config.streams import FrameStream, WatchedStream
from nerfcl.experiments.folders import check_origin, check_still_there
from nerfcl.experiments.outputs import FrameOutputs, Outputs, Run, TaskOutputs
from nerfcl.experiments.prepare import Prepared, prepare
from nerfcl.models.compilation import compile_kernels
from nerfcl.training.callbacks import Callback
from nerfcl.training.checkpoints import load_newest, resume
from nerfcl.training.learner import Learner
from nerfcl.training.loop import learn


def execute(
    experiment: Experiment,
    folder: Path,
    *,
    label: str = "",
    command: str | None = None,
    outputs: Outputs | None = None,
    prepared: Prepared | None = None,
    begin: Callable[[Run, Learner], None] | None = None,
    until: int | None = None,
    show: bool = True,
) -> dict[str, Any]:
    """Run an experiment to its end, resuming from its folder, and write its reports.

    Args:
        experiment: what is learned, from what, and how.
        folder: output folder; an interrupted run resumes from it.
        label: label of the strategy; its name by default.
        command: command that reproduces the results; None is one that reads the description.
        outputs: what is saved, and where; None is the default of nerfcl's own commands.
        prepared: stream and model settings, if already prepared.
        begin: called with the new learner if the folder holds no checkpoint to resume from.
        until: number of experiences after which to stop; None runs to the end.
        show: whether to show progress.

    Returns:
        The content of `results.json`.

    Raises:
        NerfclError: the user can fix the error and resume; finished experiences are kept.
    """
    label = label or experiment.strategy.registry.name_of(type(experiment.strategy)) or "strategy"
    if isinstance(experiment.stream, WatchedStream):
        from nerfcl.experiments.watch import watch

        return watch(experiment, experiment.stream, folder, label=label, command=command)
    run = Run(experiment, prepared or prepare(experiment), folder, label, show, command)
    outputs = outputs or (FrameOutputs() if isinstance(experiment.stream, FrameStream) else TaskOutputs())
    with ExitStack() as stack:
        if _is_there(folder):  # read nothing of another run
            stack.enter_context(outputs.claimed(run))
            run, learner = _take_up(run, outputs, begin)
        else:  # create the folder only after everything is validated
            run, learner = _take_up(run, outputs, begin)
            if stack.enter_context(outputs.claimed(run)):  # another process was faster
                run, learner = _take_up(run, outputs, begin)
        if not outputs.is_over(run, learner):
            learner.history.compilation = compilation_seconds()
            with outputs.callbacks(run, learner) as callbacks:
                watchful = [_StillThere(folder), *callbacks]  # before anything is saved, which would create it anew
                learn(run.prepared.stream, learner, run.prepared.training, watchful, until=until)
        check_still_there(folder)
        return outputs.finish(run, learner)


class _StillThere(Callback):
    """Ends a run whose folder was removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_experience_end(self, learner: Learner) -> None:
        check_still_there(self._folder)


def _is_there(folder: Path) -> bool:
    """Tell whether a folder exists; True if that cannot be determined, since claiming it then says why."""
    try:
        return folder.exists()
    except (OSError, ValueError):
        return True


def _take_up(run: Run, outputs: Outputs, begin: Callable[[Run, Learner], None] | None) -> tuple[Run, Learner]:
    """Create a learner, and restore it from the folder; a model that an earlier version began keeps its shape."""
    found = load_newest(outputs.checkpoints(run))
    if found is None:
        learner = run.prepared.new_learner(run.experiment.strategy, run.experiment.seed)
        if begin is not None:
            begin(run, learner)
        return run, learner
    checkpoint, path = found
    check_origin(checkpoint, path, run.experiment, run.prepared.data)
    run = replace(run, prepared=replace(run.prepared, model=checkpoint.model_settings))
    learner = run.prepared.new_learner(run.experiment.strategy, run.experiment.seed)
    resume(learner, checkpoint, run.prepared.training.optimiser)
    return run, learner


@cache
def compilation_seconds() -> float:
    """Compile the kernels, once per process; return the elapsed seconds."""
    return compile_kernels()
