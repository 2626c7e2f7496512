"""How many rays of a stream fit into so many bytes."""

from __future__ import annotations

from nerfcl.memory.rays import GRID_FRAMES, GRID_RAYS, MemorySettings
from nerfcl.streams.tasks import Stream

RAY, LOSS, CAMERA = 11, 2, 76  # bytes; a camera is there once a frame


def rays_in(budget: int, settings: MemorySettings, frames: int) -> int:
    """The most rays of so many frames that are never larger than `budget` bytes, cameras included; 0 is none."""
    each = _each(settings)
    # At worst every ray is of another frame, until there are no more frames.
    return max(min(budget // (each + CAMERA), frames), (budget - frames * CAMERA) // each, 0)


def bytes_of_past(settings: MemorySettings, stream: Stream) -> int:
    """What it takes to keep all rays of all experiences before the last one, cameras included."""
    frames, rays = map(sum, _offered(settings, all_but_last(stream)))
    return rays * _each(settings) + frames * CAMERA


def rays_within(budget: int, settings: MemorySettings, stream: Stream) -> int:
    """The capacity with which a memory of rays is never larger than `budget` bytes, cameras included.

    It is no more than what all experiences before the last one offer; 0 where not even one ray fits.
    """
    most = rays_in(budget, settings, sum(_offered(settings, stream)[0]))
    return min(most, sum(_offered(settings, all_but_last(stream))[1]))


def _each(settings: MemorySettings) -> int:
    return RAY + (LOSS if settings.needs_losses else 0)


def all_but_last(stream: Stream) -> Stream:
    """What is over while something is learned; of a stream that is one experience, that one."""
    return stream[:-1] or stream


def _offered(settings: MemorySettings, stream: Stream) -> tuple[list[int], list[int]]:
    """How many frames and rays each experience offers."""
    views = [experience.train for experience in stream]
    if settings.fill != "loss-grid":
        return [len(each) for each in views], [len(each) * each.height * each.width for each in views]
    frames = [-(-len(each) // GRID_FRAMES) for each in views]
    return frames, [n * min(GRID_RAYS, each.height * each.width) for n, each in zip(frames, views, strict=True)]
