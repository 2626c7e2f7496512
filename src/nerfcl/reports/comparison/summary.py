"""Summaries of a comparison, shared by terminal tables, figures and HTML reports."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nerfcl.reports.timeline import Curve
from nerfcl.strategies.strategy import Role
from nerfcl.training.history import History


@dataclass(frozen=True)
class Statistic:
    """One quantity over seeds.

    Attributes:
        mean: mean over seeds; NaN if the quantity is undefined.
        std: standard deviation (n - 1); None for a single seed.
    """

    mean: float
    std: float | None = None

    @property
    def spread(self) -> float:
        """The standard deviation; 0.0 for a single seed."""
        return self.std or 0.0


def over_seeds(values: Iterable[float | None]) -> Statistic:
    """Compute mean and standard deviation (n - 1); NaN if any value is None or NaN."""
    known = [math.nan if value is None else value for value in values]
    if any(map(math.isnan, known)):
        return Statistic(math.nan)
    return Statistic(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


@dataclass(frozen=True)
class Dip:
    """Drop of the first task's PSNR after a switch to another task.

    Attributes:
        task: index of the other task.
        before, lowest, after: PSNR (dB) at the switch, at the minimum, and at the end of the other task.
        at: position of the minimum, as a fractional number of tasks.
    """

    task: int
    before: float
    lowest: float
    after: float
    at: float

    @property
    def depth(self) -> float:
        """Depth of the drop in dB; 0.0 if the PSNR never drops."""
        return max(self.before - self.lowest, 0.0)


@dataclass(frozen=True)
class OldView:
    """A test view of a task before the last, with PSNR averaged over seeds.

    Attributes:
        task: index of the task.
        position: index among the task's test views.
        name: name of the view.
        before, after: PSNR (dB) when its task had just been learned, and at the end.
    """

    task: int
    position: int
    name: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """Change in dB; negative if it got worse."""
        return self.after - self.before


@dataclass(frozen=True, eq=False)
class Summary:
    """One configuration of a comparison, over its seeds.

    Attributes:
        label: name of the configuration, as the user wrote it.
        results: content of `results.json` for each seed; all configurations have the same seeds in the same order.
        history: history of the first seed's run.
        role: role of its strategy in the comparison.
        from_scratch: whether every task begins with an untrained model.
    """

    label: str
    results: Sequence[Mapping[str, Any]]
    history: History
    role: Role = "contender"
    from_scratch: bool = False

    @property
    def is_bound(self) -> bool:
        """Whether it is a lower or an upper bound."""
        return self.role != "contender"

    def final(self, task: int) -> Statistic:
        """PSNR (dB) on one task's test views after the last task."""
        return over_seeds(result["R"][-1][task] for result in self.results)

    @property
    def mean_final(self) -> Statistic:
        """Mean over tasks of the PSNR (dB) on test views after the last task."""
        return over_seeds(result["average"] for result in self.results)

    @property
    def psnr(self) -> Statistic:
        """Mean PSNR (dB) over all test views at the end, with equal weights."""
        return over_seeds(result["psnr"] for result in self.results)

    @property
    def change_on_first(self) -> Statistic:
        """Change on the first task (dB), from just after it was learned to the end; negative is forgetting."""
        return over_seeds(_difference(result["R"][-1][0], result["R"][0][0]) for result in self.results)

    @property
    def backward_transfer(self) -> Statistic:
        """Backward transfer in dB; negative if earlier tasks got worse."""
        return over_seeds(result["backward_transfer"] for result in self.results)

    @property
    def forgetting(self) -> Statistic:
        """Forgetting in dB; positive if earlier tasks got worse."""
        return over_seeds(result["forgetting"] for result in self.results)

    @property
    def has_past(self) -> bool:
        """Whether it was tested more than once, so that forgetting can be measured."""
        return all(len(result["R"]) > 1 for result in self.results)

    @property
    def kept(self) -> Statistic:
        """Bytes kept of the past."""
        return over_seeds(result["memory_bytes"] for result in self.results)

    @property
    def seconds(self) -> Statistic:
        """Training time in seconds."""
        return over_seeds(result["seconds"]["training"] for result in self.results)

    def frames_per_second(self, frames: int) -> Statistic:
        """Frames of a stream per second of training."""
        return over_seeds(frames / result["seconds"]["training"] for result in self.results)

    def gap(self, bound: Summary | None, quantity: str = "average") -> Statistic:
        """Difference to an upper bound at the end (dB), paired by seed; negative is below, NaN without a bound.

        Args:
            bound: the upper bound, with the same seeds.
            quantity: "average" (mean over tasks) or "psnr" (mean over all test views).
        """
        if bound is None or bound is self:
            return Statistic(math.nan)
        pairs = zip(self.results, bound.results, strict=True)
        return over_seeds(result[quantity] - other[quantity] for result, other in pairs)

    @property
    def mean_matrix(self) -> list[list[float]]:
        """R (dB), averaged over seeds; NaN if a task has no test views."""
        R = self.results[0]["R"]
        return [
            [over_seeds(result["R"][i][j] for result in self.results).mean for j in range(len(R[i]))]
            for i in range(len(R))
        ]

    @property
    def view_places(self) -> list[tuple[int, int]]:
        """For each view in the results, in order, the index of its task and its index among the task's test views."""
        return [(j, v) for j, values in enumerate(self.history.psnr[-1]) for v in range(len(values))]

    @property
    def old_views(self) -> list[OldView]:
        """The test views of all earlier tasks, the worst change first."""
        tested = self.results[0]["tested"]
        found = []
        for k, (j, v) in enumerate(self.view_places):
            first = test_after(j, tested)
            if first < len(tested) - 1:
                views = [result["views"][k] for result in self.results]
                before, after = (statistics.fmean(view["psnr"][i] for view in views) for i in (first, -1))
                found.append(OldView(j, v, views[0]["name"], before, after))
        return sorted(found, key=lambda view: view.change)

    @property
    def deepest_dip(self) -> Dip | None:
        """The deepest drop of the first task after a switch; None if nothing was evaluated."""
        return deepest_dip(self.history.curve)


@dataclass(frozen=True)
class ComparisonSummary:
    """Content of a report.

    Attributes:
        title: title of the report.
        tasks: task names, in order.
        summaries: one per configuration, at least one.
        length: length of each task, in `unit`.
        unit: "steps" or "epochs".
        pictured_task: index of the task whose test views the histories' renderings show.
        truths: ground truth of those views by their indices, (H, W, 3) uint8.
        config: content of `config.json`: options, command, versions.
        machine: machine that times were measured on.
    """

    title: str
    tasks: Sequence[str]
    summaries: Sequence[Summary]
    length: int
    unit: str
    pictured_task: int
    truths: Mapping[int, np.ndarray]
    config: Mapping[str, Any]
    machine: str

    @property
    def upper(self) -> Summary | None:
        """The upper bound, if any."""
        return upper_bound(self.summaries)

    @property
    def lower(self) -> Summary | None:
        """The lower bound, if any."""
        return next((summary for summary in self.summaries if summary.role == "lower bound"), None)

    @property
    def contenders(self) -> list[Summary]:
        """All configurations except upper bounds, or the upper bounds if there are no others."""
        return [summary for summary in self.summaries if summary.role != "upper bound"] or list(self.summaries)

    @property
    def has_past(self) -> bool:
        """Whether there is more than one task, so that forgetting can be measured."""
        return len(self.tasks) > 1

    @property
    def front(self) -> list[Summary]:
        """The contenders on the Pareto front of bytes and PSNR, from fewest bytes to most."""
        rows = self.contenders
        return [rows[i] for i in pareto_front([(row.kept.mean, row.mean_final.mean) for row in rows])]


def upper_bound(summaries: Iterable[Summary]) -> Summary | None:
    """Return the first upper bound, if any."""
    return next((summary for summary in summaries if summary.role == "upper bound"), None)


def tasks_row(summary: Summary) -> dict[str, Any]:
    """Collect the entry of a configuration on tasks in `comparison.json`."""
    finals = [summary.final(j) for j in range(len(summary.results[0]["R"][-1]))]
    return {
        "strategy": summary.label,
        "final": [final.mean for final in finals],
        "final_std": [final.spread for final in finals],
        "drop": summary.change_on_first.mean,
        "drop_std": summary.change_on_first.spread,
        "seconds": summary.seconds.mean,
        "memory_bytes": summary.kept.mean,
    }


def stream_row(summary: Summary, frames: int, bound: Summary | None) -> dict[str, Any]:
    """Collect the entry of a configuration on a stream of frames in `comparison.json`.

    Args:
        summary: summary of the configuration.
        frames: number of frames of the stream.
        bound: the upper bound, if any.
    """
    gap = summary.gap(bound, "psnr")
    return {
        "strategy": summary.label,
        "psnr": summary.psnr.mean,
        "psnr_std": summary.psnr.spread,
        "to_joint": None if math.isnan(gap.mean) else gap.mean,
        "to_joint_std": None if math.isnan(gap.mean) else gap.spread,
        "forgetting": summary.forgetting.mean if summary.has_past else None,
        "backward_transfer": summary.backward_transfer.mean if summary.has_past else None,
        "frames_per_second": summary.frames_per_second(frames).mean,
        "seconds": summary.seconds.mean,
        "memory_bytes": summary.kept.mean,
    }


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """List the indices of the points (bytes, dB) on the Pareto front, from fewest bytes to most.

    A point is dominated by another that is at least as good in both values and better in one.
    """

    def beaten(point: tuple[float, float]) -> bool:
        return any(x <= point[0] and y >= point[1] and (x, y) != point for x, y in points)

    return sorted((i for i, point in enumerate(points) if not beaten(point)), key=lambda i: points[i])


def deepest_dip(curve: Curve) -> Dip | None:
    """Find the deepest drop of the first task after a switch; None if nothing was evaluated.

    Args:
        curve: evaluations during training.
    """
    dips = []
    for task in range(1, math.ceil(max((x for x, _ in curve), default=0.0))):
        before = [values[0] for x, values in curve if x <= task]
        within = [(x, values[0]) for x, values in curve if task < x <= task + 1]
        if before and within and not any(map(math.isnan, (before[-1], *(value for _, value in within)))):
            at, lowest = min(within, key=lambda point: point[1])
            dips.append(Dip(task, before[-1], lowest, within[-1][1], at))
    return max(dips, key=lambda dip: dip.depth, default=None)


def test_after(task: int, tested: Sequence[int]) -> int:
    """Find the index of the first test after a task was learned.

    Args:
        task: index of the task.
        tested: number of tasks learned before each test.
    """
    return next(i for i, learned in enumerate(tested) if learned > task)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
