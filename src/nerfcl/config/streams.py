"""Sources of experiences: tasks or frames of a scene, a watched folder, or frames pushed by a program."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from nerfcl.config import STREAMS
from nerfcl.errors import Argument, require, require_count
from nerfcl.registry import Registry
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.images import MOST_PIXELS
from nerfcl.scenes.scene import SMALLEST_IMAGE, Scene
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.stream import EvaluationGroup, Experience, Stream
from nerfcl.streams.tasks import make_stream

WHEN_FULL = ("block", "drop-oldest")


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """Source of experiences."""

    registry: ClassVar[Registry] = STREAMS


@dataclass(frozen=True, kw_only=True)
class TaskStream(StreamSettings):
    """Tasks of a scene, with announced boundaries.

    Attributes:
        tasks: tasks in order: "right" and "left" (side of the camera: world x > 0 is right), "sectors:N" (azimuth), or
            "all".
        first_val_views: number of validation views per task that are evaluated, the first ones, and no test views, as
            in the reference project's training; None evaluates all.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> TaskStream(tasks=("sectors:4",)).build(scene).names
        ['sector 1/4', 'sector 2/4', 'sector 3/4', 'sector 4/4']
    """

    tasks: tuple[str, ...] = ("right", "left")
    first_val_views: int | None = None

    def build(self, scene: Scene) -> Stream:
        """Split a scene into tasks.

        Raises:
            NerfclError: a task is unknown or has no views.
        """
        stream = make_stream(scene, self.tasks)
        return stream if self.first_val_views is None else Stream(tuple(map(self._first_views_of, stream)))

    def _first_views_of(self, experience: Experience) -> Experience:
        assert self.first_val_views is not None
        first = experience.val.first(self.first_val_views)
        return replace(experience, val=first, test=first)


@dataclass(frozen=True, kw_only=True)
class FrameStream(StreamSettings):
    """Train frames of a scene along a trajectory, in chunks without announced boundaries.

    Attributes:
        order: "file", "nearest", "azimuth", or a text file that lists frame numbers; see `frames_in_order`.
        frames: number of frames, the first in this order; None takes all.
        chunk_frames: frames learned together; they are then discarded, except for what the strategy keeps.
        chunks: number of chunks to learn, the first ones; None learns all.
        first_val_views: number of validation views that are evaluated, the first ones, in one group with all test
            views, as in the reference project; None groups all views by the nearest chunk.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> len(FrameStream(chunk_frames=4, frames=20).build(scene))
        5
    """

    order: str = "nearest"
    frames: int | None = None
    chunk_frames: int = 2
    chunks: int | None = None
    first_val_views: int | None = None

    def build(self, scene: Scene) -> Stream:
        """Build a stream of a scene's train frames.

        Raises:
            NerfclError: the order is unknown, or a number is out of range.
        """
        stream = make_trajectory(scene, self.order, self.chunk_frames, self.frames)
        experiences = stream[: self.chunks]
        if self.first_val_views is None:
            return Stream(tuple(experiences))
        group = EvaluationGroup("all", scene.val.first(self.first_val_views), scene.test)
        return Stream(tuple(experiences), (group,))

    def build_at_once(self, scene: Scene) -> Stream:
        """Build a stream of a single experience with the same frames.

        Raises:
            NerfclError: the order is unknown, or a number is out of range.
        """
        frames = self.build(scene).frames
        (everything,) = make_trajectory(scene, self.order, frames, frames)
        return Stream((replace(everything, name="all frames"),))


@dataclass(frozen=True, kw_only=True)
class WatchedStream(StreamSettings):
    """Frames of a folder that is being written to, as they are completed, until its marker file appears.

    Attributes:
        folder: folder with a growing transforms.json.
        size: (width, height) to resize images to; None keeps the shape of the first.
        max_side: largest width and height in pixels, if `size` is None; None is 64 for renderings, whose images are
            transparent, and 256 for photographs.
        chunk_frames: frames learned together; they are then discarded, except for what the strategy keeps.
        box: centre (x y z) and edge length of the mapped cube, world units; None is what the first chunk's cameras look
            at.

    Example:
        >>> WatchedStream(folder=Path("camera"), box=(0.0, 0.0, 0.0, 2.9)).queue.queue_frames
        64
    """

    folder: Path
    size: tuple[int, int] | None = None
    max_side: int | None = None
    chunk_frames: int = 2
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        least = f"images must be at least {SMALLEST_IMAGE} pixels wide and high"
        most = f"images may have at most {MOST_PIXELS:,} pixels"
        require(self.size is None or min(self.size) >= SMALLEST_IMAGE, self, "size", least)
        require(self.size is None or math.prod(self.size) <= MOST_PIXELS, self, "size", most)
        require(self.max_side is None or self.max_side >= SMALLEST_IMAGE, self, "max_side", least)
        require(self.chunk_frames >= 1, self, "chunk_frames", "must be at least 1")
        finite = self.box is None or all(map(math.isfinite, self.box))
        require(finite, self, "box", "must be four finite numbers")
        require(self.box is None or self.box[3] > 0.0, self, "box", "the edge length (last number) must be positive")

    @property
    def request(self) -> LoadRequest:
        """The size of frames that is asked for."""
        return LoadRequest(self.size, "auto" if self.max_side is None else self.max_side)

    @property
    def queue(self) -> PushedStream:
        """Queue settings for an `OnlineLearner`."""
        return PushedStream(
            chunk_frames=self.chunk_frames, queue_frames=max(PushedStream.queue_frames, self.chunk_frames)
        )


@dataclass(frozen=True, kw_only=True)
class PushedStream(StreamSettings):
    """Frames pushed into an `OnlineLearner` by a program.

    Attributes:
        chunk_frames: frames learned together; they are then discarded, except for what the strategy keeps.
        queue_frames: maximum number of frames waiting to be learned.
        when_full: what `observe` does when the queue is full: "block" until there is room, or "drop-oldest" frame.
    """

    chunk_frames: int = 2
    queue_frames: int = 64
    when_full: str = "block"

    def __post_init__(self) -> None:
        for name in ("chunk_frames", "queue_frames"):
            require_count(self, name)
        enough = self.queue_frames >= self.chunk_frames
        chunk = Argument("chunk_frames", self.chunk_frames, type(self))
        require(enough, self, "queue_frames", "must be at least ", chunk, ", or no chunk could ever be learned")
        require(self.when_full in WHEN_FULL, self, "when_full", f"must be one of {', '.join(WHEN_FULL)}")
