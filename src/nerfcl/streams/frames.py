"""Scene -> stream of frames in chunks whose boundaries are not announced."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nerfcl.errors import Argument, NerfclError
from nerfcl.scenes.scene import Scene, Views
from nerfcl.streams.stream import Experience, Stream
from nerfcl.streams.tasks import azimuth

ORDERS = ("file", "nearest", "azimuth")
_MOST_BYTES = 2**28  # of a file of frame numbers
_MOST_DIGITS = 12  # of a frame number


def make_trajectory(scene: Scene, order: str, chunk_frames: int, frames: int | None = None) -> Stream:
    """Make a stream of a scene's train frames, one chunk per experience.

    Each validation and test view belongs to the chunk with the camera nearest to its own; a chunk may have none.

    Args:
        scene: source of the frames.
        order: see `frames_in_order`.
        chunk_frames: frames per chunk; the last chunk may have fewer.
        frames: number of frames to use, from the start of the order; None uses all.

    Raises:
        NerfclError: the order is unknown, or a number is out of range.
    """
    positions = frames_in_order(scene.train, order)
    if frames is not None and not 1 <= frames <= len(positions):
        limits = f": must lie between 1 and {len(positions)}, the number of the scene's train frames"
        raise NerfclError(Argument("frames", frames), limits)
    if chunk_frames < 1:
        raise NerfclError(Argument("chunk_frames", chunk_frames), ": must be at least 1")
    positions = positions[:frames]
    chunks = [positions[i : i + chunk_frames] for i in range(0, len(positions), chunk_frames)]
    path = scene.train.select(positions).poses[:, :3, 3]
    val, test = ([i // chunk_frames for i in _nearest(path, views)] for views in (scene.val, scene.test))
    return Stream(
        tuple(
            Experience(
                f"chunk {number + 1}/{len(chunks)}",
                scene.train.select(chunk),
                scene.val.select([i for i, nearest in enumerate(val) if nearest == number]),
                scene.test.select([i for i, nearest in enumerate(test) if nearest == number]),
                announced=False,
            )
            for number, chunk in enumerate(chunks)
        )
    )


def frames_in_order(views: Views, order: str) -> list[int]:
    """List the indices of views in the order of a trajectory.

    Args:
        views: the frames.
        order: "file" (as stored), "nearest" (from the first, always to the nearest unvisited camera), "azimuth" (around
            world z, from +x), or the path of a text file that lists frame numbers, one per line.

    Raises:
        NerfclError: the order is unknown, or a listed number is not a frame.
    """
    if order == "file":
        return list(range(len(views)))
    if order == "nearest":
        return _tour(views.poses[:, :3, 3])
    if order == "azimuth":
        angles = azimuth(views.poses)
        return sorted(range(len(views)), key=angles.__getitem__)
    return _listed(Path(order), len(views))


def _tour(places: Tensor) -> list[int]:
    """Visit all places greedily: from the first, always to the nearest unvisited one."""
    distances = _distances(places, places)
    visited = [0]
    for _ in range(len(places) - 1):
        distances[:, visited[-1]] = torch.inf
        visited.append(int(distances[visited[-1]].argmin()))
    return visited


def _listed(path: Path, count: int) -> list[int]:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise OSError("not a file, or too large")
        words = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise NerfclError(
            Argument("order", str(path)),
            f": is neither {', '.join(ORDERS)} nor a readable file of frame numbers ({error})",
        ) from None
    for word in words:
        if not word.isdecimal() or len(word) > _MOST_DIGITS or int(word) >= count:
            raise NerfclError(f"{path}: '{word:.20}' is not a frame number; the scene's frames are 0 to {count - 1}")
    if not words:
        raise NerfclError(f"{path}: lists no frames")
    return [int(word) for word in words]


def _nearest(path: Tensor, views: Views) -> list[int]:
    """For each view, find the index of the place on a path (N, 3) nearest to its camera."""
    return _distances(views.poses[:, :3, 3], path).argmin(1).tolist()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute distances from differences: torch's default, by dot products, is inexact far from the origin."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
