"""Jobs that give the same results wherever they run: in this process in turn, or by an executor."""

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
    """What one process does by itself.

    Attributes:
        name: for people.
        folder: what it writes into, below the root that all jobs share; it goes on from what is there.
        last: the file in it that is written last: where that exists, the job is done.
        work: does it; called with the root and with what else all jobs share.
        needs: folder of another job, to be done before; None needs none.
    """

    name: str
    folder: Path
    last: str
    work: Callable[[Path, Any], object]
    needs: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: seconds that it took, and the error that ended it, if any."""

    seconds: float
    error: Exception | None = None


@dataclass(frozen=True)
class Threads:
    """How many threads a job computes with; another number changes the last bits of its results."""

    torch: int
    numba: int

    @classmethod
    def divided_by(cls, jobs: int) -> Threads:
        """Divide the cores between `jobs` at a time, unless OMP_NUM_THREADS and NUMBA_NUM_THREADS say how many."""
        import numba
        import torch

        given = {"OMP_NUM_THREADS": torch.get_num_threads(), "NUMBA_NUM_THREADS": numba.get_num_threads()}
        return cls(*(most if name in os.environ else max(1, most // jobs) for name, most in given.items()))

    @property
    def cores(self) -> int:
        """Number of cores that they keep busy."""
        return max(self.torch, self.numba)

    def use(self) -> None:
        """Compute with so many in this process from now on."""
        import numba
        import torch

        torch.set_num_threads(self.torch)
        numba.set_num_threads(min(self.numba, numba.get_num_threads()))


class Executor(Protocol):
    """Other processes that run jobs; a context manager, at whose end none of them works any more."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def has_room(self) -> bool:
        """Tell whether it takes another job now."""
        ...

    def start(self, job: Job) -> None:
        """Begin a job."""
        ...

    def wait(self) -> tuple[Job, Outcome]:
        """Wait for the next job that ends.

        Raises:
            NerfclError: the process of a job died, again and again.
        """
        ...


def run_jobs(root: Path, jobs: Sequence[Job], shared: Any, executor: Executor | None = None) -> None:
    """Run all jobs that are not done yet.

    Args:
        root: of all folders.
        jobs: each one after the one that it needs.
        shared: what their work is called with.
        executor: runs them, as many at a time as it has room for; None runs them here, in turn.

    Raises:
        NerfclError: a job failed by something that the user can put right. What is done stays done.
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
    """Run a job; an error is not raised but returned, in a form that another process can read."""
    began, failure = time.perf_counter(), None
    try:
        job.work(root, shared)
    except NerfclError as error:
        failure = NerfclError(f"{job.name}: ", *error.args)
    except Exception:
        failure = RuntimeError(f"{job.name}:\n{traceback.format_exc()}")
    return Outcome(time.perf_counter() - began, failure)


class JobProgress:
    """Shows how many of many jobs are done: a line for each, and in a terminal a bar below them.

    Args:
        total: number of all jobs.
        done: of those that were done before.
        console: where to; standard error when None.
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
        """Note that one more job is done."""
        self._done += 1
        line = f"{self._done} of {self._total} · {name} · took {duration(seconds)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self._bar is not None:
            self._bar.update(self._row, completed=self._done)
