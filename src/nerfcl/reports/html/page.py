"""A comparison as an HTML report: a single self-contained file that opens offline."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from nerfcl.files import written_aside
from nerfcl.reports.comparison.summary import ComparisonSummary, OldView, Summary
from nerfcl.reports.html import findings
from nerfcl.reports.html.pictures import heat_colours, pictures_of
from nerfcl.reports.html.plots import Point, bytes_plot, curve_plot
from nerfcl.reports.html.svg import round_ticks
from nerfcl.reports.html.table import table_columns
from nerfcl.reports.run.animation import evenly
from nerfcl.reports.run.figures import LEAST_SPAN
from nerfcl.reports.style import finite_range
from nerfcl.reports.text import decibels, human_bytes, signed

MOST_IN_VIEW = 8  # configurations that are not folded away
WORST = 3  # worst old views listed per configuration


@dataclass(frozen=True)
class Cell:
    """One value of R, formatted, and its colours."""

    text: str
    background: str
    ink: str


@dataclass(frozen=True)
class WorstView:
    """One of the views with the largest drop of a configuration.

    Attributes:
        name: name of the view and its task.
        values: PSNR before and after (dB).
        change: change in dB.
        pictured: index of the view among the pictured task's test views; None if the page does not show it.
    """

    name: str
    values: str
    change: str
    pictured: int | None


@dataclass(frozen=True)
class Strip:
    """Changes of one configuration's old views on a common scale.

    Attributes:
        dots: position of each view on the scale in percent, and its tooltip.
        middle: position of the median on the scale, in percent.
        median: median change in dB.
        worst: the views with the largest drop.
    """

    dots: Sequence[tuple[float, str]]
    middle: float
    median: str
    worst: Sequence[WorstView]


def html_report(path: str | Path, compared: ComparisonSummary) -> None:
    """Write the report.

    Raises:
        NerfclError: the file cannot be written; names it.
    """
    page = html_page(compared)
    with written_aside(path) as aside:
        # Command line arguments need not be valid Unicode.
        aside.write_text(page, encoding="utf-8", errors="replace")


def html_page(compared: ComparisonSummary) -> str:
    """Render the report as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("nerfcl.reports.html").joinpath("report.html.jinja").read_text("utf-8"))
    few = len(compared.summaries) <= MOST_IN_VIEW
    shown = _in_view(compared)
    pictures = pictures_of(compared, most=4 if few else 2, side=128 if few else 96)
    return template.render(
        compared=compared,
        seeds=[result["seed"] for result in compared.summaries[0].results],
        columns=table_columns(compared),
        groups=[shown, [row for row in compared.summaries if row not in shown]],
        best_sentence=findings.best_sentence(compared),
        bytes=_bytes(compared, shown),
        matrices=_matrices(compared),
        curves=_curves(compared),
        strips=_strips(compared, pictures.views),
        pictures=pictures,
        decibels=decibels,
        human_bytes=human_bytes,
        signed=signed,
    )


def _in_view(compared: ComparisonSummary) -> list[Summary]:
    """Choose the configurations that are not folded away: all if few, else the bounds and some of the front."""
    if len(compared.summaries) <= MOST_IN_VIEW:
        return list(compared.summaries)
    bounds = [row for row in (compared.lower, compared.upper) if row is not None]
    inner = [row for row in compared.front if row not in bounds]
    shown = [*bounds, *(inner[k] for k in evenly(len(inner), MOST_IN_VIEW - len(bounds)))]
    return [row for row in compared.summaries if row in shown]


def _bytes(compared: ComparisonSummary, named: Sequence[Summary]) -> dict[str, Any]:
    """Prepare the section on PSNR against bytes."""
    rows, front, upper = list(compared.summaries), compared.front, compared.upper
    points = [Point(row.label, row.kept.mean, row.mean_final, row.is_bound, row in named) for row in rows]
    plot = bytes_plot(points, [rows.index(row) for row in front], None if upper is None else rows.index(upper))
    return {
        "sentence": findings.front_sentence(compared),
        "plot": plot,
        "front": [points[rows.index(r)] for r in front],
    }


def _matrices(compared: ComparisonSummary) -> dict[str, Any] | None:
    """Prepare R of every configuration by label, on one colour scale; None if there is only one task."""
    if not compared.has_past:
        return None
    tested = {row.label: row.results[0]["tested"] for row in compared.summaries}
    values = {row.label: row.mean_matrix for row in compared.summaries}
    learned = [
        value
        for label, R in values.items()
        for done, line in zip(tested[label], R, strict=True)
        for value in line[:done]
    ]
    low, high = finite_range(learned)
    low = min(low, high - LEAST_SPAN)
    colours = heat_colours(low, high)
    digits = 1 if len(compared.tasks) > 4 else 2
    maps = {
        label: [
            [
                Cell(decibels(value, digits), *(colours(value) if j < done and not math.isnan(value) else ("", "")))
                for j, value in enumerate(line)
            ]
            for done, line in zip(tested[label], R, strict=True)
        ]
        for label, R in values.items()
    }
    names = list(compared.tasks) if len(compared.tasks) <= 4 else [str(j + 1) for j in range(len(compared.tasks))]
    return {"sentence": findings.forgetting_sentence(compared), "maps": maps, "names": names}


def _curves(compared: ComparisonSummary) -> dict[str, Any] | None:
    """Prepare the training curves of every configuration, by label; None if there is only one task."""
    if not compared.has_past:
        return None
    dips = {
        row.label: dip for row in compared.summaries if not row.from_scratch and (dip := row.deepest_dip) is not None
    }
    # The first task is learned alike by all; the scale is for what comes after the switch.
    after = [
        values[0] for row in compared.summaries for x, values in row.history.curve if x >= 1.0 and not row.from_scratch
    ]
    ends = [values for row in compared.summaries for _, values in row.history.curve[-1:]]
    low, high = finite_range([*after, *(value for values in ends for value in values)])
    span = low - 0.06 * (high - low), high + 0.05 * (high - low)
    plots = {
        row.label: curve_plot(row.history.curve, compared.tasks, span, dips.get(row.label), row.from_scratch, row.label)
        for row in compared.summaries
    }
    return {"sentence": findings.dip_sentence(compared, dips), "plots": plots, "dips": dips}


def _strips(compared: ComparisonSummary, pictured: Sequence[int]) -> dict[str, Any] | None:
    """Prepare the change of each old view, a strip per configuration on one scale; None if there are no old views."""
    views = {row.label: row.old_views for row in compared.summaries}
    changes = [view.change for found in views.values() for view in found]
    if not changes:
        return None
    low, high = finite_range([*changes, 0.0])

    def percent(change: float) -> float:
        return round(100.0 * (min(max(change, low), high) - low) / (high - low), 1)

    strips = {row.label: _strip(compared, pictured, views[row.label], percent) for row in compared.summaries}
    ticks = [(percent(tick), f"{tick:+g}".replace("-", "−") if tick else "0") for tick in round_ticks(low, high, 6)]
    return {"sentence": findings.views_sentence(compared, views), "strips": strips, "ticks": ticks}


def _strip(
    compared: ComparisonSummary, pictured: Sequence[int], views: Sequence[OldView], percent: Callable[[float], float]
) -> Strip:
    """Make one configuration's strip.

    Args:
        compared: the comparison.
        pictured: indices of the pictured task's views that the page shows.
        views: at least one, the worst first.
        percent: maps a change to its position on the scale.
    """

    def told(view: OldView) -> WorstView:
        seen = view.task == compared.pictured_task and view.position in pictured
        return WorstView(
            f"{view.name} of {compared.tasks[view.task]}",
            f"{decibels(view.before)} → {decibels(view.after)} dB",
            signed(view.change),
            view.position if seen else None,
        )

    dots = [(percent(view.change), f"{told(view).name}: {told(view).values}") for view in views]
    middle = statistics.median(view.change for view in views)
    return Strip(dots, percent(middle), signed(middle), [told(view) for view in views[:WORST]])
