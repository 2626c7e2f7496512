"""A comparison as one web page: a single file that needs no other, and opens without a network."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from nerfcl.files import written_aside
from nerfcl.reports import findings, measures
from nerfcl.reports.animation import evenly
from nerfcl.reports.compared import Compared, ComparedRow
from nerfcl.reports.figures import LEAST_SPAN
from nerfcl.reports.html_pictures import heat_colours, pictures_of
from nerfcl.reports.html_plots import Point, bytes_plot, curve_plot
from nerfcl.reports.html_table import table_columns
from nerfcl.reports.measures import OldView
from nerfcl.reports.style import decibels, finite_range, signed
from nerfcl.reports.svg import round_ticks
from nerfcl.reports.tables import human_bytes

MOST_IN_VIEW = 8  # rows that are unfolded
WORST = 3  # old views of each row that are listed


@dataclass(frozen=True)
class Cell:
    """One figure of R: as text, and its colours."""

    text: str
    background: str
    ink: str


@dataclass(frozen=True)
class WorstView:
    """One of the views that a row lost most on.

    Attributes:
        name: its own, and its task's.
        figures: PSNR before and after (dB).
        change: in dB.
        pictured: its position among the pictured views of the watched task; None where there is no picture.
    """

    name: str
    figures: str
    change: str
    pictured: int | None


@dataclass(frozen=True)
class Strip:
    """One row's old views on a scale of change.

    Attributes:
        dots: how far along the scale each view lies, in percent, and its name and measures.
        middle: where half of them lie below, in percent.
        median: in dB.
        worst: the views that lost most.
    """

    dots: Sequence[tuple[float, str]]
    middle: float
    median: str
    worst: Sequence[WorstView]


def html_report(path: str | Path, compared: Compared) -> None:
    """Writes the page.

    Raises:
        NerfclError: the file cannot be written; names it.
    """
    page = html_page(compared)
    with written_aside(path) as aside:
        # What was given on a command line need not be text.
        aside.write_text(page, encoding="utf-8", errors="replace")


def html_page(compared: Compared) -> str:
    """The page's text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("nerfcl.reports").joinpath("report.html.jinja").read_text("utf-8"))
    few = len(compared.rows) <= MOST_IN_VIEW
    shown = _in_view(compared)
    pictures = pictures_of(compared, most=4 if few else 2, side=128 if few else 96)
    return template.render(
        compared=compared,
        seeds=[result["seed"] for result in compared.rows[0].results],
        columns=table_columns(compared),
        groups=[shown, [row for row in compared.rows if row not in shown]],
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


def _in_view(compared: Compared) -> list[ComparedRow]:
    """The rows that are not folded away: all, if they are few; else the bounds, and some spread over the front."""
    if len(compared.rows) <= MOST_IN_VIEW:
        return list(compared.rows)
    bounds = [row for row in (compared.lower, compared.joint) if row is not None]
    inner = [row for row in measures.front(compared) if row not in bounds]
    shown = [*bounds, *(inner[k] for k in evenly(len(inner), MOST_IN_VIEW - len(bounds)))]
    return [row for row in compared.rows if row in shown]


def _bytes(compared: Compared, named: Sequence[ComparedRow]) -> dict[str, Any]:
    """PSNR against bytes."""
    rows, front, joint = list(compared.rows), measures.front(compared), compared.joint
    points = [
        Point(row.label, measures.kept(row).mean, measures.mean_final(row), row.bound is not None, row in named)
        for row in rows
    ]
    plot = bytes_plot(points, [rows.index(row) for row in front], None if joint is None else rows.index(joint))
    return {
        "sentence": findings.front_sentence(compared),
        "plot": plot,
        "front": [points[rows.index(r)] for r in front],
    }


def _matrices(compared: Compared) -> dict[str, Any] | None:
    """R of every row by its label, all in the same colours; None where nothing could be forgotten."""
    if not compared.has_past:
        return None
    scored = {row.label: row.results[0]["scored"] for row in compared.rows}
    values = {row.label: measures.mean_matrix(row) for row in compared.rows}
    learned = [
        value
        for label, R in values.items()
        for over, line in zip(scored[label], R, strict=True)
        for value in line[:over]
    ]
    low, high = finite_range(learned)
    low = min(low, high - LEAST_SPAN)
    colours = heat_colours(low, high)
    digits = 1 if len(compared.tasks) > 4 else 2
    maps = {
        label: [
            [
                Cell(decibels(value, digits), *(colours(value) if j < over and not math.isnan(value) else ("", "")))
                for j, value in enumerate(line)
            ]
            for over, line in zip(scored[label], R, strict=True)
        ]
        for label, R in values.items()
    }
    names = list(compared.tasks) if len(compared.tasks) <= 4 else [str(j + 1) for j in range(len(compared.tasks))]
    return {"sentence": findings.forgetting_sentence(compared), "maps": maps, "names": names}


def _curves(compared: Compared) -> dict[str, Any] | None:
    """How the first task fares while others are learned, by label; None where there is no other."""
    if not compared.has_past:
        return None
    dips = {
        row.label: dip
        for row in compared.rows
        if not row.from_scratch and (dip := measures.deepest_dip(row.history.curve)) is not None
    }
    # How the first task was learned is the same for all; what matters comes after the switch.
    after = [values[0] for row in compared.rows for x, values in row.history.curve if x >= 1.0 and not row.from_scratch]
    ends = [values for row in compared.rows for _, values in row.history.curve[-1:]]
    low, high = finite_range([*after, *(value for values in ends for value in values)])
    span = low - 0.06 * (high - low), high + 0.05 * (high - low)
    plots = {
        row.label: curve_plot(row.history.curve, compared.tasks, span, dips.get(row.label), row.from_scratch, row.label)
        for row in compared.rows
    }
    return {"sentence": findings.dip_sentence(compared, dips), "plots": plots, "dips": dips}


def _strips(compared: Compared, pictured: Sequence[int]) -> dict[str, Any] | None:
    """The change of each old view, a strip for each row on one scale; None where there is no old view."""
    views = {row.label: measures.old_views(row) for row in compared.rows}
    changes = [view.change for found in views.values() for view in found]
    if not changes:
        return None
    low, high = finite_range([*changes, 0.0])

    def share(change: float) -> float:
        return round(100.0 * (min(max(change, low), high) - low) / (high - low), 1)

    strips = {row.label: _strip(compared, pictured, views[row.label], share) for row in compared.rows}
    ticks = [(share(tick), f"{tick:+g}".replace("-", "−") if tick else "0") for tick in round_ticks(low, high, 6)]
    return {"sentence": findings.views_sentence(compared, views), "strips": strips, "ticks": ticks}


def _strip(
    compared: Compared, pictured: Sequence[int], views: Sequence[OldView], share: Callable[[float], float]
) -> Strip:
    """One row's strip.

    Args:
        compared: has the tasks' names.
        pictured: positions of the watched task's views that are shown.
        views: at least one, the worst first.
        share: where a change lies on the scale, in percent.
    """

    def told(view: OldView) -> WorstView:
        seen = view.task == compared.watched and view.position in pictured
        return WorstView(
            f"{view.name} of {compared.tasks[view.task]}",
            f"{decibels(view.before)} → {decibels(view.after)} dB",
            signed(view.change),
            view.position if seen else None,
        )

    dots = [(share(view.change), f"{told(view).name}: {told(view).figures}") for view in views]
    middle = statistics.median(view.change for view in views)
    return Strip(dots, share(middle), signed(middle), [told(view) for view in views[:WORST]])
