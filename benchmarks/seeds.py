"""How values over seeds are written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def mean_of(values: Sequence[float], sign: str = "") -> str:
    """Mean ± standard deviation (n - 1) with two digits, a single value alone; `sign` "+" writes it always."""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.2f}{spread}"
