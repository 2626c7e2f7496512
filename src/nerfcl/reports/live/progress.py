"""Progress of a run: a bar in a terminal, or a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nerfcl.progress import T
from nerfcl.reports.text import decibels, duration
from nerfcl.training.callbacks import Callback

if TYPE_CHECKING:
    from rich.console import Console

    from nerfcl.online.settings import Observed
    from nerfcl.training.callbacks import StepReport
    from nerfcl.training.learner import Learner

BAR_EVERY = 0.15  # seconds; redrawing takes some milliseconds
LINE_EVERY = 5.0


class ProgressBar(Callback):
    """Shows step, loss, PSNR and remaining time of a run; a callback and a context manager.

    Args:
        label: label of the run, usually the strategy's name.
        tasks: names of the stream's groups, to show the validation PSNR of the current one.
        console: console to write to; None is standard error.
    """

    def __init__(self, label: str, tasks: Sequence[str] = (), console: Console | None = None) -> None:
        from rich.console import Console

        self._label, self._tasks = label, list(tasks)
        self._console = console or Console(stderr=True)
        self._validation: list[float] = []
        self._loss: float | None = None
        self._due = 0.0
        self._first: tuple[int, float] | None = None  # step and time of the first report
        self._began = time.perf_counter()
        self._bar = _make_bar(self._console) if self._console.is_terminal else None
        self._row = None

    def __enter__(self) -> ProgressBar:
        self._began = time.perf_counter()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.stop()

    def on_step(self, learner: Learner, report: StepReport) -> None:
        """Show the progress, at a readable rate."""
        if report.loss is not None:
            self._loss = report.loss
        now = time.perf_counter()
        first = self._first is None
        if first:
            self._first = (report.step, now)
        last = report.step >= report.last_step
        if not (now >= self._due or first or last):
            return
        self._due = now + (LINE_EVERY if self._bar is None else BAR_EVERY)
        if self._bar is None:
            self._print_line(report, now, last)
        else:
            self._draw(report, now)

    def on_evaluation(self, learner: Learner) -> None:
        """Record the latest validation."""
        if learner.history.validation:
            self._validation = learner.history.validation[-1].means

    def _psnr(self, task: str) -> str:
        where = self._tasks.index(task) if task in self._tasks else -1
        return f"{decibels(self._validation[where], 1)} dB" if 0 <= where < len(self._validation) else "–"

    def _seconds_left(self, report: StepReport, now: float) -> float | None:
        assert self._first is not None
        steps, seconds = report.step - self._first[0], now - self._first[1]
        return seconds / steps * (report.last_step - report.step) if steps else None

    def _print_line(self, report: StepReport, now: float, last: bool) -> None:
        parts = [self._label, report.task, f"step {report.step}/{report.last_step}"]
        parts.append(f"loss {_loss(self._loss)}")
        parts.append(f"PSNR {self._psnr(report.task)}")
        left = self._seconds_left(report, now)
        if last:
            parts.append(f"took {duration(now - self._began)}")
        elif left is not None:
            parts.append(f"{duration(left)} left")
        self._console.print(" · ".join(parts), markup=False, highlight=False, soft_wrap=True)

    def _draw(self, report: StepReport, now: float) -> None:
        assert self._bar is not None
        left = self._seconds_left(report, now)
        texts: dict[str, Any] = {
            "what": f"{self._label} · {report.task}",
            "loss": _loss(self._loss),
            "psnr": self._psnr(report.task),
            "spent": duration(now - self._began),
            "left": "–" if left is None else duration(left),
        }
        if self._row is None:
            self._row = self._bar.add_task("", total=report.last_step, **texts)
        self._bar.update(self._row, total=report.last_step, completed=report.step, **texts)
        self._bar.refresh()


def _loss(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.5f}"


def _make_bar(console: Console):
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    # Redrawn by `on_step`, since rich's own thread would slow down training.
    return Progress(
        TextColumn("{task.fields[what]}", style="bold", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=8)),
        TextColumn("{task.completed:.0f}/{task.total:.0f}", table_column=Column(no_wrap=True)),
        TextColumn("loss {task.fields[loss]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn("PSNR {task.fields[psnr]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[spent]}, {task.fields[left]} left", markup=False, table_column=Column(no_wrap=True)),
        console=console,
        auto_refresh=False,
        expand=True,
    )


def track(items: Sequence[T], what: str, /) -> Iterable[T]:
    """Iterate with a bar that vanishes at the end; if not in a terminal, print a line every few seconds."""
    from rich.console import Console
    from rich.progress import track as bar

    console = Console(stderr=True)
    if console.is_terminal:
        return bar(items, what, console=console, transient=True)
    return _tracked_by_lines(items, what, console)


def _tracked_by_lines(items: Sequence[T], what: str, console: Console) -> Iterator[T]:
    due = time.perf_counter() + LINE_EVERY
    for done, item in enumerate(items):
        if time.perf_counter() >= due:
            due += LINE_EVERY
            console.print(f"{what} {done}/{len(items)}")
        yield item


class StreamLine:
    """Shows the status of an open-ended stream of frames: one line, updated in place in a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._due = 0.0

    def __enter__(self) -> StreamLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._console.print()

    def show(self, observed: Observed) -> None:
        """Show the status, at a readable rate."""
        now = time.perf_counter()
        if now < self._due:
            return
        self._due = now + (BAR_EVERY if self._console.is_terminal else LINE_EVERY)
        text = (
            f"{observed.seen} frames seen · {observed.waiting} waiting · {observed.dropped} dropped · "
            f"step {observed.steps} · {observed.memory_bytes / 1000:.0f} KB kept"
        )
        end = "\r" if self._console.is_terminal else "\n"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True, end=end)
