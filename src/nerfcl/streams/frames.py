"""Scene -> a stream of frames in chunks, whose beginnings and ends nobody announces."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.scenes.scene import Scene, Views
from nerfcl.streams.tasks import Experience, Stream, azimuth

ORDERS = ("file", "nearest", "azimuth")


def make_trajectory(scene: Scene, order: str, chunk_frames: int, frames: int | None = None) -> Stream:
    """The stream of a scene's train frames, a chunk at a time.

    Each validation and test view belongs to the chunk that has the camera nearest to its own; a chunk may have none.

    Args:
        scene: where the frames come from.
        order: see `frames_in_order`.
        chunk_frames: frames of a chunk; the last one may have fewer.
        frames: the first so many frames of the order are taken; None takes all.

    Raises:
        NerfclError: no such order, or numbers that cannot be.
    """
    positions = frames_in_order(scene.train, order)
    if frames is not None and not 1 <= frames <= len(positions):
        raise NerfclError(f"--frames {frames}: must lie between 1 and {len(positions)}, the scene's train frames")
    if chunk_frames < 1:
        raise NerfclError(f"--chunk-frames {chunk_frames}: must be at least 1")
    positions = positions[:frames]
    chunks = [positions[i : i + chunk_frames] for i in range(0, len(positions), chunk_frames)]
    track = scene.train.select(positions).poses[:, :3, 3]
    val, test = ([i // chunk_frames for i in _nearest(track, views)] for views in (scene.val, scene.test))
    return tuple(
        Experience(
            f"chunk {number + 1}/{len(chunks)}",
            scene.train.select(chunk),
            scene.val.select([i for i, nearest in enumerate(val) if nearest == number]),
            scene.test.select([i for i, nearest in enumerate(test) if nearest == number]),
            announced=False,
        )
        for number, chunk in enumerate(chunks)
    )


def frames_in_order(views: Views, order: str) -> list[int]:
    """Positions of the views in the order of a trajectory.

    Args:
        views: the frames.
        order: "file" (as they are), "nearest" (from the first one always on to the nearest camera not yet visited),
            "azimuth" (around world z, from +x), or the path of a text file that lists frame numbers, one a line.

    Raises:
        NerfclError: there is no such order, or a listed number is no frame.
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
    """From the first place always on to the nearest one that was not visited."""
    distances = _distances(places, places)
    visited = [0]
    for _ in range(len(places) - 1):
        distances[:, visited[-1]] = torch.inf
        visited.append(int(distances[visited[-1]].argmin()))
    return visited


def _listed(path: Path, count: int) -> list[int]:
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise NerfclError(
            f"--order {path}: is neither {', '.join(ORDERS)} nor a readable file of frame numbers ({error})"
        ) from None
    for word in words:
        if not word.isdecimal() or int(word) >= count:
            raise NerfclError(f"{path}: '{word}' is no frame number; the scene's frames are 0 to {count - 1}")
    if not words:
        raise NerfclError(f"{path}: lists no frame")
    return [int(word) for word in words]


def _nearest(track: Tensor, views: Views) -> list[int]:
    """For each view the position on the track that is nearest to its camera."""
    return _distances(views.poses[:, :3, 3], track).argmin(1).tolist()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """From differences: through products, as torch does by default, those between neighbours far off are lost."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
