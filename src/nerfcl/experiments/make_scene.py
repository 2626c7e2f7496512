"""Makes scenes: renders the built-in truck along a camera trajectory into a folder in Blender layout."""

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

import numpy as np
from numpy.typing import NDArray

from nerfcl.cli.options import MakeScene
from nerfcl.errors import NerfclError
from nerfcl.experiments.folders import claim_folder
from nerfcl.files import written_aside
from nerfcl.reports.progress import duration, track
from nerfcl.scenes.scene import SMALLEST_IMAGE
from nerfcl.scenes.truck.render import (
    CAMERA_ANGLE_X,
    Shot,
    hemisphere_cameras,
    mitsuba_version,
    render_to_file,
    spiral_cameras,
    start_worker,
)

LARGEST_IMAGE = 8192  # pixels
MOST_SAMPLES = 65_536
FRAMES_A_VAL_VIEW = 100
LEAST_CHUNK = 5  # frames: a fifth of them are test frames


@dataclass(frozen=True)
class PlannedView:
    """A view of a scene to be made: its name without suffix, its camera (4, 4), and the seed of its rendering."""

    name: str
    camera: NDArray[np.float64]
    seed: int


Plan = dict[str, list[PlannedView]]  # train, val, test


def make_scene(config: MakeScene) -> None:
    """Renders every view that has no image yet.

    The camera files come last: a folder that has them is a whole scene.

    Raises:
        NerfclError: an option cannot be, Mitsuba is missing, or the folder holds something else.
    """
    check_options(config)
    version = mitsuba_version()
    settings = asdict(config)
    del settings["out"], settings["jobs"]
    claim_folder(config.out, settings, {"versions": {"mitsuba": version}})

    plan = plan_views(config)
    shots = [
        Shot(config.out / split / f"{view.name}.png", view.camera, config.img_wh, config.samples, view.seed)
        for split, views in plan.items()
        for view in views
    ]
    missing = [shot for shot in shots if not shot.path.exists()]
    jobs = min(config.jobs or os.cpu_count() or 1, len(missing))
    began = time.perf_counter()
    render_all(missing, jobs)
    spent = time.perf_counter() - began
    for split, views in plan.items():
        _write_cameras(config.out, split, views)
    if missing:
        each = f"{spent / len(missing):.2f} s each by {jobs} process{'es' if jobs > 1 else ''}"
        print(f"{len(missing)} of {len(shots)} views rendered in {duration(spent)}, {each}")
    counts = ", ".join(f"{len(views)} {split}" for split, views in plan.items())
    print(f"scene ({counts}): {config.out}")


def check_options(config: MakeScene) -> None:
    """Refuses what cannot be.

    Raises:
        NerfclError: names the option.
    """
    if config.trajectory not in _PLANS:
        raise NerfclError(f"--trajectory {config.trajectory}: must be {' or '.join(_PLANS)}")
    for option, value, low, high in (
        ("chunks", config.chunks, 1, None),
        ("frames", config.frames, LEAST_CHUNK * (config.chunks if config.trajectory == "spiral" else 1), None),
        ("samples", config.samples, 1, MOST_SAMPLES),
        ("seed", config.seed, 0, 2**31 - 1),
        ("jobs", config.jobs, 0, None),
    ):
        if value < low or (high is not None and value > high):
            why = f", {LEAST_CHUNK} a chunk" if option == "frames" and config.trajectory == "spiral" else ""
            limits = f"at least {low}{why}" if high is None else f"from {low} to {high}"
            raise NerfclError(f"--{option} {value}: must be {limits}")
    if not SMALLEST_IMAGE <= min(config.img_wh) <= max(config.img_wh) <= LARGEST_IMAGE:
        raise NerfclError(
            f"--img-wh {config.img_wh[0]} {config.img_wh[1]}: images must be {SMALLEST_IMAGE} to {LARGEST_IMAGE} "
            "pixels wide and high"
        )


def plan_views(config: MakeScene) -> Plan:
    """All views of the scene that options describe, each split in its order."""
    return _PLANS[config.trajectory](config)


def _spiral(config: MakeScene) -> Plan:
    """Neighbouring frames; of each chunk a fifth for testing; validation half-way between frames."""
    train, val, test = split_frames(config.frames, config.chunks, config.seed)
    first = config.seed * 2 * config.frames  # seeds of renderings, no two alike

    def views(frames: NDArray[np.int64], offset: float = 0.0) -> list[PlannedView]:
        cameras = spiral_cameras(frames.astype(np.float64) + offset, config.frames)
        seeds = first + frames + (config.frames if offset else 0)
        return [
            PlannedView(f"r_{frame:05}", camera, int(seed) % 2**32)
            for frame, camera, seed in zip(frames, cameras, seeds, strict=True)
        ]

    return {"train": views(train), "val": views(val, 0.5), "test": views(test)}


def split_frames(count: int, chunks: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Frame numbers of the train, validation and test views, each rising.

    Each of `chunks` equal stretches gives a fifth of its frames, drawn with the seed, for testing and the others for
    training. A validation view stands half-way between the frame of its number and the next one of the same stretch.
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


def _hemisphere(config: MakeScene) -> Plan:
    """Random cameras; half of the frames for testing, and half as many again for validation."""
    test = config.frames // 2
    counts = {"train": config.frames - test, "val": max(1, test // 2), "test": test}
    plan: Plan = {}
    for number, (split, count) in enumerate(counts.items(), start=1 + 3 * config.seed):
        cameras = hemisphere_cameras(count, number)
        plan[split] = [PlannedView(f"r_{i}", camera, (1000 * number + i) % 2**32) for i, camera in enumerate(cameras)]
    return plan


_PLANS = {"spiral": _spiral, "hemisphere": _hemisphere}


def render_all(shots: Sequence[Shot], jobs: int) -> None:
    """Renders images into their files, in `jobs` processes; stops soon when interrupted.

    Raises:
        NerfclError: a file cannot be written, or a process was killed.
    """
    if not shots:
        return
    try:
        with _tasks(shots, jobs) as tasks:
            for task in track(tasks, "rendering"):
                task()
    except BrokenProcessPool:
        raise NerfclError(
            "a rendering process was ended from outside, perhaps for want of memory; "
            "run the same command again to go on, with fewer --jobs"
        ) from None


@contextmanager
def _tasks(shots: Sequence[Shot], jobs: int) -> Iterator[list[partial[None]]]:
    """For each image a call that returns once it is written."""
    if jobs == 1:
        yield [partial(render_to_file, shot) for shot in shots]
        return
    # A forked child would inherit Mitsuba's threads in an undefined state.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=start_worker)
    try:
        yield [partial(Future.result, pool.submit(render_to_file, shot)) for shot in shots]
    finally:
        pool.shutdown(cancel_futures=True)


def _write_cameras(folder: Path, split: str, views: list[PlannedView]) -> None:
    frames = [{"file_path": f"./{split}/{view.name}", "transform_matrix": view.camera.tolist()} for view in views]
    content = {"camera_angle_x": CAMERA_ANGLE_X, "frames": frames}
    with written_aside(folder / f"transforms_{split}.json") as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
