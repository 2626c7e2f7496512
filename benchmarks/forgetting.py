"""What each strategy forgets for the bytes that it keeps. Writes docs/forgetting.md and its pictures.

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

from nerfcl.cli.options import Compare
from nerfcl.experiments.comparison import compare
from nerfcl.files import written_aside
from nerfcl.reports.tables import human_bytes

DOCS = Path(__file__).parents[1] / "docs"
CONTRAST = "contrast=replay:memory-fill=contrast"
FEW = "20480 rays=replay:memory-fill=contrast,memory-rays=20480"
FEW_AND_SNAPSHOT = "20480 rays and a snapshot=replay+:memory-rays=20480"
MOSTLY_OLD = "images, 3/4 old=replay-images:past-share=0.75"
SECTORS = ("joint", "replay-images", MOSTLY_OLD, "generative", CONTRAST, "finetune")
IMAGES, LESS_OF_THEM = "replay-images @ 256K", "replay-images @ 64K"
LEFT_MAY_LOSE, LEAST_BEFORE = 0.7, 31.5  # dB: else a row does not count


@dataclass(frozen=True)
class Target:
    """What is wanted of a kind of memory.

    Attributes:
        label: the row that it is measured on.
        what: what may be kept.
        reference: the reference project's change on the right test views, dB, where it has one.
        must, aim: the least change, and the wanted one.
    """

    label: str
    what: str
    reference: float | None
    must: float
    aim: float


TARGETS = (
    Target("generative-free", "nothing stored but weights: a snapshot, no pose, no pixel", -4.85, -0.2, 0.3),
    Target("20480 rays", "20,480 rays, at most 256 KB", -1.21, -0.8, 0.0),
    Target(IMAGES, "at most 256 KB, as images", -1.21, -0.8, 0.0),
    Target("20480 rays and a snapshot", "20,480 rays and a snapshot", None, 0.1, 0.6),
    Target("generative", "poses and a snapshot, no pixel", None, 0.1, 0.6),
    Target("replay-all", "all right rays", -0.72, 0.5, 1.0),
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
    parser.add_argument("--out", type=Path, default=DOCS / "forgetting.md")
    options = parser.parse_args()
    shared: dict[str, Any] = {"steps": options.steps, "jobs": options.jobs}
    budgets = Compare(
        data=options.data,
        strategies=("all", CONTRAST, FEW, FEW_AND_SNAPSHOT),
        budget_bytes=("64K", "256K", "1M", "4M"),
        seeds=tuple(options.seeds),
        out=options.runs / "lego",
        **shared,
    )
    sectors = Compare(
        data=options.data,
        tasks=("sectors:10",),
        strategies=SECTORS,
        budget_bytes=("4M",),
        seeds=tuple(options.sectors_seeds),
        out=options.runs / "sectors",
        **shared,
    )
    builtin = Compare(
        strategies=("all", CONTRAST),
        budget_bytes=("256K",),
        seeds=tuple(options.builtin_seeds),
        out=options.runs / "builtin",
        **shared,
    )
    parts = [Part(config, compare(config)) for config in (budgets, sectors, builtin)]
    with written_aside(options.out) as aside:
        aside.write_text("\n".join(_page(*parts)), encoding="utf-8")
    if options.out.resolve().parent == DOCS.resolve():
        shutil.copy(budgets.out / "bytes.png", DOCS / "images/forgetting-bytes.png")
        shutil.copy(sectors.out / "comparison.png", DOCS / "images/forgetting-sectors.png")
    print(f"written: {options.out}")


@dataclass(frozen=True)
class Row:
    """One row's values over seeds, in the order of the seeds.

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
    """One of the comparisons, and what each of its runs found."""

    config: Compare
    runs: list[dict[str, Any]]

    @property
    def seeds(self) -> str:
        return ", ".join(map(str, sorted({run["seed"] for run in self.runs})))

    def rows(self) -> dict[str, Row]:
        """Each row by its label."""
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


def _page(budgets: Part, sectors: Part, builtin: Part) -> list[str]:
    lego, ten, truck, config = budgets.rows(), sectors.rows(), builtin.rows(), budgets.config
    scene = f"{Path(config.data).name} at {config.img_wh[0]}x{config.img_wh[1]}"
    steps = f"{config.steps} steps of {config.rays} new rays a task"
    return [
        "# What is forgotten, and what it costs to remember",
        "",
        f"{scene}, {steps}, and as many old rays again where a strategy replays; test views, mean ± standard deviation",
        "over seeds. Settings were chosen on validation views of seed 0. Rebuilt by `python benchmarks/forgetting.py`,",
        f"which also leaves a `report.html` for each part; {processor()}, {config.jobs} runs at a time; {versions()}.",
        "",
        f"## Right, then left (seeds: {budgets.seeds})",
        "",
        f"Right, when learned: {mean_of(lego['finetune'].before)} dB. The change is what it has lost or won when left is",
        f"learned, too. A row counts where right began at {LEAST_BEFORE} dB or more and left ends not more than",
        f"{LEFT_MAY_LOSE} dB below joint's left, {mean_of(lego['joint'].last)} dB.",
        "",
        *_targets(lego),
        "",
        "## Equal bytes",
        "",
        "![PSNR against bytes](images/forgetting-bytes.png)",
        "",
        "A row is there once for every budget that it can meet; what no option sizes is there once. Bytes: all that is",
        "kept beside the model after both tasks, cameras included, in the precision it is stored in.",
        "",
        *_table(lego, "change on right", "left, after it"),
        "",
        f"## Ten azimuth sectors, one after the other (at most 4 MB; seeds: {sectors.seeds})",
        "",
        *_table(ten, "change on the first", "the last, after it"),
        "",
        "![PSNR of every sector after the last](images/forgetting-sectors.png)",
        "",
        f"## The built-in scene: is the order of strategies the same? (seeds: {builtin.seeds})",
        "",
        *_orders(lego, truck),
        "",
    ]


def _targets(rows: dict[str, Row]) -> list[str]:
    lines = [
        "| kept | row | bytes | reference | change on right | must | aim | left, against joint |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for target in TARGETS:
        # Where all images fit into less, there is no row of the larger budget.
        label = LESS_OF_THEM if target.label == IMAGES and IMAGES not in rows else target.label
        row, joint = rows[label], rows["joint"]
        left = [mine - bound for mine, bound in zip(row.last, joint.last, strict=True)]
        mean = statistics.fmean(row.change)
        counts = statistics.fmean(left) >= -LEFT_MAY_LOSE and statistics.fmean(row.before) >= LEAST_BEFORE
        reference = "" if target.reference is None else f"{target.reference:+.2f}"
        verdicts = (
            f"{least:+.1f} {'reached' if mean >= least and counts else 'missed'}" for least in (target.must, target.aim)
        )
        lines.append(
            f"| {target.what} | `{label}` | {human_bytes(row.kept)} | {reference} | {mean_of(row.change, '+')} "
            f"| {' | '.join(verdicts)} | {mean_of(left, '+')} |"
        )
    return lines


def _table(rows: dict[str, Row], change: str, last: str) -> list[str]:
    joint = rows["joint"]
    best = sorted(rows, key=lambda label: -statistics.fmean(rows[label].average))
    lines = [
        f"| row | kept | {change} | {last} | mean of all | against joint | forgetting |",
        "|---|---|---|---|---|---|---|",
    ]
    for label in best:
        row = rows[label]
        apart = [mine - bound for mine, bound in zip(row.average, joint.average, strict=True)]
        lines.append(
            f"| {label} | {human_bytes(row.kept)} | {mean_of(row.change, '+')} | {mean_of(row.last)} "
            f"| {mean_of(row.average)} | {'' if row is joint else mean_of(apart, '+')} | {mean_of(row.forgetting, '+')} |"
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
        f"Of {len(pairs)} pairs of rows {len(turned)} have the reversed order there: {_told(turned)}.",
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
