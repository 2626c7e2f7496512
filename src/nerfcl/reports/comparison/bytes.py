"""PSNR against bytes kept of the past, one line per strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nerfcl.reports.comparison.summary import ComparisonSummary, Summary
from nerfcl.reports.style import COLOURS, GREY, INK, clean, colour_of, new_figure, save, set_title
from nerfcl.reports.text import decibels, human_bytes

MARKERS = "os^D"  # each used with seven colours


def bytes_figure(path: str | Path, compared: ComparisonSummary, families: Sequence[Sequence[Summary]]) -> bool:
    """Draw PSNR after the last task against bytes, with bounds as dashed lines and the best strategy listed first.

    Args:
        path: PNG to write.
        compared: comparison, for the title and the bounds.
        families: groups of configurations that differ only in their budget, each joined by a line. Bounds, and
            configurations that keep nothing, are left out of the logarithmic axis.

    Returns:
        Whether there was anything to draw.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator

    bounds = [row for row in compared.summaries if row.is_bound]
    drawn = [
        sorted(family, key=lambda row: row.kept.mean)
        for family in families
        if family and all(not row.is_bound and row.kept.mean > 0.0 for row in family)
    ]
    if not drawn:
        return False
    drawn.sort(key=lambda family: -max(row.mean_final.mean for row in family))
    figure = new_figure(9.4, max(4.4, 0.27 * len(drawn) + 1.6))
    axes = figure.subplots()
    for i, family in enumerate(drawn):
        values = [row.mean_final for row in family]
        axes.errorbar(
            [row.kept.mean for row in family],
            [value.mean for value in values],
            yerr=None if values[0].std is None else [value.spread for value in values],
            color=colour_of(i),
            marker=MARKERS[i // len(COLOURS) % len(MARKERS)],
            markersize=6,
            linewidth=1.8,
            elinewidth=1.0,
            label=_shared(family),
        )
    axes.set_xscale("log", base=2)
    sizes = [row.kept.mean for family in drawn for row in family]
    middle, reach = (min(sizes) * max(sizes)) ** 0.5, max((max(sizes) / min(sizes)) ** 0.58, 4.0)
    axes.set_xlim(middle / reach, middle * reach)
    for row in bounds:
        level = row.mean_final.mean
        axes.axhline(level, color=GREY, linewidth=1.2, linestyle=(0, (5, 3)), zorder=0)
        axes.annotate(
            f"{row.label} {decibels(level, 1)}",
            (0.0, level),
            (4, 3),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            fontsize=9,
            color=GREY,
        )
    axes.margins(y=0.09)
    clean(axes)
    axes.xaxis.set_major_locator(LogLocator(base=2.0, numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: human_bytes(size).replace(".0", "")))
    axes.set_xlabel("kept of the past", fontsize=10)
    axes.set_ylabel("PSNR after the last task,\nmean over tasks (dB)", fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9.5, labelcolor=INK)
    set_title(figure, compared.title)
    save(figure, path)
    return True


def _shared(family: Sequence[Summary]) -> str:
    """Return the common label of configurations that differ only in their budget; a single one keeps its own."""
    return family[0].label.rpartition(" @ ")[0] if len(family) > 1 else family[0].label
