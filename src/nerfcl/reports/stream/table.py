"""Terminal table of a comparison on a stream of frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nerfcl.reports.comparison.summary import Statistic, Summary, upper_bound
from nerfcl.reports.comparison.table import with_seeds, with_std
from nerfcl.reports.terminal import new_table
from nerfcl.reports.text import few_digits, human_bytes

if TYPE_CHECKING:
    from rich.table import Table


def stream_table(summaries: Sequence[Summary], frames: Sequence[int]) -> Table:
    """Make a table with one row per configuration.

    Columns are the PSNR (dB) over all test views at the end, the gap to the upper bound if there is one, forgetting,
    and costs. With several seeds, PSNR and gap are mean ± standard deviation.

    Args:
        summaries: one per configuration.
        frames: number of frames of each configuration's stream.
    """
    bound = upper_bound(summaries)
    table = new_table(with_seeds("PSNR (dB) of all test views at the end of the stream", summaries))
    table.add_column("strategy", overflow="fold")
    gap = [] if bound is None else [f"minus\n{bound.label}"]
    for head in ("PSNR", *gap, "forgetting", "backward\ntransfer", "frames/s", "seconds", "kept"):
        table.add_column(head, justify="right", overflow="fold")
    nothing = Statistic(math.nan)
    for summary, count in zip(summaries, frames, strict=True):
        forgetting, transfer = summary.forgetting, summary.backward_transfer
        past = (forgetting, transfer) if summary.has_past else (nothing, nothing)
        table.add_row(
            summary.label,
            with_std(summary.psnr),
            *([] if bound is None else [with_std(summary.gap(bound, "psnr"), signed=True)]),
            *(with_std(Statistic(value.mean), signed=True) for value in past),
            few_digits(summary.frames_per_second(count).mean),
            few_digits(summary.seconds.mean),
            human_bytes(summary.kept.mean),
        )
    return table
