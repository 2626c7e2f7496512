"""Streams of frames: strategies side by side. Writes docs/results/online.md, or online-large.md.

python benchmarks/online.py [--data PATH] [--seeds 0 1 2] [--runs FOLDER]
python benchmarks/online.py --experiment large --data SPIRAL [--seeds 0] [--runs FOLDER]

SPIRAL is what `nerfcl make-scene --trajectory spiral --frames 5000 --img-wh 64 64 --out SPIRAL` renders.
What was stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import nerfcl  # noqa: F401  isort: skip: sets how thread pools wait before torch starts its own
from machine import lego_or_builtin, processor, versions

from nerfcl.cli.describe import describe_comparison
from nerfcl.cli.options import CompareOnline
from nerfcl.config.comparison import Comparison
from nerfcl.config.streams import FrameStream
from nerfcl.experiments.compare import compare
from nerfcl.files import written_aside
from nerfcl.reports.text import human_bytes

DOCS = Path(__file__).parents[1] / "docs"
SIZE = (64, 64)  # pixels
SMALL = {
    "finetune": "fine-tuning",
    "random=replay:memory-fill=random": "replay, 20,480 rays, drawn evenly",
    "contrast=replay:memory-fill=contrast": "replay, 20,480 rays where the picture has contrast",
    "images=replay-images:memory-bytes=245760,replay-fraction=0.75": "replay, 240 KB of losslessly compressed images",
    "everything=replay-all:replay-fraction=0.875": "replay, everything kept",
    "joint": "joint: all frames at once, as many steps and rays",
}
LARGE = {
    "finetune": "no replay",
    "replay 1M=replay:memory-rays=1024000,memory-fill=loss-grid": "replay, 1,024,000 rays of the loss grid",
    "agem 1M=agem:memory-rays=1024000,memory-fill=loss-grid": "A-GEM, 1,024,000 rays of the loss grid",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=["small", "large"], default="small")
    parser.add_argument("--data", default=None)
    parser.add_argument("--seeds", type=int, nargs="+", default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--runs", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    large = options.experiment == "large"
    if large and options.data is None:
        parser.error("--experiment large needs --data, a spiral that `nerfcl make-scene` rendered")
    arms = LARGE if large else SMALL
    name = "online-large" if large else "online"
    runs = options.runs or Path("outputs") / name
    command = CompareOnline(
        data=options.data or lego_or_builtin(),
        img_wh=SIZE,
        order="file" if large else "nearest",
        chunk_frames=_frames_of_a_tenth(options.data) if large else 2,
        steps=options.steps or (2000 if large else 32),
        test_every=1 if large else None,
        seen_every=5 if large else None,
        strategies=tuple(arms),
        seeds=tuple(options.seeds or ([0] if large else [0, 1, 2])),
    )
    comparison = describe_comparison(command)
    compare(comparison, runs)
    rows = json.loads((runs / "comparison.json").read_text())["rows"]
    out = options.out or DOCS / f"results/{name}.md"
    with written_aside(out) as aside:
        aside.write_text("\n".join(_page(comparison, arms, rows, large)), encoding="utf-8")
    if out.resolve().parents[1] == DOCS.resolve():
        for picture in ("frames.png",) if large else ("frames.png", "frames.gif", "curve.png"):
            shutil.copy(runs / picture, DOCS / "images" / f"{name}-{picture}")
    print(f"written: {out}")


def _frames_of_a_tenth(data: str) -> int:
    """Train frames of a tenth of a scene."""
    return len(json.loads((Path(data) / "transforms_train.json").read_text())["frames"]) // 10


def _page(comparison: Comparison, arms: dict[str, str], rows: list[dict[str, Any]], large: bool) -> list[str]:
    experiment, seeds = comparison.experiment, ", ".join(map(str, comparison.seeds))
    scene, stream, training = experiment.scene, experiment.stream, experiment.training
    assert scene is not None
    assert isinstance(stream, FrameStream)
    frames = f"chunks of {stream.chunk_frames} frames, {training.steps} steps of {training.rays} new rays each"
    title = f"{Path(scene.data).name} at {SIZE[0]}x{SIZE[1]}"
    command = "python benchmarks/online.py" + (" --experiment large --data SPIRAL" if large else "")
    name = "online-large" if large else "online"
    return [
        "# The long stream" if large else "# A stream of frames",
        "",
        f"{title}, order {stream.order}, {frames}; seeds {seeds}.",
        *(_ABOUT_LARGE if large else _ABOUT_SMALL),
        "PSNR over all test views when the stream has ended, rendered with the averaged parameters; mean ±",
        "standard deviation over seeds.",
        f"Rebuilt by `{command}`; {processor()}; {versions()}.",
        "",
        f"| | PSNR, dB | {'change since learned' if large else 'against joint'} | kept |",
        "|---|---|---|---|",
        *(_line(what, row, large) for what, row in zip(arms.values(), rows, strict=True)),
        "",
        f"![PSNR of every frame seen so far](../images/{name}-frames.png)",
        "",
    ]


_ABOUT_SMALL = (
    "Where a strategy replays, it has as many rays again (old ones are half of a step; for images three quarters, for",
    "everything seven eighths).",
)
_ABOUT_LARGE = (
    "Where a strategy replays, it has as many rays again. The loss grid takes at most 2048 rays of every eighth frame,",
    "1,024,000 of the whole stream: a memory of 2,048,000 rays would hold the same ones. A region's part may be more",
    "than its pixels, so that they are fewer in fact.",
)


def _line(what: str, row: dict[str, Any], large: bool) -> str:
    if large:
        change = f"{row['backward_transfer']:+.2f}"
    else:
        change = "" if row["to_joint"] is None else _mean(row["to_joint"], row["to_joint_std"], "+")
    return f"| {what} | {_mean(row['psnr'], row['psnr_std'])} | {change} | {human_bytes(row['memory_bytes'])} |"


def _mean(mean: float, spread: float, sign: str = "") -> str:
    return f"{mean:{sign}.2f} ± {spread:.2f}" if spread else f"{mean:{sign}.2f}"


if __name__ == "__main__":
    main()
