"""Jobs with the same results wherever they run: sequentially in this process, or on an executor."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from nerfcl.errors import NerfclError
from nerfcl.reports.text import duration

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Job:
    """A unit of work for one process.

    Attributes:
        name: name to display.
        folder: output folder, relative to the root that all jobs share; the job resumes from its content.
        last: name of the file that is written last; if it exists, the job is done.
        work: function to run, called with the root and the data that all jobs share.
        needs: folder of a job to be done first; None if there is none.
    """

    name: str
    folder: Path
    last: str
    work: Callable[[Path, Any], object]
    needs: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """Result of a job: elapsed seconds, and the error that ended it, if any."""

    seconds: float
    error: Exception | None = None


def threads_per_job(jobs: int) -> int:
    """Divide the threads of this process among concurrent `jobs`, unless OMP_NUM_THREADS says how many each has."""
    import torch

    threads = torch.get_num_threads()
    return threads if "OMP_NUM_THREADS" in os.environ else max(1, threads // jobs)


class Executor(Protocol):
    """Runs jobs in other processes; as a context manager, it stops all of them on exit."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def has_room(self) -> bool:
        """Tell whether another job can be started now."""
        ...

    def start(self, job: Job) -> None:
        """Start a job."""
        ...

    def wait(self) -> tuple[Job, Outcome]:
        """Wait for the next job to end.

        Raises:
            NerfclError: the process of a job died repeatedly.
        """
        ...


def run_jobs(root: Path, jobs: Sequence[Job], shared: Any, executor: Executor | None = None) -> None:
    """Run all jobs that are not done yet.

    Args:
        root: root of all folders.
        jobs: jobs to run, each after the one that it needs.
        shared: data passed to the work of every job.
        executor: runs as many jobs at a time as it has room for; None runs them in this process, sequentially.

    Raises:
        NerfclError: a job failed with an error that the user can fix; finished jobs are kept.
    """
    waiting = [job for job in jobs if not (root / job.folder / job.last).exists()]
    if executor is None:
        for job in waiting:
            job.work(root, shared)
    elif waiting:
        with JobProgress(len(jobs), len(jobs) - len(waiting)) as progress, executor:
            _hand_out(waiting, executor, progress)


def _hand_out(jobs: Sequence[Job], executor: Executor, progress: JobProgress) -> None:
    waiting, open_folders = list(jobs), {job.folder for job in jobs}
    while open_folders:
        ready = next((job for job in waiting if job.needs not in open_folders), None)
        if ready is not None and executor.has_room():
            waiting.remove(ready)
            executor.start(ready)
            continue
        job, outcome = executor.wait()
        if outcome.error is not None:
            raise outcome.error
        open_folders.remove(job.folder)
        progress.count(job.name, outcome.seconds)


def attempt(job: Job, root: Path, shared: Any) -> Outcome:
    """Run a job; return an error instead of raising it, in a form that can be sent to another process."""
    began, failure = time.perf_counter(), None
    try:
        job.work(root, shared)
    except NerfclError as error:
        failure = NerfclError(f"{job.name}: ", *error.args)
    except Exception:
        failure = RuntimeError(f"{job.name}:\n{traceback.format_exc()}")
    return Outcome(time.perf_counter() - began, failure)


class JobProgress:
    """Shows how many jobs are done: a line for each, and in a terminal a progress bar below.

    Args:
        total: number of jobs.
        done: number of jobs done before.
        console: console to print to; None is standard error.
    """

    def __init__(self, total: int, done: int, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._total, self._done = total, done
        self._console = console or Console(stderr=True)
        self._bar = None
        if self._console.is_terminal:
            columns = (TextColumn("runs"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._console, expand=True, refresh_per_second=2)
            self._row = self._bar.add_task("", total=total, completed=done)

    def __enter__(self) -> JobProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def count(self, name: str, seconds: float) -> None:
        """Report that one more job is done."""
        self._done += 1
        line = f"{self._done} of {self._total} · {name} · took {duration(seconds)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self._bar is not None:
            self._bar.update(self._row, completed=self._done)
