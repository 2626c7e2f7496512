"""Comparisons: several strategies with several seeds, each run in its own subfolder, and one table of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nerfcl.config.comparison import Comparison
from nerfcl.config.experiment import Experiment
from nerfcl.config.streams import FrameStream
from nerfcl.errors import NerfclError
from nerfcl.experiments.compare_reports import report_streams, report_tasks
from nerfcl.experiments.execute import execute
from nerfcl.experiments.folders import check_data, check_origin, claimed_folder
from nerfcl.experiments.outputs import RESULTS, Run, TaskOutputs
from nerfcl.experiments.plan import FIRST_TASK, Planned, plan, shares_first_task
from nerfcl.experiments.prepare import Prepared
from nerfcl.experiments.workers import Workers
from nerfcl.jobs.job import Job, run_jobs
from nerfcl.locks import locked
from nerfcl.reports.run.results import read_results
from nerfcl.strategies.finetune import FineTune
from nerfcl.training.checkpoints import load_newest, resume
from nerfcl.training.learner import Learner
from nerfcl.training.loop import adopt_first_experience


def compare(
    comparison: Comparison, out: Path, workers: Workers | None = None, *, command: str | None = None
) -> list[dict[str, Any]]:
    """Run all configurations with all seeds, and report them side by side: tables, figures, and for tasks a web page.

    On tasks, the first one is learned only once per seed, since all strategies train alike until its end.

    Args:
        comparison: configurations and seeds to compare.
        out: output folder; finished runs in it are not repeated.
        workers: where runs are executed; None is this process.
        command: command that reproduces the results; None is one that reads the description.

    Returns:
        The content of each run's `results.json`.

    Raises:
        NerfclError: the user can fix the error and resume; finished runs are kept.
    """
    workers = workers or Workers()
    planned = plan(comparison)
    shared = {part.label: part.prepared for part in planned}
    executor = workers.executor(out, shared, planned[0].prepared.device.type)
    with claimed_folder(out, comparison, planned[0].prepared.data, command=command):
        run_jobs(out, _jobs(comparison, planned, out, show=workers.in_turn), shared, executor)
        results = {part.label: [_results(comparison, part, seed, out) for seed in comparison.seeds] for part in planned}
        report = report_streams if isinstance(comparison.experiment.stream, FrameStream) else report_tasks
        report(comparison, planned, results, out, workers)
    return [result for part in planned for result in results[part.label]]


def _results(comparison: Comparison, part: Planned, seed: int, out: Path) -> dict[str, Any]:
    """Read a run's results; reject those of another run."""
    path = out / part.folder(seed) / RESULTS
    results = read_results(path)
    expected = replace(comparison.experiment, strategy=part.strategy, seed=seed).to_plain()
    described = results.get("experiment", expected)  # version 0.1 saved no description
    views = sum(len(group.test) for group in part.prepared.stream.groups)
    same = described == expected and results["seed"] == seed and results["tasks"] == part.prepared.stream.names
    if not same or len(results["views"]) != views:
        raise NerfclError(f"{path}: holds the results of another run; remove it and run the same command again")
    check_data(results.get("data"), part.prepared.data, f"{path} was written")
    return results


def _jobs(comparison: Comparison, planned: Sequence[Planned], out: Path, *, show: bool) -> list[Job]:
    """List all runs and claim their folders; those that share the first task depend on it."""
    on_tasks = not isinstance(comparison.experiment.stream, FrameStream)
    jobs = []
    for seed in comparison.seeds:
        sharing = [part.label for part in planned if on_tasks and shares_first_task(part.strategy)]
        first = Path(f"seed-{seed}") / FIRST_TASK
        if sharing:
            experiment = replace(comparison.experiment, strategy=FineTune(), seed=seed)
            work = partial(_learn_first, experiment, sharing[0], first, show)
            jobs.append(Job(f"first task · seed {seed}", first, str(TaskOutputs.checkpoint(Path(), 1)), work))
        for part in planned:
            experiment = replace(comparison.experiment, strategy=part.strategy, seed=seed)
            folder, needs = part.folder(seed), first if part.label in sharing else None
            with claimed_folder(out / folder, experiment, part.prepared.data, label=part.label):
                pass  # the run holds it while it is executed
            work = partial(_learn, experiment, part.label, folder, needs, show)
            jobs.append(Job(f"{part.label} · seed {seed}", folder, RESULTS, work, needs))
    return jobs


def _learn_first(
    experiment: Experiment, label: str, folder: Path, show: bool, root: Path, shared: dict[str, Prepared]
) -> None:
    execute(
        experiment, root / folder, label="first task", outputs=_FirstTask(), prepared=shared[label], until=1, show=show
    )


def _learn(
    experiment: Experiment,
    label: str,
    folder: Path,
    first: Path | None,
    show: bool,
    root: Path,
    shared: dict[str, Prepared],
) -> None:
    begin = None if first is None else partial(_begin_after, TaskOutputs.checkpoint(root / first, 1))
    execute(experiment, root / folder, label=label, prepared=shared[label], begin=begin, show=show)


class _FirstTask(TaskOutputs):
    """Outputs of the shared first task, whose folder has no description since it is not a run."""

    def claimed(self, run: Run) -> AbstractContextManager[bool]:
        @contextmanager
        def held() -> Iterator[bool]:
            with locked(run.folder):
                yield True

        return held()

    def is_over(self, run: Run, learner: Learner) -> bool:
        return learner.done >= 1

    def finish(self, run: Run, learner: Learner) -> dict[str, Any]:
        return {}


def _begin_after(checkpoint: Path, run: Run, learner: Learner) -> None:
    """Let a new learner adopt the first task from a checkpoint."""
    found = load_newest([checkpoint])
    if found is None:  # damaged; all strategies learn the first task alike
        return
    experiment = replace(run.experiment, strategy=FineTune())
    check_origin(found[0], checkpoint, experiment, run.prepared.data)
    other = run.prepared.new_learner(experiment.strategy, experiment.seed)
    resume(other, found[0], run.prepared.training.optimiser)
    adopt_first_experience(learner, other, run.prepared.stream)
    TaskOutputs.save(run, learner)
