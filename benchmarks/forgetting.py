"""What each strategy forgets for the bytes that it keeps. Writes docs/results/forgetting.md and its pictures.

python benchmarks/forgetting.py [--data PATH] [--seeds 0 1 2 3 4] [--jobs 2] [--runs FOLDER]

Three comparisons: right then left at several budgets; ten azimuth sectors; right then left on the built-in scene.
What was stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nerfcl  # noqa: F401  isort: skip: sets how thread pools wait before torch starts its own
from machine import lego_or_builtin, processor, versions
from seeds import mean_of

from nerfcl.cli.describe import describe_comparison
from nerfcl.cli.options import Compare
from nerfcl.config.comparison import Comparison
from nerfcl.experiments.compare import compare
from nerfcl.experiments.workers import Workers
from nerfcl.files import written_aside
from nerfcl.reports.text import human_bytes

DOCS = Path(__file__).parents[1] / "docs"
SIZE = (64, 64)  # pixels
CONTRAST = "contrast=replay:memory-fill=contrast"
FEW = "20480 rays=replay:memory-fill=contrast,memory-rays=20480"
FEW_AND_SNAPSHOT = "20480 rays and a snapshot=replay+:memory-rays=20480"
MOSTLY_OLD = "images, 3/4 old=replay-images:replay-fraction=0.75"
SECTORS = ("joint", "replay-images", MOSTLY_OLD, "generative", CONTRAST, "finetune")
IMAGES, LESS_OF_THEM = "replay-images @ 256K", "replay-images @ 64K"


@dataclass(frozen=True)
class Kept:
    """What may be kept of the past.

    Attributes:
        label: the configuration that keeps it.
        what: it is.
        reference: the reference project's change on the right test views, dB, where it has one.
    """

    label: str
    what: str
    reference: float | None


KEPT = (
    Kept("generative-free", "nothing but weights: a snapshot, no pose, no pixel", -4.85),
    Kept("20480 rays", "20,480 rays", -1.21),
    Kept(IMAGES, "at most 256 KB, as images", -1.21),
    Kept("20480 rays and a snapshot", "20,480 rays and a snapshot", None),
    Kept("generative", "poses and a snapshot, no pixel", None),
    Kept("replay-all", "all right rays", -0.72),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=lego_or_builtin())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--sectors-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--builtin-seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("outputs/forgetting"))
    parser.add_argument("--out", type=Path, default=DOCS / "results/forgetting.md")
    options = parser.parse_args()
    budgets = Compare(
        data=options.data,
        img_wh=SIZE,
        strategies=("all", CONTRAST, FEW, FEW_AND_SNAPSHOT),
        budget_bytes=("64K", "256K", "1M", "4M"),
        seeds=_named(options.seeds),
        steps=options.steps,
        out=options.runs / "lego",
    )
    sectors = Compare(
        data=options.data,
        img_wh=SIZE,
        tasks=("sectors:10",),
        strategies=SECTORS,
        budget_bytes=("4M",),
        seeds=_named(options.sectors_seeds),
        steps=options.steps,
        out=options.runs / "sectors",
    )
    builtin = Compare(
        img_wh=SIZE,
        strategies=("all", CONTRAST),
        budget_bytes=("256K",),
        seeds=_named(options.builtin_seeds),
        steps=options.steps,
        out=options.runs / "builtin",
    )
    on_lego, on_sectors, on_builtin = (Part.run(command, options.jobs) for command in (budgets, sectors, builtin))
    with written_aside(options.out) as aside:
        aside.write_text("\n".join(_page(on_lego, on_sectors, on_builtin, options.jobs)), encoding="utf-8")
    if options.out.resolve().parents[1] == DOCS.resolve():
        shutil.copy(on_lego.out / "bytes.png", DOCS / "images/forgetting-bytes.png")
        shutil.copy(on_sectors.out / "comparison.png", DOCS / "images/forgetting-sectors.png")
    print(f"written: {options.out}")


def _named(seeds: Sequence[int]) -> tuple[int, ...]:
    """Name seeds as a command does, for which a single number is how many there are, from 0 on."""
    return (seeds[0] + 1,) if list(seeds) == [0] else tuple(seeds)


@dataclass(frozen=True)
class Row:
    """One configuration's values over seeds, in the order of the seeds.

    Attributes:
        before: PSNR (dB) on the first task's test views when it was learned.
        change: what came to it until the end.
        last: PSNR on the last task's test views at the end.
        average: PSNR at the end, mean over tasks.
        forgetting: dB.
        kept: bytes, mean over seeds.
    """

    before: list[float]
    change: list[float]
    last: list[float]
    average: list[float]
    forgetting: list[float]
    kept: float


@dataclass(frozen=True)
class Part:
    """One of the comparisons, where it is, and what each of its runs found."""

    comparison: Comparison
    out: Path
    runs: list[dict[str, Any]]

    @classmethod
    def run(cls, command: Compare, jobs: int) -> Part:
        """Do what a command says."""
        comparison, out = describe_comparison(command), command.out
        assert out is not None
        return cls(comparison, out, compare(comparison, out, Workers(jobs)))

    @property
    def seeds(self) -> str:
        return ", ".join(map(str, sorted({run["seed"] for run in self.runs})))

    def rows(self) -> dict[str, Row]:
        """Each configuration's values by its label."""
        runs: dict[str, list[dict[str, Any]]] = {}
        for run in self.runs:
            runs.setdefault(run["strategy"], []).append(run)
        return {
            label: Row(
                [run["R"][0][0] for run in mine],
                [run["R"][-1][0] - run["R"][0][0] for run in mine],
                [run["R"][-1][-1] for run in mine],
                [run["average"] for run in mine],
                [run["forgetting"] for run in mine],
                statistics.fmean(run["memory_bytes"] for run in mine),
            )
            for label, mine in runs.items()
        }


def _page(budgets: Part, sectors: Part, builtin: Part, jobs: int) -> list[str]:
    lego, ten, truck = budgets.rows(), sectors.rows(), builtin.rows()
    experiment = budgets.comparison.experiment
    assert experiment.scene is not None
    scene = f"{Path(experiment.scene.data).name} at {SIZE[0]}x{SIZE[1]}"
    steps = f"{experiment.training.steps} steps of {experiment.training.rays} new rays a task"
    return [
        "# What is forgotten, and what it costs to remember",
        "",
        f"{scene}, {steps}, and as many old rays again where a strategy replays; test views, mean ± standard deviation",
        "over seeds. Settings were chosen on validation views of seed 0. Rebuilt by `python benchmarks/forgetting.py`,",
        f"which also leaves a `report.html` for each part; {processor()}, {jobs} runs at a time; {versions()}.",
        "",
        f"## Right, then left (seeds: {budgets.seeds})",
        "",
        f"Right, when learned: {mean_of(lego['finetune'].before)} dB. The change is what it has lost or won when left",
        f"is learned, too; joint training ends with {mean_of(lego['joint'].last)} dB on left.",
        "",
        *_by_what_is_kept(lego),
        "",
        "## Equal bytes",
        "",
        "![PSNR against bytes](../images/forgetting-bytes.png)",
        "",
        "A strategy stands here once for each budget that it can meet; one whose memory has no size, once. Bytes: all",
        "that is kept beside the model after both tasks, cameras included, in the precision it is stored in.",
        "",
        *_table(lego, "change on right", "left, after it"),
        "",
        f"## Ten azimuth sectors, one after the other (at most 4 MB; seeds: {sectors.seeds})",
        "",
        *_table(ten, "change on the first", "the last, after it"),
        "",
        "![PSNR of every sector after the last](../images/forgetting-sectors.png)",
        "",
        f"## The built-in scene: is the order of strategies the same? (seeds: {builtin.seeds})",
        "",
        *_orders(lego, truck),
        "",
    ]


def _by_what_is_kept(rows: dict[str, Row]) -> list[str]:
    lines = [
        "| kept | configuration | bytes | NeRF-CL | change on right | left, against joint |",
        "|---|---|---|---|---|---|",
    ]
    for kept in KEPT:
        # Where all images fit into less, there is no configuration of the larger budget.
        label = LESS_OF_THEM if kept.label == IMAGES and IMAGES not in rows else kept.label
        row, joint = rows[label], rows["joint"]
        left = [mine - bound for mine, bound in zip(row.last, joint.last, strict=True)]
        reference = "" if kept.reference is None else f"{kept.reference:+.2f}"
        lines.append(
            f"| {kept.what} | `{label}` | {human_bytes(row.kept)} | {reference} | {mean_of(row.change, '+')} "
            f"| {mean_of(left, '+')} |"
        )
    return lines


def _table(rows: dict[str, Row], change: str, last: str) -> list[str]:
    joint = rows["joint"]
    best = sorted(rows, key=lambda label: -statistics.fmean(rows[label].average))
    lines = [
        f"| configuration | kept | {change} | {last} | mean of all | against joint | forgetting |",
        "|---|---|---|---|---|---|---|",
    ]
    for label in best:
        row = rows[label]
        apart = [mine - bound for mine, bound in zip(row.average, joint.average, strict=True)]
        lines.append(
            f"| {label} | {human_bytes(row.kept)} | {mean_of(row.change, '+')} | {mean_of(row.last)} "
            f"| {mean_of(row.average)} | {'' if row is joint else mean_of(apart, '+')} "
            f"| {mean_of(row.forgetting, '+')} |"
        )
    return lines


def _orders(lego: dict[str, Row], truck: dict[str, Row]) -> list[str]:
    """Both scenes' changes side by side, and the pairs whose order is another."""
    order = sorted((label for label in truck if label in lego), key=lambda label: -statistics.fmean(lego[label].change))
    lines = [
        f"The built-in scene's right side before the switch: {mean_of(truck['finetune'].before)} dB.",
        "",
        "| | change on right | built-in: change on right | left, after it | kept |",
        "|---|---|---|---|---|",
    ]
    for label in order:
        there = truck[label]
        lines.append(
            f"| {label} | {mean_of(lego[label].change, '+')} | {mean_of(there.change, '+')} | {mean_of(there.last)} "
            f"| {human_bytes(there.kept)} |"
        )
    pairs = [(better, worse) for i, better in enumerate(order) for worse in order[i + 1 :]]
    turned = [
        (better, worse)
        for better, worse in pairs
        if statistics.fmean(truck[worse].change) > statistics.fmean(truck[better].change)
    ]
    sure = [
        (better, worse)
        for better, worse in turned
        if _surely_above(lego[better].change, lego[worse].change)
        and _surely_above(truck[worse].change, truck[better].change)
    ]
    return [
        *lines,
        "",
        f"Of {len(pairs)} pairs of configurations {len(turned)} have the reversed order there: {_told(turned)}.",
        "",
        f"Both times by more than two standard errors: {_told(sure)}.",
    ]


def _told(pairs: Sequence[tuple[str, str]]) -> str:
    """Each pair: which is the better one on the first scene, not on the second."""
    return "; ".join(f"{better} before {worse}" for better, worse in pairs) or "none"


def _surely_above(some: Sequence[float], others: Sequence[float]) -> bool:
    """Whether a mean is above another by more than two standard errors of their difference; never of single values."""
    if min(len(some), len(others)) < 2:
        return False
    error = sum(statistics.variance(each) / len(each) for each in (some, others)) ** 0.5
    return statistics.fmean(some) - statistics.fmean(others) > 2.0 * error


if __name__ == "__main__":
    main()
