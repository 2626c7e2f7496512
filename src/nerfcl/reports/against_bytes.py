"""What the bytes buy: PSNR against what is kept of the past, a line per strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nerfcl.reports.compared import Compared, ComparedRow
from nerfcl.reports.measures import kept, mean_final
from nerfcl.reports.style import COLOURS, GREY, INK, clean, colour_of, decibels, new_figure, save, set_title
from nerfcl.reports.tables import human_bytes

MARKERS = "os^D"  # each for seven colours


def bytes_figure(path: str | Path, compared: Compared, families: Sequence[Sequence[ComparedRow]]) -> bool:
    """Writes PSNR after the last task against bytes, the bounds as dashed lines; the best strategy is named first.

    Args:
        path: the PNG.
        compared: has the title and the bounds.
        families: rows that differ in their bytes only and are joined by a line. Bounds, and rows that keep nothing,
            have no place on the logarithmic axis.

    Returns:
        Whether there was anything to draw.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator

    bounds = [row for row in compared.rows if row.bound is not None]
    drawn = [
        sorted(family, key=lambda row: kept(row).mean)
        for family in families
        if family and all(row.bound is None and kept(row).mean > 0.0 for row in family)
    ]
    if not drawn:
        return False
    drawn.sort(key=lambda family: -max(mean_final(row).mean for row in family))
    figure = new_figure(9.4, max(4.4, 0.27 * len(drawn) + 1.6))
    axes = figure.subplots()
    for i, family in enumerate(drawn):
        values = [mean_final(row) for row in family]
        axes.errorbar(
            [kept(row).mean for row in family],
            [value.mean for value in values],
            yerr=None if values[0].deviation is None else [value.deviation or 0.0 for value in values],
            color=colour_of(i),
            marker=MARKERS[i // len(COLOURS) % len(MARKERS)],
            markersize=6,
            linewidth=1.8,
            elinewidth=1.0,
            label=_shared(family),
        )
    axes.set_xscale("log", base=2)
    sizes = [kept(row).mean for family in drawn for row in family]
    middle, reach = (min(sizes) * max(sizes)) ** 0.5, max((max(sizes) / min(sizes)) ** 0.58, 4.0)
    axes.set_xlim(middle / reach, middle * reach)
    for row in bounds:
        level = mean_final(row).mean
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


def _shared(family: Sequence[ComparedRow]) -> str:
    """What rows are called that differ in their budget; a single one keeps its label."""
    return family[0].label.rpartition(" @ ")[0] if len(family) > 1 else family[0].label
