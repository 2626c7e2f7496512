"""Tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 100


def new_table(title: str) -> Table:
    """Make an empty table with a title."""
    from rich import box
    from rich.table import Table

    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1)
    )


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table; outside a terminal, without colour and at least 100 characters wide, so logs stay readable."""
    from rich.console import Console

    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=max(PLAIN_WIDTH, console.width), color_system=None)
    console.print(table)
