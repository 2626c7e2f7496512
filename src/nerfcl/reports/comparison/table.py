"""Terminal table of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nerfcl.reports.comparison.summary import Statistic, Summary
from nerfcl.reports.terminal import new_table
from nerfcl.reports.text import decibels, few_digits, human_bytes

if TYPE_CHECKING:
    from rich.table import Table


def comparison_table(summaries: Sequence[Summary], tasks: Sequence[str]) -> Table:
    """Make a table with one row per configuration.

    Columns are the PSNR (dB) of every task after the last, the change on the first task, the average, training seconds
    and bytes kept. With several seeds, values are mean ± standard deviation. With more than six tasks, only the first
    and the last have columns.
    """
    shown = range(len(tasks)) if len(tasks) <= 6 else (0, len(tasks) - 1)
    title = "PSNR (dB) on test views after the last task"
    table = new_table(with_seeds(title, summaries))
    table.add_column("strategy", overflow="fold")
    for head in (*(tasks[j] for j in shown), f"change on\n{tasks[0]}", "average", "seconds", "kept"):
        table.add_column(head, justify="right", overflow="fold")
    for summary in summaries:
        table.add_row(
            summary.label,
            *(with_std(summary.final(j)) for j in shown),
            with_std(summary.change_on_first, signed=True),
            decibels(summary.mean_final.mean),
            few_digits(summary.seconds.mean),
            human_bytes(summary.kept.mean),
        )
    return table


def with_seeds(title: str, summaries: Sequence[Summary]) -> str:
    """Note in a title if values are means over several seeds."""
    several = any(len(summary.results) > 1 for summary in summaries)
    return f"{title}: mean ± standard deviation over seeds" if several else title


def with_std(value: Statistic, *, signed: bool = False) -> str:
    """Format a value in dB, with its standard deviation if there is one; a missing signed value is empty."""
    if value.mean != value.mean:
        return "" if signed else decibels(value.mean)
    text = f"{value.mean:+.2f}" if signed else decibels(value.mean)
    return text if value.std is None else f"{text} ± {value.std:.2f}"
