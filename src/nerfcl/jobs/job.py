"""Many tasks with the same results whoever does them: this process in turn, or a crew of others."""

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
from nerfcl.reports.progress import duration

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Task:
    """What one process does by itself.

    Attributes:
        name: for people.
        folder: what it writes into, below the root that all tasks share; it goes on from what is there.
        last: the file in it that is written last: where that is, the task is done.
        work: does it; called with the root and with what else all tasks share.
        needs: folder of another task, to be done before; None needs none.
    """

    name: str
    folder: Path
    last: str
    work: Callable[[Path, Any], object]
    needs: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task: seconds that it took, and what went wrong, if anything."""

    seconds: float
    trouble: Exception | None = None


@dataclass(frozen=True)
class Threads:
    """How many threads a task computes with; another number changes the last bits of its results."""

    torch: int
    numba: int

    @classmethod
    def shared_by(cls, jobs: int) -> Threads:
        """Each of `jobs` has its share of the cores, or what OMP_NUM_THREADS and NUMBA_NUM_THREADS say."""
        import numba
        import torch

        given = {"OMP_NUM_THREADS": torch.get_num_threads(), "NUMBA_NUM_THREADS": numba.get_num_threads()}
        return cls(*(most if name in os.environ else max(1, most // jobs) for name, most in given.items()))

    @property
    def cores(self) -> int:
        """How many cores they keep busy."""
        return max(self.torch, self.numba)

    def take(self) -> None:
        """Computes with so many in this process from now on."""
        import numba
        import torch

        torch.set_num_threads(self.torch)
        numba.set_num_threads(min(self.numba, numba.get_num_threads()))


class Crew(Protocol):
    """Other processes that do tasks; a context manager, at whose end none of them is at work any more."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def has_room(self) -> bool:
        """Whether it takes another task now."""
        ...

    def start(self, task: Task) -> None:
        """Begins a task."""
        ...

    def wait(self) -> tuple[Task, Outcome]:
        """The next task that ends.

        Raises:
            NerfclError: who did a task died, again and again.
        """
        ...


def run_all(root: Path, tasks: Sequence[Task], shared: Any, crew: Crew | None = None) -> None:
    """Does all tasks that are not done yet.

    Args:
        root: of all folders.
        tasks: each one after the one that it needs.
        shared: what their work is called with.
        crew: does them, as many at a time as it has room for; None does them here, in turn.

    Raises:
        NerfclError: a task failed by something that the user can put right. What is done stays done.
    """
    waiting = [task for task in tasks if not (root / task.folder / task.last).exists()]
    if crew is None:
        for task in waiting:
            task.work(root, shared)
    elif waiting:
        with Tally(len(tasks), len(tasks) - len(waiting)) as tally, crew:
            _hand_out(waiting, crew, tally)


def _hand_out(tasks: Sequence[Task], crew: Crew, tally: Tally) -> None:
    waiting, open_folders = list(tasks), {task.folder for task in tasks}
    while open_folders:
        ready = next((task for task in waiting if task.needs not in open_folders), None)
        if ready is not None and crew.has_room():
            waiting.remove(ready)
            crew.start(ready)
            continue
        task, outcome = crew.wait()
        if outcome.trouble is not None:
            raise outcome.trouble
        open_folders.remove(task.folder)
        tally.count(task.name, outcome.seconds)


def attempt(task: Task, root: Path, shared: Any) -> Outcome:
    """Does a task; what goes wrong is no exception but an outcome, which another process can read."""
    began, trouble = time.perf_counter(), None
    try:
        task.work(root, shared)
    except NerfclError as error:
        trouble = NerfclError(f"{task.name}: {error}")
    except Exception:
        trouble = RuntimeError(f"{task.name}:\n{traceback.format_exc()}")
    return Outcome(time.perf_counter() - began, trouble)


class Tally:
    """Shows how many of many tasks are done: a line for each, and in a terminal a bar below them.

    Args:
        total: all there are.
        done: those that were done before.
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

    def __enter__(self) -> Tally:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def count(self, name: str, seconds: float) -> None:
        """One more is done."""
        self._done += 1
        line = f"{self._done} of {self._total} · {name} · took {duration(seconds)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self._bar is not None:
            self._bar.update(self._row, completed=self._done)
