"""The reference project's published table beside ours, on the grid field. Writes docs/results/reproduction.md.

python benchmarks/reproduction.py [--data PATH] [--seeds 0 1 2 3 4] [--pixel-centers 0.5 0.0] [--runs FOLDER]

What was stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nerfcl  # noqa: F401  isort: skip: sets how thread pools wait before torch starts its own
from machine import lego_or_builtin, processor, versions
from seeds import mean_of

from nerfcl.cli.describe import describe_comparison
from nerfcl.cli.options import Compare
from nerfcl.experiments.compare import compare
from nerfcl.files import written_aside
from nerfcl.reports.text import human_bytes

_WEIGHTED = "memory-fill=topk,memory-draw=weighted,exploration=0.2,update-losses"


@dataclass(frozen=True)
class Arm:
    """One arm of the reference project's experiment.

    Attributes:
        configuration: ours.
        what: what it is.
        published: the reference's PSNR (dB) on the right test views after left, None where it gives none.
    """

    configuration: str
    what: str
    published: float | None = None

    @property
    def label(self) -> str:
        return self.configuration.partition("=")[0]


# The reference gives some arms as a drop from its 27.79 dB.
RIGHT_ONLY = 27.79
ARMS = (
    Arm("finetune", "fine-tuning", 17.75),
    Arm("soft-targets", "regularization: soft targets on the new views", 22.94),
    Arm("topk=replay:memory-fill=topk", "replay, 20,480 rays of highest loss", 26.53),
    Arm(f"weighted=replay:{_WEIGHTED}", "the same, weighted draws, 20 % exploration, updated losses", 26.58),
    Arm(f"centre=replay:{_WEIGHTED},centre-weight=0.3", "the same, with image-centre weights", 26.65),
    Arm(f"all-weighted=replay:memory-rays=172032,{_WEIGHTED}", "all 172,032 rays, weighted draws", 27.07),
    Arm("random=replay:memory-fill=random", "replay, 20,480 random rays"),
    Arm("uniform=replay:memory-fill=uniform", "replay, 20,480 rays, every k-th"),
    Arm("topk-5120=replay:memory-fill=topk,memory-rays=5120", "replay, 5,120 rays of highest loss"),
    Arm("topk-81920=replay:memory-fill=topk,memory-rays=81920", "replay, 81,920 rays of highest loss"),
    Arm("joint", "joint training, both sides from the start"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=lego_or_builtin())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--pixel-centers", type=float, nargs="+", default=[0.5, 0.0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--runs", type=Path, default=Path("outputs/reproduction"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/results/reproduction.md")
    options = parser.parse_args()
    results = {
        center: compare(
            describe_comparison(
                Compare(
                    data=options.data,
                    img_wh=(64, 64),
                    steps=options.steps,
                    pixel_center=center,
                    strategies=tuple(arm.configuration for arm in ARMS),
                    seeds=tuple(options.seeds),
                )
            ),
            options.runs / f"pixel-center-{center}",
        )
        for center in options.pixel_centers
    }
    with written_aside(options.out) as aside:
        aside.write_text(report(results, Path(options.data).name, options.steps), encoding="utf-8")
    print(f"written: {options.out}")


def report(results: dict[float, list[dict[str, Any]]], scene: str, steps: int) -> str:
    """The page as Markdown."""
    figures = {center: {arm.label: _figures(runs, arm.label) for arm in ARMS} for center, runs in results.items()}
    lines = [
        "# The reference project's experiment",
        "",
        "PSNR in dB on the right test views. The reference's figures are its own published ones (an 8x256 MLP, one",
        f"seed, a GPU). Ours: the grid field, {scene} at 64x64, right then left, {steps} steps of 1024 new rays each,",
        "mean ± standard deviation over seeds. Rebuilt by `python benchmarks/reproduction.py`;",
        f"{processor()}; {versions()}.",
        "",
        "Rays through pixel centres (0.5) are right; through pixel corners (0.0) is what the reference does.",
        "",
    ]
    for center, arms in figures.items():
        seeds = ", ".join(map(str, sorted({run["seed"] for run in results[center]})))
        where = "centres" if center == 0.5 else "corners"
        lines += [f"## Rays through pixel {where} (`--pixel-center {center}`), seeds {seeds}", ""]
        lines += [*_table(arms), ""]
    lines += [
        "## Which of the published findings hold here",
        "",
        'Difference of the changes on the right test views, seed by seed, mean ± standard deviation; it "makes no',
        'difference" where the mean is within two standard errors of zero.',
        "",
        *_findings(figures),
        "",
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Figures:
    """One arm's values over seeds, dB: on right after right, on right after left, the change, on left; and bytes."""

    before: list[float]
    after: list[float]
    left: list[float]
    kept: float

    @property
    def change(self) -> list[float]:
        return [after - before for before, after in zip(self.before, self.after, strict=True)]


def _figures(runs: list[dict[str, Any]], label: str) -> Figures:
    mine = [run for run in runs if run["strategy"] == label]
    return Figures(
        [run["R"][0][0] for run in mine],
        [run["R"][1][0] for run in mine],
        [run["R"][1][1] for run in mine],
        statistics.fmean(run["memory_bytes"] for run in mine),
    )


def _table(arms: dict[str, Figures]) -> list[str]:
    lines = [
        "| | reference | its change | nerfcl | change | left, after it | kept |",
        "|---|---|---|---|---|---|---|",
        f"| right only | {RIGHT_ONLY} | | {mean_of(next(iter(arms.values())).before)} | | | |",
    ]
    for arm in ARMS:
        figures = arms[arm.label]
        published = (
            ("", "") if arm.published is None else (f"{arm.published:.2f}", f"{arm.published - RIGHT_ONLY:+.2f}")
        )
        lines.append(
            f"| {arm.what} | {published[0]} | {published[1]} | {mean_of(figures.after)} "
            f"| {mean_of(figures.change, '+')} | {mean_of(figures.left)} | {human_bytes(figures.kept)} |"
        )
    return lines


def _findings(figures: dict[float, dict[str, Figures]]) -> list[str]:
    """Each published finding: which arm forgets less, and by how much here (seed by seed)."""
    claims = (
        ("Fine-tuning forgets most", "soft-targets", "finetune"),
        ("Replay forgets less than regularization", "topk", "soft-targets"),
        ("Filling with the highest losses forgets less than with random rays", "topk", "random"),
        ("Filling with the highest losses forgets less than with every k-th ray", "topk", "uniform"),
        ("Weighted draws forget less than random ones", "weighted", "topk"),
        ("Image-centre weights forget less than loss weights alone", "centre", "weighted"),
        ("All rays forget less than 20,480", "all-weighted", "weighted"),
        ("20,480 rays forget less than 5,120", "topk", "topk-5120"),
        ("81,920 rays forget less than 20,480", "topk-81920", "topk"),
    )
    heads = [f"pixel {'centres' if center == 0.5 else 'corners'}" for center in figures]
    lines = [f"| published finding | {' | '.join(heads)} |", "|---|" + "---|" * len(figures)]
    for claim, better, worse in claims:
        cells = []
        for arms in figures.values():
            gains = [a - b for a, b in zip(arms[better].change, arms[worse].change, strict=True)]
            spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
            mean = statistics.fmean(gains)
            # Two standard errors of the mean of paired differences.
            sure = abs(mean) > 2.0 * spread / len(gains) ** 0.5
            verdict = ("holds" if mean > 0.0 else "turns around") if sure else "makes no difference"
            cells.append(f"{verdict}: {mean_of(gains, '+')} dB")
        lines.append(f"| {claim} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
