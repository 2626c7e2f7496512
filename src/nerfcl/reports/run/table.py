"""Terminal table of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nerfcl.metrics.forgetting import average, backward_transfer, forgetting
from nerfcl.reports.terminal import new_table
from nerfcl.reports.text import decibels

if TYPE_CHECKING:
    from rich.table import Table


def run_table(R: Sequence[Sequence[float]], tasks: Sequence[str]) -> Table:
    """Make a table of R with one row per learned task, then average, backward transfer and forgetting (dB).

    With more than six tasks, columns are the first, the current and the last task, and the mean over all.
    """
    table = new_table("PSNR (dB) on test views")
    table.add_column("", overflow="fold")
    many = len(tasks) > 6
    for head in (tasks[0], "current", tasks[-1], "mean of all") if many else tasks:
        table.add_column(head, justify="right", overflow="fold")
    for i, row in enumerate(R):
        shown = (row[0], row[i], row[-1], sum(row) / len(row)) if many else row
        table.add_row(f"after {tasks[i]}", *(decibels(value) for value in shown))
    table.add_section()
    table.add_row("average", f"{decibels(average(R))}")
    if len(R) > 1:
        table.add_row("backward transfer", f"{backward_transfer(R):+.2f}")
        table.add_row("forgetting", f"{forgetting(R):+.2f}")
    return table
