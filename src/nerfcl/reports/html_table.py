"""The table of a comparison's web page: figures as text, the best of each column marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nerfcl.reports import measures
from nerfcl.reports.compared import Compared, ComparedRow
from nerfcl.reports.measures import Figure
from nerfcl.reports.style import decibels, signed
from nerfcl.reports.tables import human_bytes

MOST_TASKS = 6  # of more, only the first and the last have columns


@dataclass(frozen=True)
class Cell:
    """What stands in one place of the table.

    Attributes:
        text: the mean.
        deviation: "± ..." or nothing.
        best: whether no other row but the upper bound is better.
    """

    text: str
    deviation: str
    best: bool


@dataclass(frozen=True)
class Column:
    """One kind of figure.

    Attributes:
        head: above it.
        cells: one per row.
        final: whether it is PSNR after the last task.
    """

    head: str
    cells: Sequence[Cell]
    final: bool


def table_columns(compared: Compared) -> list[Column]:
    """The columns: tasks after the last, their mean, backward transfer, forgetting, gap to joint, bytes, seconds.

    What needs a past, several tasks or an upper bound is left out where there is none.
    """
    tasks, joint = compared.tasks, compared.joint
    shown = range(len(tasks)) if len(tasks) <= MOST_TASKS else (0, len(tasks) - 1)

    def column(
        head: str,
        measure: Callable[[ComparedRow], Figure],
        text: Callable[[float], str] = signed,
        *,
        least: bool = False,
        spread: Callable[[float], str] = decibels,
    ) -> Column:
        values = [measure(row) for row in compared.rows]
        best = _best(compared, values, text, least)
        cells = [
            Cell(
                text(value.mean),
                "" if value.deviation is None else f"± {spread(value.deviation)}",
                row.bound != "upper" and text(value.mean) == best,
            )
            for row, value in zip(compared.rows, values, strict=True)
        ]
        return Column(head, cells, text is decibels)

    columns = [column(tasks[j], lambda row, j=j: measures.final(row, j), decibels) for j in shown]
    if compared.has_past:
        columns += [
            column("mean of all" if len(tasks) > MOST_TASKS else "mean", measures.mean_final, decibels),
            column("backward transfer", measures.backward_transfer),
            column("forgetting", measures.forgetting, least=True),
        ]
    if joint is not None:
        columns.append(column(f"minus {joint.label}", lambda row: measures.gap(row, joint)))
    return [
        *columns,
        column("kept", lambda row: Figure(measures.kept(row).mean), human_bytes, least=True),
        column("seconds", measures.seconds, _few_digits, least=True, spread=_few_digits),
    ]


def _best(compared: Compared, values: Sequence[Figure], text: Callable[[float], str], least: bool) -> str | None:
    """How the best figure reads, upper bounds aside: what reads the same is as good."""
    known = [
        value.mean
        for row, value in zip(compared.rows, values, strict=True)
        if row.bound != "upper" and not math.isnan(value.mean)
    ]
    return text((min if least else max)(known)) if known else None


def _few_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10.0 else f"{value:.1f}"
