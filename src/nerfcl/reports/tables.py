"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from nerfcl.metrics.forgetting import average, backward_transfer, forgetting
from nerfcl.reports.style import decibels

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 100


class ComparisonRow(TypedDict):
    """One strategy's figures.

    Attributes:
        strategy: its name.
        final, final_std: per task, mean test PSNR (dB) after the last task, and its standard deviation over seeds.
        drop, drop_std: on the first task, from just after learning it to the end (dB); negative is forgotten.
        seconds: of training.
        memory_bytes: kept of the past.
    """

    strategy: str
    final: list[float]
    final_std: list[float]
    drop: float
    drop_std: float
    seconds: float
    memory_bytes: float


class StreamRow(TypedDict):
    """One strategy's figures on a stream of frames.

    Attributes:
        strategy: its name.
        psnr, psnr_std: mean PSNR (dB) of all test views at the end, and its standard deviation over seeds.
        to_joint, to_joint_std: what that is above the upper bound's (dB), seed by seed; None where there is none.
        forgetting, backward_transfer: in dB; None where nothing was past.
        frames_per_second: that were learned.
        seconds: of training.
        memory_bytes: kept of the past.
    """

    strategy: str
    psnr: float
    psnr_std: float
    to_joint: float | None
    to_joint_std: float | None
    forgetting: float | None
    backward_transfer: float | None
    frames_per_second: float
    seconds: float
    memory_bytes: float


def comparison_table(rows: Sequence[ComparisonRow], tasks: Sequence[str]) -> Table:
    """A row per strategy: PSNR (dB) of every task after the last, change on the first, average, seconds, bytes kept.

    With several seeds figures are mean ± standard deviation. Of more than six tasks only the first and the last have
    columns.
    """
    shown = range(len(tasks)) if len(tasks) <= 6 else (0, len(tasks) - 1)
    several = any(std > 0.0 for row in rows for std in (*row["final_std"], row["drop_std"]))
    title = "PSNR (dB) on test views after the last task"
    table = _table(f"{title}: mean ± standard deviation over seeds" if several else title)
    table.add_column("strategy", overflow="fold")
    for head in (*(tasks[j] for j in shown), f"change on\n{tasks[0]}", "average", "seconds", "kept"):
        table.add_column(head, justify="right", overflow="fold")
    for row in rows:
        finals = [_with_std(decibels(row["final"][j]), row["final_std"][j], several) for j in shown]
        table.add_row(
            row["strategy"],
            *finals,
            _with_std(_signed(row["drop"]), row["drop_std"], several),
            decibels(sum(row["final"]) / len(row["final"])),
            _few_digits(row["seconds"]),
            human_bytes(row["memory_bytes"]),
        )
    return table


def stream_table(rows: Sequence[StreamRow], joint: str | None = None) -> Table:
    """A row per strategy on a stream: PSNR (dB) of all test views at the end, what was forgotten, what it cost.

    With several seeds figures are mean ± standard deviation.

    Args:
        rows: from above.
        joint: the upper bound's name, where there is one; then a column says how far each strategy is from it.
    """
    several = any(row["psnr_std"] > 0.0 or (row["to_joint_std"] or 0.0) > 0.0 for row in rows)
    title = "PSNR (dB) of all test views at the end of the stream"
    table = _table(f"{title}: mean ± standard deviation over seeds" if several else title)
    table.add_column("strategy", overflow="fold")
    heads = ["PSNR", *([f"minus\n{joint}"] if joint else []), "forgetting", "backward\ntransfer", "frames/s", "seconds"]
    for head in (*heads, "kept"):
        table.add_column(head, justify="right", overflow="fold")
    for row in rows:
        table.add_row(
            row["strategy"],
            _with_std(decibels(row["psnr"]), row["psnr_std"], several),
            *([_with_std(_signed(row["to_joint"]), row["to_joint_std"], several)] if joint else []),
            _signed(row["forgetting"]),
            _signed(row["backward_transfer"]),
            _few_digits(row["frames_per_second"]),
            _few_digits(row["seconds"]),
            human_bytes(row["memory_bytes"]),
        )
    return table


def run_table(R: Sequence[Sequence[float]], tasks: Sequence[str]) -> Table:
    """R with a row per learned task, then average, backward transfer and forgetting (dB).

    Of more than six tasks only the first, the present and the last have columns, and the mean over all.
    """
    table = _table("PSNR (dB) on test views")
    table.add_column("", overflow="fold")
    many = len(tasks) > 6
    for head in (tasks[0], "present", tasks[-1], "mean of all") if many else tasks:
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


def human_bytes(count: float) -> str:
    """A number of bytes for people, in units of 1024: "0", "512 B", "240 KB", "2.1 MB"."""
    if count < 0.5:
        return "0"
    if count < 1023.5:
        return f"{count:.0f} B"
    units = ["KB", "MB", "GB", "TB"]
    count /= 1024.0
    while count >= 1023.5 and len(units) > 1:
        count /= 1024.0
        units.pop(0)
    return f"{count:.1f} {units[0]}" if count < 9.95 else f"{count:.0f} {units[0]}"


def print_table(table: Table, console: Console | None = None) -> None:
    """Prints a table; without a terminal plain and at least 100 characters wide, so that it reads the same in a log."""
    from rich.console import Console

    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=max(PLAIN_WIDTH, console.width), color_system=None)
    console.print(table)


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1)
    )


def _with_std(text: str, std: float | None, several: bool) -> str:
    return f"{text} ± {std:.2f}" if several and std is not None else text


def _signed(value: float | None) -> str:
    """A difference; nothing where there is none."""
    return "" if value is None else f"{value:+.2f}"


def _few_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10.0 else f"{value:.1f}"
