"""Scene -> stream: what a learner is shown, one experience after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.scenes.scene import Scene, Views


@dataclass(frozen=True)
class Remembered:
    """What an earlier model made of N views, where that is written down.

    Attributes:
        colours: (N, H, W, 3) uint8 as rendered, or None.
        losses: (N, H, W) float32 mean squared errors over the channels, or None.
    """

    colours: Tensor | None = None
    losses: Tensor | None = None


@dataclass(frozen=True)
class Experience:
    """One stretch of a stream: views to learn from while it lasts.

    Attributes:
        name: the task's name.
        train: views that are there during this experience, and gone afterwards.
        val: views to watch the training with.
        test: views that score what was learned here; never trained on.
        announced: whether the learner is told where the experience begins and ends.
        remembered: what an earlier model made of the train views; None asks the model itself where that is needed.
    """

    name: str
    train: Views
    val: Views
    test: Views
    announced: bool = True
    remembered: Remembered | None = None


Stream = tuple[Experience, ...]


def make_stream(scene: Scene, tasks: Sequence[str]) -> Stream:
    """The stream that `--tasks` names.

    Args:
        scene: where the views come from.
        tasks: sides in the order of training ("right", "left"), "sectors:N" for N azimuth sectors, or "all" for all
            views at once.

    Raises:
        NerfclError: no such task, or a task without train or test views.
    """
    if not tasks:
        raise NerfclError("--tasks: name at least one task: right, left, sectors:N or all")
    if len(set(tasks)) < len(tasks):
        raise NerfclError(f"--tasks {' '.join(tasks)}: names a task twice")
    experiences = tuple(part for task in tasks for part in _experiences(scene, task))
    if len(tasks) > 1 and any(task == "all" or task.startswith("sectors:") for task in tasks):
        raise NerfclError(f"--tasks {' '.join(tasks)}: 'all' and 'sectors:N' are whole streams and stand alone")
    for experience in experiences:
        for split in ("train", "val", "test"):
            if not len(getattr(experience, split)):
                raise NerfclError(
                    f"--tasks {' '.join(tasks)}: scene '{scene.name}' has no {split} view for task "
                    f"'{experience.name}'; choose other tasks or add views"
                )
    return experiences


def on_side(views: Views, side: str) -> list[int]:
    """Positions of the views whose camera is on that side: "right" is world x > 0, "left" is x <= 0."""
    x = views.poses[:, 0, 3].tolist()
    return [i for i, value in enumerate(x) if (value > 0.0) == (side == "right")]


def azimuth(poses: Tensor) -> list[float]:
    """Each camera's azimuth around world z, in [0, 2 pi), from its position."""
    positions = poses[:, :3, 3].tolist()
    return [math.atan2(y, x) % (2.0 * math.pi) for x, y, _ in positions]


def in_sector(views: Views, sector: int, count: int) -> list[int]:
    """Positions of the views in azimuth sector `sector` of `count`; sector 0 begins at world +x."""
    return [
        i
        for i, angle in enumerate(azimuth(views.poses))
        if min(int(angle / (2 * math.pi) * count), count - 1) == sector
    ]


def select_views(views: Views, task: str) -> list[int]:
    """Positions of the views that belong to one task ("right", "left", "all" or "sector K/N").

    Raises:
        NerfclError: no such task.
    """
    if task == "all":
        return list(range(len(views)))
    if task in ("right", "left"):
        return on_side(views, task)
    if task.startswith("sector ") and task.count("/") == 1:
        sector, _, count = task.removeprefix("sector ").partition("/")
        if sector.isdecimal() and count.isdecimal() and 1 <= int(sector) <= int(count):
            return in_sector(views, int(sector) - 1, int(count))
    raise NerfclError(
        f"task '{task}' is unknown; tasks are: right, left, all, sectors:N (one of them: \"sector 1/10\")"
    )


def _experiences(scene: Scene, task: str) -> list[Experience]:
    names = [task]
    if task.startswith("sectors:"):
        count = task.removeprefix("sectors:")
        if not count.isdecimal() or not 1 <= int(count) <= 1000:
            raise NerfclError(f"--tasks {task}: write sectors:N with N between 1 and 1000, for example sectors:10")
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
