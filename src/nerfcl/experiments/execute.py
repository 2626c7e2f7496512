"""One experiment in one folder: it goes on where the folder says it stands, to its end."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from nerfcl.config.experiment import Experiment
from nerfcl.config.streams import FrameStream, WatchedStream
from nerfcl.experiments.outputs import FrameOutputs, Outputs, Run, TaskOutputs
from nerfcl.experiments.prepare import Prepared, prepare
from nerfcl.models.kernels import compile_kernels
from nerfcl.training.checkpoints import load_checkpoint, resume
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
    """Run an experiment from where its folder says it stands, to its end, and write its reports.

    Args:
        experiment: what is learned, from what, and how.
        folder: where results go; what was stopped goes on from there.
        label: of the strategy, for people; its name by default.
        command: that makes the results again; None is one that reads the description.
        outputs: what is kept, and where; None is as for nerfcl's own commands.
        prepared: the experiment's stream and model, where they are there already.
        begin: is called with a new learner when the folder holds nothing to go on from.
        until: stops when so many experiences are done; None goes on to the end.
        show: whether progress is shown.

    Returns:
        What `results.json` holds.

    Raises:
        NerfclError: something the user can put right; what is finished stays.
    """
    label = label or experiment.strategy.registry.name_of(type(experiment.strategy)) or "strategy"
    if isinstance(experiment.stream, WatchedStream):
        from nerfcl.experiments.watch import watch

        return watch(experiment, experiment.stream, folder, label=label, command=command)
    run = Run(experiment, prepared or prepare(experiment), folder, label, show, command)
    outputs = outputs or (FrameOutputs() if isinstance(experiment.stream, FrameStream) else TaskOutputs())
    if _is_there(folder):  # nothing of another run is read
        outputs.claim(run)
    learner = _take_up(run, outputs, begin)
    outputs.claim(run)  # a new folder is made only when nothing can be refused any more
    if not outputs.is_over(run, learner):
        learner.history.compilation = compilation_seconds()
        with outputs.callbacks(run, learner) as callbacks:
            learn(run.prepared.stream, learner, run.prepared.training, callbacks, until=until)
    return outputs.finish(run, learner)


def _is_there(folder: Path) -> bool:
    """Tell whether a folder exists, or could not even be asked for: claiming it says why."""
    try:
        return folder.exists()
    except (OSError, ValueError):
        return True


def _take_up(run: Run, outputs: Outputs, begin: Callable[[Run, Learner], None] | None) -> Learner:
    """Make a learner that stands where the folder says."""
    learner = run.prepared.new_learner(run.experiment.strategy, run.experiment.seed)
    latest = outputs.latest(run)
    if latest is not None:
        resume(learner, load_checkpoint(latest), run.prepared.training.optimiser)
    elif begin is not None:
        begin(run, learner)
    return learner


@cache
def compilation_seconds() -> float:
    """Compile the kernels, once in each process; return the seconds that it took."""
    return compile_kernels()
