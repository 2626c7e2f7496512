"""The table of an HTML report: formatted values, with the best of each column marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nerfcl.reports.comparison.summary import ComparisonSummary, Statistic, Summary
from nerfcl.reports.text import decibels, few_digits, human_bytes, signed

MOST_TASKS = 6  # with more, only the first and the last have columns


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: formatted mean.
        std: "± ..." or empty.
        best: whether it is the best value, upper bounds excluded.
    """

    text: str
    std: str
    best: bool


@dataclass(frozen=True)
class Column:
    """One quantity.

    Attributes:
        head: head of the column.
        cells: one per configuration.
        final: whether it is a PSNR after the last task.
    """

    head: str
    cells: Sequence[Cell]
    final: bool


def table_columns(compared: ComparisonSummary) -> list[Column]:
    """Make the columns: PSNR of tasks and its mean, backward transfer, forgetting, gap to joint, bytes, seconds.

    Columns that need several tasks or an upper bound are left out if there are none.
    """
    tasks, upper = compared.tasks, compared.upper
    shown = range(len(tasks)) if len(tasks) <= MOST_TASKS else (0, len(tasks) - 1)

    def column(
        head: str,
        measure: Callable[[Summary], Statistic],
        text: Callable[[float], str] = signed,
        *,
        least: bool = False,
        spread: Callable[[float], str] = decibels,
    ) -> Column:
        values = [measure(row) for row in compared.summaries]
        best = _best(compared, values, text, least)
        cells = [
            Cell(
                text(value.mean),
                "" if value.std is None else f"± {spread(value.std)}",
                row.role != "upper bound" and text(value.mean) == best,
            )
            for row, value in zip(compared.summaries, values, strict=True)
        ]
        return Column(head, cells, text is decibels)

    columns = [column(tasks[j], lambda row, j=j: row.final(j), decibels) for j in shown]
    if compared.has_past:
        columns += [
            column("mean of all" if len(tasks) > MOST_TASKS else "mean", lambda row: row.mean_final, decibels),
            column("backward transfer", lambda row: row.backward_transfer),
            column("forgetting", lambda row: row.forgetting, least=True),
        ]
    if upper is not None:
        columns.append(column(f"minus {upper.label}", lambda row: row.gap(upper)))
    return [
        *columns,
        column("kept", lambda row: Statistic(row.kept.mean), human_bytes, least=True),
        column("seconds", lambda row: row.seconds, few_digits, least=True, spread=few_digits),
    ]


def _best(
    compared: ComparisonSummary, values: Sequence[Statistic], text: Callable[[float], str], least: bool
) -> str | None:
    """Format the best value, upper bounds excluded; values that format alike are equally good."""
    known = [
        value.mean
        for row, value in zip(compared.summaries, values, strict=True)
        if row.role != "upper bound" and not math.isnan(value.mean)
    ]
    return text((min if least else max)(known)) if known else None
