"""The figures of a comparison's rows: over seeds, against each other, within tasks, view by view."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nerfcl.reports.compared import Compared, ComparedRow
from nerfcl.reports.timeline import Curve


@dataclass(frozen=True)
class Figure:
    """One figure over seeds.

    Attributes:
        mean: over the seeds; NaN where there is nothing to measure.
        deviation: standard deviation (n - 1); None of a single seed.
    """

    mean: float
    deviation: float | None = None


@dataclass(frozen=True)
class Dip:
    """How far the first task falls after a switch, while another is learned.

    Attributes:
        task: position of the other.
        before, lowest, after: PSNR (dB) at the switch, at its lowest, when the other was learned.
        at: where it is lowest, in tasks since the beginning.
    """

    task: int
    before: float
    lowest: float
    after: float
    at: float

    @property
    def depth(self) -> float:
        """In dB; 0.0 where it never falls."""
        return max(self.before - self.lowest, 0.0)


@dataclass(frozen=True)
class OldView:
    """A test view of a task that was learned before the last, its PSNR a mean over seeds.

    Attributes:
        task: position of its task.
        position: among that task's test views.
        name: its own.
        before, after: PSNR (dB) when its task was learned, and at the end.
    """

    task: int
    position: int
    name: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """In dB; negative where it got worse."""
        return self.after - self.before


def over_seeds(values: Iterable[float | None]) -> Figure:
    """Mean and standard deviation (n - 1); NaN where any is None."""
    known = [math.nan if value is None else value for value in values]
    if any(map(math.isnan, known)):
        return Figure(math.nan)
    return Figure(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def final(row: ComparedRow, task: int) -> Figure:
    """PSNR (dB) on one task's test views after the last task."""
    return over_seeds(result["R"][-1][task] for result in row.results)


def mean_final(row: ComparedRow) -> Figure:
    """Mean over tasks of the PSNR (dB) on test views after the last task."""
    return over_seeds(result["average"] for result in row.results)


def gap(row: ComparedRow, joint: ComparedRow) -> Figure:
    """What `mean_final` is above the upper bound's (dB), seed by seed; negative below it, NaN of the bound itself."""
    if row is joint:
        return Figure(math.nan)
    pairs = zip(row.results, joint.results, strict=True)
    return over_seeds(result["average"] - bound["average"] for result, bound in pairs)


def backward_transfer(row: ComparedRow) -> Figure:
    """In dB; negative where the past got worse."""
    return over_seeds(result["backward_transfer"] for result in row.results)


def forgetting(row: ComparedRow) -> Figure:
    """In dB; positive where the past got worse."""
    return over_seeds(result["forgetting"] for result in row.results)


def kept(row: ComparedRow) -> Figure:
    """Bytes that are kept of the past."""
    return over_seeds(result["memory_bytes"] for result in row.results)


def seconds(row: ComparedRow) -> Figure:
    """Of training."""
    return over_seeds(result["seconds"]["training"] for result in row.results)


def mean_matrix(row: ComparedRow) -> list[list[float]]:
    """R (dB), each cell a mean over seeds; NaN where a task has no test view."""
    R = row.results[0]["R"]
    return [
        [over_seeds(result["R"][i][j] for result in row.results).mean for j in range(len(R[i]))] for i in range(len(R))
    ]


def front(compared: Compared) -> list[ComparedRow]:
    """The contenders that none keeps less than and ends higher, from fewest bytes to most."""
    rows = compared.contenders
    return [rows[i] for i in pareto_front([(kept(row).mean, mean_final(row).mean) for row in rows])]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the points (bytes, dB) that no other beats, from fewest bytes to most.

    A point is beaten by one with as few bytes and as many dB that is better in either.
    """

    def beaten(point: tuple[float, float]) -> bool:
        return any(x <= point[0] and y >= point[1] and (x, y) != point for x, y in points)

    return sorted((i for i, point in enumerate(points) if not beaten(point)), key=lambda i: points[i])


def deepest_dip(curve: Curve) -> Dip | None:
    """How far the first task falls at most after a switch; None where nobody looked.

    Args:
        curve: looks: (tasks so far as a fraction, mean validation PSNR (dB) of every task).
    """
    dips = []
    for task in range(1, math.ceil(max((x for x, _ in curve), default=0.0))):
        before = [values[0] for x, values in curve if x <= task]
        within = [(x, values[0]) for x, values in curve if task < x <= task + 1]
        if before and within and not any(map(math.isnan, (before[-1], *(value for _, value in within)))):
            at, lowest = min(within, key=lambda look: look[1])
            dips.append(Dip(task, before[-1], lowest, within[-1][1], at))
    return max(dips, key=lambda dip: dip.depth, default=None)


def scoring_after(task: int, scored: Sequence[int]) -> int:
    """The first scoring after a task was learned.

    Args:
        task: its position.
        scored: how many tasks were over at each scoring.
    """
    return next(i for i, over in enumerate(scored) if over > task)


def view_places(row: ComparedRow) -> list[tuple[int, int]]:
    """Position of the task and position among its test views, for each of the results' views in their order."""
    return [(j, v) for j, values in enumerate(row.history.psnr[-1]) for v in range(len(values))]


def old_views(row: ComparedRow) -> list[OldView]:
    """The test views of all tasks that something was learned after, the worst change first."""
    scored = row.results[0]["scored"]
    found = []
    for k, (j, v) in enumerate(view_places(row)):
        first = scoring_after(j, scored)
        if first < len(scored) - 1:
            of_seeds = [result["views"][k] for result in row.results]
            before, after = (statistics.fmean(view["psnr"][i] for view in of_seeds) for i in (first, -1))
            found.append(OldView(j, v, of_seeds[0]["name"], before, after))
    return sorted(found, key=lambda view: view.change)
