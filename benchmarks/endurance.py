"""Measure a long stream, and a stream that is killed repeatedly. Writes docs/results/endurance.md.

python benchmarks/endurance.py --spiral SPIRAL [--data PATH] [--kills 20] [--steps-per-chunk 4] [--runs FOLDER]

SPIRAL is the output of `nerfcl make-scene --trajectory spiral --frames 5000 --img-wh 64 64 --out SPIRAL`; it is pushed
frame by frame into an `OnlineLearner`. PATH is the scene of the stream that is killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nerfcl  # noqa: F401  isort: skip: configures thread pools before torch starts its own
import numpy as np
import torch
from machine import lego_or_builtin, processor, versions
from PIL import Image

from nerfcl.files import written_aside
from nerfcl.models.kernels import compile_kernels
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.settings import OnlineSettings
from nerfcl.reports.live.progress import track
from nerfcl.scenes.images import on_background

SIDE_OF_THE_TRUCK = 2.9  # world units


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spiral", type=Path, required=True)
    parser.add_argument("--data", default=lego_or_builtin())
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps-per-chunk", type=int, default=4)
    parser.add_argument("--runs", type=Path, default=Path("outputs/endurance"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/results/endurance.md")
    options = parser.parse_args()
    flat = measure_flatness(options.spiral, options.steps_per_chunk)
    killed = measure_kills(options.data, options.kills, options.runs)
    with written_aside(options.out) as aside:
        aside.write_text(
            "\n".join([*_head(), *_flat_section(flat, options.steps_per_chunk), *_kills_section(killed)]),
            encoding="utf-8",
        )
    print(f"written: {options.out}")


def measure_flatness(spiral: Path, steps_per_chunk: int) -> list[dict[str, float]]:
    """Measure process memory and time per step while all train and test frames of the spiral are pushed."""
    frames = _frames_along(spiral)
    compile_kernels()
    learner = OnlineLearner.around(
        (0.0, 0.0, 0.0), SIDE_OF_THE_TRUCK, 64, settings=OnlineSettings(steps_per_chunk=steps_per_chunk, queue_frames=2)
    )
    marks, stretch = [], max(len(frames) // 20, 2)
    with learner:
        started, steps = time.perf_counter(), 0
        for number, (file, pose, intrinsics) in enumerate(track(frames, "frames"), 1):
            image = on_background(Image.open(file).convert("RGBA"), None, (1.0, 1.0, 1.0))
            learner.observe(image, pose, intrinsics)
            if number % stretch == 0:
                observed, now = learner.status(), time.perf_counter()
                marks.append(
                    {
                        "frame": number,
                        "process": _resident_bytes(),
                        "step": (now - started) / (observed.steps - steps),
                        "kept": observed.memory_bytes,
                    }
                )
                started, steps = now, observed.steps
    return marks


def _frames_along(spiral: Path) -> list[tuple[Path, np.ndarray, tuple[float, float, float, float]]]:
    """List all train and test frames in the order of the trajectory."""
    frames = []
    for split in ("train", "test"):
        content = json.loads((spiral / f"transforms_{split}.json").read_text())
        for entry in content["frames"]:
            file = (spiral / entry["file_path"]).with_suffix(".png")
            width, height = Image.open(file).size
            focal = 0.5 * width / np.tan(0.5 * content["camera_angle_x"])
            pose = np.array(entry["transform_matrix"])
            frames.append((file, pose, (focal, focal, width / 2, height / 2)))
    return sorted(frames, key=lambda frame: frame[0].stem)  # numbered along the trajectory


def _resident_bytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def measure_kills(data: str, kills: int, runs: Path) -> dict[str, Any]:
    """Compare a run killed by SIGKILL at random times with an uninterrupted one."""
    shutil.rmtree(runs, ignore_errors=True)
    command = [sys.executable, "-m", "nerfcl", "online", "--data", data, "--steps", "16", "--out"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.perf_counter()
    subprocess.run([*command, str(runs / "whole")], check=True, **quiet)
    whole = time.perf_counter() - started
    chance, done = random.Random(0), []
    while len(done) < kills:
        process = subprocess.Popen([*command, str(runs / "killed")], **quiet)
        try:  # enough for a few more chunks, or for none
            process.wait(timeout=chance.uniform(1.0, 12.0))
            raise SystemExit(f"the stream ended before it was killed {kills} times; ask for fewer --kills")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        latest = runs / "killed/checkpoints/latest.pt"
        done.append(torch.load(latest, weights_only=True)["done"] if latest.exists() else 0)
        print(f"killed {len(done)} of {kills}, {done[-1]} chunks done")
    subprocess.run([*command, str(runs / "killed")], check=True, **quiet)
    return {"done": done, "seconds": whole, "equal": _same_figures(runs), "models": _same_models(runs)}


def _same_figures(runs: Path) -> bool:
    figures = [json.loads((runs / name / "results.json").read_text()) for name in ("whole", "killed")]
    for each in figures:
        del each["seconds"]
    return figures[0] == figures[1]


def _same_models(runs: Path) -> bool:
    states = [
        torch.load(runs / name / "checkpoints/latest.pt", weights_only=True)["model"] for name in ("whole", "killed")
    ]
    tensors = [{k: v for k, v in state.items() if isinstance(v, torch.Tensor)} for state in states]
    return all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())


def _head() -> list[str]:
    return [
        "# A long stream, and a killed one",
        "",
        f"Reproduced by `python benchmarks/endurance.py --spiral SPIRAL`; {processor()}; {versions()}.",
        "",
    ]


def _flat_section(marks: list[dict[str, float]], steps_per_chunk: int) -> list[str]:
    early, late = marks[1], marks[-1]
    rows = [
        f"| {mark['frame']:.0f} | {mark['process'] / 2**20:.0f} MB | {1000 * mark['step']:.1f} ms "
        f"| {mark['kept'] / 1024:.0f} KB |"
        for mark in marks
    ]
    steps = statistics.median(mark["step"] for mark in marks)
    return [
        "## Long stream",
        "",
        f"{late['frame']:.0f} frames of the spiral, pushed one by one into an `OnlineLearner` (20,480 rays, chunks of",
        f"2 frames, {steps_per_chunk} steps per chunk). From frame {early['frame']:.0f} to the last: process memory",
        f"{late['process'] / early['process'] - 1:+.1%}, time per step {late['step'] / early['step'] - 1:+.1%}",
        f"(median over all rows {1000 * steps:.1f} ms). What is kept grows with the cameras of the frames with stored",
        "rays, up to one camera per ray.",
        "",
        "| frame | process memory | time per step since the previous row | kept of the past |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _kills_section(killed: dict[str, Any]) -> list[str]:
    same = "the same results" if killed["equal"] else "**different results**"
    model = "a bit-identical model" if killed["models"] else "**a different model**"
    return [
        "## Killed stream",
        "",
        f"`nerfcl online` on a stream of 50 chunks, killed {len(killed['done'])} times by SIGKILL at random points and",
        f"restarted, ends with {same} and {model} as without kills. Chunks done at each kill:",
        f"{', '.join(map(str, killed['done']))}.",
        "",
    ]


if __name__ == "__main__":
    main()
