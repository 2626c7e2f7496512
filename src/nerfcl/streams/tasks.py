"""Scene -> stream of announced tasks: sides, azimuth sectors, or all views at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from nerfcl.errors import Argument, NerfclError
from nerfcl.scenes.scene import Scene, Views
from nerfcl.streams.stream import Experience, Stream

_MOST_SECTORS = 1000


def make_stream(scene: Scene, tasks: Sequence[str]) -> Stream:
    """Split a scene into tasks.

    Args:
        scene: source of the views.
        tasks: sides in the order of training ("right", "left"), "sectors:N" for N azimuth sectors, or "all" for all
            views at once.

    Raises:
        NerfclError: a task is unknown, or has no train, val or test views.
    """
    named = Argument("tasks", tuple(tasks))
    if not tasks:
        raise NerfclError(named, ": name at least one task: right, left, sectors:N or all")
    if len(set(tasks)) < len(tasks):
        raise NerfclError(named, ": names a task twice")
    experiences = tuple(part for task in tasks for part in _experiences(scene, task, named))
    if len(tasks) > 1 and any(task == "all" or task.startswith("sectors:") for task in tasks):
        raise NerfclError(named, ": 'all' and 'sectors:N' cannot be combined with other tasks")
    for experience in experiences:
        for split in ("train", "val", "test"):
            if not len(getattr(experience, split)):
                raise NerfclError(
                    named,
                    f": scene '{scene.name}' has no {split} view for task '{experience.name}'; choose other tasks or "
                    "add views",
                )
    return Stream(experiences)


def on_side(views: Views, side: str) -> list[int]:
    """List the indices of the views whose camera is on one side: "right" is world x > 0, "left" is x <= 0."""
    x = views.poses[:, 0, 3].tolist()
    return [i for i, value in enumerate(x) if (value > 0.0) == (side == "right")]


def azimuth(poses: Tensor) -> list[float]:
    """Compute each camera's azimuth around world z, in [0, 2 pi), from its position; poses are (N, 4, 4)."""
    positions = poses[:, :3, 3].tolist()
    return [math.atan2(y, x) % (2.0 * math.pi) for x, y, _ in positions]


def in_sector(views: Views, sector: int, count: int) -> list[int]:
    """List the indices of the views in azimuth sector `sector` of `count`; sector 0 begins at world +x."""
    return [
        i
        for i, angle in enumerate(azimuth(views.poses))
        if min(int(angle / (2 * math.pi) * count), count - 1) == sector
    ]


def select_views(views: Views, task: str) -> list[int]:
    """List the indices of the views that belong to one task ("right", "left", "all" or "sector K/N").

    Raises:
        NerfclError: the task is unknown.
    """
    if task == "all":
        return list(range(len(views)))
    if task in ("right", "left"):
        return on_side(views, task)
    if task.startswith("sector ") and task.count("/") == 1:
        sector, _, count = task.removeprefix("sector ").partition("/")
        if sector.isdecimal() and count.isdecimal() and 1 <= int(sector) <= int(count):
            return in_sector(views, int(sector) - 1, int(count))
    raise NerfclError(f"task '{task}' is unknown; choose right, left, all, sectors:N or a sector (\"sector 1/10\")")


def _experiences(scene: Scene, task: str, named: Argument) -> list[Experience]:
    names = [task]
    if task.startswith("sectors:"):
        count = task.removeprefix("sectors:")
        if not count.isdecimal() or not 1 <= int(count) <= _MOST_SECTORS:
            raise NerfclError(named, f": write sectors:N with N between 1 and {_MOST_SECTORS}, for example sectors:10")
        names = [f"sector {i + 1}/{count}" for i in range(int(count))]
    return [
        Experience(
            name,
            scene.train.select(select_views(scene.train, name)),
            scene.val.select(select_views(scene.val, name)),
            scene.test.select(select_views(scene.test, name)),
        )
        for name in names
    ]
