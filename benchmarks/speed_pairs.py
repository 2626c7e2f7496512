"""Whole trainings and renderings, of this tree and of an earlier commit, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from machine import FOX
from speed_curves import CURVES, draw_curves

REFERENCE_DB = 27.79  # of the reference project, on the right side of lego
_REPOSITORY = Path(__file__).parents[1]
_PROBE = Path(__file__).with_name("speed_probe.py")
_SEEDS = (0, 1, 2)
_TURNS = 5
_VIEWS_OF_CURVES = 25

Row = tuple[str, str]
Measured = dict[str, Any]


class Trees:
    """This tree, and a checkout of an earlier commit for as long as it is open."""

    def __init__(self, commit: str) -> None:
        self.commit = commit
        self._folder = tempfile.TemporaryDirectory()
        self.earlier = Path(self._folder.name) / "earlier"

    def __enter__(self) -> Self:
        self._git("worktree", "add", "--detach", "--force", str(self.earlier), self.commit)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._git("worktree", "remove", "--force", str(self.earlier))
        self._folder.cleanup()

    def now(self, what: str, **options: Any) -> Measured:
        """Measure this tree; see `speed_probe`."""
        return _probe(_REPOSITORY, what, options)

    def then(self, what: str, **options: Any) -> Measured:
        """Measure the earlier one."""
        return _probe(self.earlier, what, options)

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=_REPOSITORY, check=True, capture_output=True)


def _probe(tree: Path, what: str, options: Measured, **environment: str) -> Measured:
    done = subprocess.run(
        [sys.executable, str(_PROBE), json.dumps({"what": what, **options})],
        env={**os.environ, "PYTHONPATH": str(tree / "src"), **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{what} {options} in {tree}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _ratio(one: list[float], other: list[float]) -> str:
    """Median of the ratios of pairs, with the least and the greatest."""
    ratios = [a / b for a, b in zip(one, other, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def first_reach(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """Time of a training that is planned to reach the reference project's PSNR."""
    task = {"data": data, "size": 64, "task": "right"}
    rows, steps = [], {}
    for name, measure in (("before", trees.then), ("now", trees.now)):
        planned, psnr = 100, 0.0
        while psnr < REFERENCE_DB:
            planned += 25
            psnr = statistics.fmean(measure("train", steps=planned, seed=seed, **task)["psnr"] for seed in _SEEDS)
        steps[name] = planned
        rows.append(
            (f"{name}: steps that reach {REFERENCE_DB} dB (mean of seeds 0 to 2)", f"{planned} ({psnr:.2f} dB)")
        )
    before, now = [], []
    for _ in range(_TURNS):
        before.append(trees.then("train", steps=steps["before"], **task)["seconds"])
        now.append(trees.now("train", steps=steps["now"], **task)["seconds"])
    rows.append(("training time before / now", f"{statistics.median(before):.2f} s / {statistics.median(now):.2f} s"))
    rows.append(("**now / before, median of 5 pairs (least to greatest)**", _ratio(now, before)))
    return f"The right side of {Path(data).name} at 64x64, until {REFERENCE_DB} dB on its test views", rows


def long_training(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """1500 steps."""
    task = {"data": data, "size": 64, "task": "right", "steps": 1500}
    before = [trees.then("train", seed=seed, **task) for seed in _SEEDS]
    now = [trees.now("train", seed=seed, **task) for seed in _SEEDS]
    return f"The right side of {Path(data).name} at 64x64, 1500 steps, seeds 0 to 2", [
        ("PSNR before", _mean(before)),
        ("PSNR now", _mean(now)),
        ("**time now / before**", _ratio([part["seconds"] for part in now], [part["seconds"] for part in before])),
    ]


def _mean(parts: list[Measured]) -> str:
    return f"{statistics.fmean(part['psnr'] for part in parts):.2f} dB"


def large_images(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """All views at 400x400, in a minute and in five."""
    task = {"data": data, "size": 400}
    trial = trees.now("train", steps=600, views=1, **task)["seconds"] / 600
    rows = []
    for seconds in (60, 300):
        steps = round(seconds / trial)
        found = [trees.now("train", steps=steps, seed=seed, **task) for seed in _SEEDS]
        taken = statistics.fmean(part["seconds"] for part in found)
        rows.append((f"{taken:.0f} s, {steps} steps", _mean(found)))
    return f"All views of {Path(data).name} at 400x400, PSNR on all test views, seeds 0 to 2", rows


def curves(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """PSNR against seconds of training; every point is a training that is planned for its steps."""
    rows: list[Row] = []
    lines: list[tuple[str, list[tuple[str, list[Measured]]]]] = []
    for title, options, planned in _curves_of(data):
        drawn = []
        for (name, measure), steps in zip((("before", trees.then), ("now", trees.now)), planned, strict=True):
            points = [measure("train", steps=count, views=_VIEWS_OF_CURVES, **options) for count in steps]
            drawn.append((name, points))
            told = ", ".join(f"{point['psnr']:.1f} dB after {point['seconds']:.1f} s" for point in points)
            rows.append((f"{title}, {name}", told))
        lines.append((title, drawn))
    draw_curves(lines, CURVES)
    return f"PSNR against seconds of training, {_VIEWS_OF_CURVES} test views, seed 0", rows


def _curves_of(data: str) -> list[tuple[str, Measured, tuple[list[int], list[int]]]]:
    """Title, what is trained, and numbers of steps before and now."""
    name, many = Path(data).name, [100, 200, 400, 800, 1500]
    found: list[tuple[str, Measured, tuple[list[int], list[int]]]] = [
        (f"{name} 64x64, right", {"data": data, "size": 64, "task": "right"}, (many, many)),
        (f"{name} 400x400", {"data": data, "size": 400}, ([25, 50, 100, 200], [125, 250, 500, 1000, 2000])),
    ]
    if FOX.is_dir():
        found.append(("fox 135x240", {"data": str(FOX), "size": 135}, ([25, 50, 100, 200], [125, 250, 500, 1000])))
    return found


def sizes(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """Time per step and memory by image size."""
    rows, steps = [], 300
    for enlarge in (1, 2):
        now = trees.now("train", data=data, size=400, steps=steps, enlarge=enlarge, views=1)
        what = "400x400" if enlarge == 1 else "800x800 (enlarged)"
        rows.append((what, f"{now['seconds'] / steps * 1e3:.1f} ms a step, {now['peak']:.0f} MB at most"))
    return "The first 300 steps by image size", rows


def rendering(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """One view."""
    options = {"data": data, "size": 400, "steps": 200}
    before, now = (measure("render", **options)["seconds"] for measure in (trees.then, trees.now))
    return "Rendering a view at 400x400 after 200 steps", [
        ("before", f"{before:.2f} s"),
        ("now", f"{now:.2f} s"),
        ("**before / now**", f"{before / now:.1f}"),
    ]


def neighbour(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """The same training alone and beside a busy process."""
    task = {"data": data, "size": 64, "task": "right", "steps": 300}
    rows = []
    for name, measure in (("before", trees.then), ("now", trees.now)):
        alone, beside = [], []
        for _ in range(3):
            alone.append(measure("train", **task)["seconds"])
            with _busy_process():
                beside.append(measure("train", **task)["seconds"])
        rows.append((f"{name}: time beside it / time alone, median of 3", _ratio(beside, alone)))
    return "Beside one busy process with one thread", rows


@contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def stream(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """Frames per second of `nerfcl online`."""
    options = {"data": data, "size": 64, "frames": 40, "steps": 16}
    before, now = [], []
    for _ in range(3):
        before.append(trees.then("online", **options)["frames_per_second"])
        now.append(trees.now("online", **options)["frames_per_second"])
    return "`nerfcl online` at 64x64, replay, 16 steps per frame", [
        ("before", f"{statistics.median(before):.1f} frames/s"),
        ("now", f"{statistics.median(now):.1f} frames/s"),
        ("**now / before, median of 3 pairs**", _ratio(now, before)),
    ]


def reference(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """The reference project's experiment."""
    before, now = (measure("reference", data=data, steps=1500)["seconds"] for measure in (trees.then, trees.now))
    return "Right only, fine-tuning, regularization, replay, joint: one `nerfcl compare`, pictures included", [
        ("before", f"{before:.0f} s"),
        ("now", f"{now:.0f} s"),
    ]


def compilation(trees: Trees, data: str) -> tuple[str, list[Row]]:
    """The first command of a fresh clone."""
    del data
    found = {}
    for name, tree in (("before", trees.earlier), ("now", _REPOSITORY)):
        with tempfile.TemporaryDirectory() as cache:
            found[name] = _probe(tree, "start", {}, NUMBA_CACHE_DIR=cache)["seconds"]
    return "Compiling the kernels, once", [(name, f"{seconds:.1f} s") for name, seconds in found.items()]


PAIRS: dict[str, Callable[[Trees, str], tuple[str, list[Row]]]] = {
    "first": first_reach,
    "long": long_training,
    "large": large_images,
    "curves": curves,
    "sizes": sizes,
    "rendering": rendering,
    "neighbour": neighbour,
    "stream": stream,
    "reference": reference,
    "compilation": compilation,
}
