"""Several strategies with several seeds in one folder: each run in a folder of its own, and one table of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nerfcl.config.comparison import Comparison
from nerfcl.config.experiment import Experiment
from nerfcl.config.streams import FrameStream
from nerfcl.experiments.compare_reports import report_streams, report_tasks
from nerfcl.experiments.execute import execute
from nerfcl.experiments.folders import claim_folder
from nerfcl.experiments.outputs import RESULTS, Run, TaskOutputs
from nerfcl.experiments.plan import FIRST_TASK, Planned, plan, shares_first_task
from nerfcl.experiments.prepare import Prepared
from nerfcl.experiments.workers import Workers
from nerfcl.jobs.job import Job, run_jobs
from nerfcl.reports.run.results import read_results
from nerfcl.strategies.finetune import FineTune
from nerfcl.training.checkpoints import load_checkpoint, resume
from nerfcl.training.learner import Learner
from nerfcl.training.loop import adopt_first_experience


def compare(
    comparison: Comparison, out: Path, workers: Workers | None = None, *, command: str | None = None
) -> list[dict[str, Any]]:
    """Run all configurations with all seeds, and put them side by side: tables, pictures, and for tasks a page.

    On tasks the first one is learned once for each seed: until it ends, all strategies are alike.

    Args:
        comparison: what is compared.
        out: folder for results; what is finished stays.
        workers: who does the runs; None is this process.
        command: that makes the results again; None is one that reads the description.

    Returns:
        What each run's `results.json` holds.

    Raises:
        NerfclError: something the user can put right; what is finished stays.
    """
    workers = workers or Workers()
    planned = plan(comparison)
    shared = {part.label: part.prepared for part in planned}
    executor = workers.executor(out, shared, planned[0].prepared.device.type)
    claim_folder(out, comparison, command=command)
    run_jobs(out, _jobs(comparison, planned, out, show=workers.in_turn), shared, executor)
    results = {
        part.label: [read_results(out / part.folder(seed) / RESULTS) for seed in comparison.seeds] for part in planned
    }
    report = report_streams if isinstance(comparison.experiment.stream, FrameStream) else report_tasks
    report(comparison, planned, results, out, workers)
    return [result for part in planned for result in results[part.label]]


def _jobs(comparison: Comparison, planned: Sequence[Planned], out: Path, *, show: bool) -> list[Job]:
    """List all runs, in folders that are claimed; those that may share the first task come after it."""
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
            claim_folder(out / folder, experiment, label=part.label)
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
    """The first task, which is no run of its own: its folder has no description."""

    def claim(self, run: Run) -> None:
        pass

    def is_over(self, run: Run, learner: Learner) -> bool:
        return learner.done >= 1

    def finish(self, run: Run, learner: Learner) -> dict[str, Any]:
        return {}


def _begin_after(checkpoint: Path, run: Run, learner: Learner) -> None:
    """Give a new learner the first task as another one learned it."""
    other = run.prepared.new_learner(FineTune(), run.experiment.seed)
    resume(other, load_checkpoint(checkpoint), run.prepared.training.optimiser)
    adopt_first_experience(learner, other, run.prepared.stream)
    TaskOutputs.save(run, learner)
