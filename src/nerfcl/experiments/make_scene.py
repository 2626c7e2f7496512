"""Making of scenes: rendering the built-in truck along a camera trajectory, into a folder in Blender layout."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfcl.errors import Argument, NerfclError, require, require_between
from nerfcl.experiments.folders import claimed
from nerfcl.files import written_aside
from nerfcl.jobs import workers
from nerfcl.reports.live.progress import track
from nerfcl.reports.text import duration
from nerfcl.scenes.scene import SMALLEST_IMAGE
from nerfcl.scenes.truck.cameras import CAMERA_ANGLE_X, hemisphere_cameras, spiral_cameras
from nerfcl.scenes.truck.render import Shot, mitsuba_version, render_to_file, use_one_thread

LARGEST_IMAGE = 8192  # pixels
MOST_SAMPLES = 65_536
FRAMES_A_VAL_VIEW = 100
LEAST_CHUNK = 5  # frames: a fifth of them are test frames
_TRAJECTORIES = ("spiral", "hemisphere")


@dataclass(frozen=True, kw_only=True)
class MakeSceneSettings:
    """Settings of a scene to make.

    Attributes:
        trajectory: "spiral" (two and a half turns while the camera rises from 10 to 70 degrees; successive frames
            are neighbours) or "hemisphere" (random cameras, half of them for testing).
        frames: number of train and test views together; validation views are added.
        chunks: for a spiral, number of equal parts of the trajectory; a fifth of each are test views.
        img_wh: width and height of the images, pixels.
        samples: rays per pixel; fewer are faster but noisier. Mitsuba may take a few more.
        seed: seed of all randomness: choice of test views, random cameras, rendering noise.
    """

    trajectory: str = "spiral"
    frames: int = 5000
    chunks: int = 10
    img_wh: tuple[int, int] = (64, 64)
    samples: int = 144
    seed: int = 0

    def __post_init__(self) -> None:
        spiral = self.trajectory == "spiral"
        require(self.trajectory in _TRAJECTORIES, self, "trajectory", f"must be {' or '.join(_TRAJECTORIES)}")
        require(self.chunks >= 1, self, "chunks", "must be at least 1")
        least = LEAST_CHUNK * (self.chunks if spiral else 1)
        why = f"must be at least {least}{f', {LEAST_CHUNK} for each chunk' if spiral else ''}"
        require(self.frames >= least, self, "frames", why)
        require_between(self, "samples", 1, MOST_SAMPLES)
        require_between(self, "seed", 0, 2**31 - 1)
        sized = SMALLEST_IMAGE <= min(self.img_wh) <= max(self.img_wh) <= LARGEST_IMAGE
        require(sized, self, "img_wh", f"images must be {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels wide and high")


@dataclass(frozen=True)
class PlannedView:
    """A view to render: its name without suffix, its camera (4, 4), and its rendering seed."""

    name: str
    camera: NDArray[np.float64]
    seed: int


Plan = dict[str, list[PlannedView]]  # train, val, test


def make_scene(settings: MakeSceneSettings, out: Path, jobs: int = 0) -> None:
    """Render every view that has no image yet.

    The camera files are written last, so a folder that has them is complete.

    Args:
        settings: scene to make.
        out: folder for the scene; an interrupted run resumes from its last finished image.
        jobs: number of rendering processes; 0 is one per core.

    Raises:
        NerfclError: Mitsuba is missing, or the folder holds something else.
    """
    if jobs < 0:
        raise NerfclError(Argument("jobs", jobs), ": must not be negative")
    version = mitsuba_version()
    plain = json.loads(json.dumps(asdict(settings)))

    def differing(held: dict[str, Any]) -> set[str]:
        before = held.get("settings", {})
        return {name for name in {**before, **plain} if before.get(name) != plain.get(name)}

    with claimed(out, {"settings": plain, "versions": {"mitsuba": version}}, differing):
        _render(plan_views(settings), settings, out, jobs)


def _render(plan: Plan, settings: MakeSceneSettings, out: Path, jobs: int | None) -> None:
    """Render the views that are missing, and write the camera files."""
    shots = [
        Shot(out / split / f"{view.name}.png", view.camera, settings.img_wh, settings.samples, view.seed)
        for split, views in plan.items()
        for view in views
    ]
    missing = [shot for shot in shots if not shot.path.exists()]
    processes = min(jobs or os.cpu_count() or 1, len(missing))
    began = time.perf_counter()
    render_all(missing, processes)
    spent = time.perf_counter() - began
    for split, views in plan.items():
        _write_cameras(out, split, views)
    if missing:
        each = f"{spent / len(missing):.2f} s each by {processes} process{'es' if processes > 1 else ''}"
        print(f"{len(missing)} of {len(shots)} views rendered in {duration(spent)}, {each}")
    counts = ", ".join(f"{len(views)} {split}" for split, views in plan.items())
    print(f"scene ({counts}): {out}")


def plan_views(settings: MakeSceneSettings) -> Plan:
    """Plan all views of a scene, each split in order."""
    return _PLANS[settings.trajectory](settings)


def _spiral(settings: MakeSceneSettings) -> Plan:
    """Plan neighbouring frames, a fifth of each chunk for testing; validation views lie half-way between frames."""
    train, val, test = split_frames(settings.frames, settings.chunks, settings.seed)
    first = settings.seed * 2 * settings.frames  # rendering seeds, all different

    def views(frames: NDArray[np.int64], offset: float = 0.0) -> list[PlannedView]:
        cameras = spiral_cameras(frames.astype(np.float64) + offset, settings.frames)
        seeds = first + frames + (settings.frames if offset else 0)
        return [
            PlannedView(f"r_{frame:05}", camera, int(seed) % 2**32)
            for frame, camera, seed in zip(frames, cameras, seeds, strict=True)
        ]

    return {"train": views(train), "val": views(val, 0.5), "test": views(test)}


def split_frames(count: int, chunks: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Choose the frame numbers of the train, validation and test views, each in ascending order.

    Of each of `chunks` equal parts, a fifth of the frames, drawn with the seed, are for testing and the others for
    training. A validation view lies half-way between the frame of its number and the next one of the same part.
    """
    rng = np.random.default_rng(seed)
    val: list[int] = []
    is_test = np.zeros(count, dtype=bool)
    for chunk in range(chunks):
        start, stop = (count * edge // chunks for edge in (chunk, chunk + 1))
        length = stop - start
        is_test[start + rng.choice(length, round(length / 5), replace=False)] = True
        views = max(1, round(length / FRAMES_A_VAL_VIEW))
        val += [start + (2 * k + 1) * (length - 1) // (2 * views) for k in range(views)]
    return np.flatnonzero(~is_test), np.array(val), np.flatnonzero(is_test)


def _hemisphere(settings: MakeSceneSettings) -> Plan:
    """Plan random cameras: half of the frames for testing, and half as many again for validation."""
    test = settings.frames // 2
    counts = {"train": settings.frames - test, "val": max(1, test // 2), "test": test}
    plan: Plan = {}
    for number, (split, count) in enumerate(counts.items(), start=1 + 3 * settings.seed):
        cameras = hemisphere_cameras(count, number)
        plan[split] = [PlannedView(f"r_{i}", camera, (1000 * number + i) % 2**32) for i, camera in enumerate(cameras)]
    return plan


_PLANS = {"spiral": _spiral, "hemisphere": _hemisphere}


def render_all(shots: Sequence[Shot], jobs: int) -> None:
    """Render images to files in `jobs` processes; stop promptly when interrupted.

    Raises:
        NerfclError: a file cannot be written, or a process was killed.
    """
    if not shots:
        return
    try:
        with _calls(shots, jobs) as calls:
            for call in track(calls, "rendering"):
                call()
    except BrokenProcessPool:
        raise NerfclError(
            "a rendering process was killed, perhaps for lack of memory; run the same command again to resume, "
            "with fewer ",
            Argument("jobs"),
        ) from None


@contextmanager
def _calls(shots: Sequence[Shot], jobs: int) -> Iterator[list[partial[None]]]:
    """Yield one call per image, which returns once the image is written."""
    if jobs == 1:
        yield [partial(render_to_file, shot) for shot in shots]
        return
    # A forked child would inherit Mitsuba's threads in an undefined state.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        with workers.without_interrupts():
            futures = [pool.submit(render_to_file, shot) for shot in shots]
        yield [partial(Future.result, future) for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Initialise a process of the pool, which renders on one thread."""
    workers.start_worker()
    use_one_thread()


def _write_cameras(folder: Path, split: str, views: list[PlannedView]) -> None:
    frames = [{"file_path": f"./{split}/{view.name}", "transform_matrix": view.camera.tolist()} for view in views]
    content = {"camera_angle_x": CAMERA_ANGLE_X, "frames": frames}
    with written_aside(folder / f"transforms_{split}.json") as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
