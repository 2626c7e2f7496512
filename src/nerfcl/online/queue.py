"""Frames on their way into an online learner: queued by any thread, taken in chunks by the learner's own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from nerfcl.config.streams import PushedStream
from nerfcl.errors import NerfclError
from nerfcl.scenes.scene import Views

CLOSED = "this learner is closed; create a new one, or load a saved one"


class FrameQueue:
    """A queue of frames, and the chunk in flight.

    A frame is *waiting* once it is accepted, then *in flight* with its chunk, then learned; or it is dropped while
    waiting, if the settings say so. The queue is *open* until it is closed, or until learning has *failed*; both are
    final, and end every wait. Each method may be called from any thread, except `take` and `done`, which are the
    learner's.

    Args:
        settings: length of the queue and of a chunk.
    """

    def __init__(self, settings: PushedStream) -> None:
        self.settings = settings
        self.changed = threading.Condition()  # guards all that follows
        self.seen = self.dropped = 0
        self.size: tuple[int, int] | None = None  # of all frames
        self.chunk: Views | None = None  # in flight
        self.closed = False
        self.error: BaseException | None = None
        self._waiting: deque[Views] = deque()
        self._chunk_number = 0  # of the first frame in flight
        self._targets: list[int] = []  # numbers of frames up to which somebody waits for them to be learned

    def put(self, frame: Views, may_wait: bool = True) -> bool:
        """Accept a frame; if the queue is full, wait for room or drop the oldest frame, as the settings say.

        Args:
            frame: one view.
            may_wait: whether this thread may wait for the learner's.

        Returns:
            Whether the queue was full.

        Raises:
            NerfclError: the frame was not accepted: it has another size, the queue is closed, or learning has failed.
        """
        with self.changed:
            self.check_open()
            size = (frame.width, frame.height)
            if self.size is not None and size != self.size:
                raise NerfclError(
                    f"frame {self.seen}: is {size[0]}x{size[1]}, but the first was {self.size[0]}x{self.size[1]}; "
                    "all frames of a stream must have the same size"
                )
            self.size = size
            full = self._is_full()
            if full and self.settings.when_full == "drop-oldest":
                self._waiting.popleft()
                self.dropped += 1
            elif full and not may_wait:
                raise NerfclError(f"frame {self.seen}: the queue is full, and this thread cannot wait for its own work")
            elif full:
                self._wait(lambda: not self._is_full())
                self.check_open()
            self._waiting.append(frame)
            self.seen += 1
            self.changed.notify_all()
            return full

    def take(self) -> Views | None:
        """Wait for a chunk and return it, incomplete if somebody waits for its frames; None if the queue is closed.

        A chunk that was taken but is not `done` is returned again.
        """
        with self.changed:
            self._wait(self._is_ready)
            if self.closed:
                return None
            if self.chunk is None:
                count = min(self.settings.chunk_frames, len(self._waiting))
                self._chunk_number = self._first()
                self.chunk = Views.concatenate([self._waiting.popleft() for _ in range(count)])
                self.changed.notify_all()
            return self.chunk

    def done(self) -> None:
        """Record that the chunk in flight is learned."""
        with self.changed:
            self.chunk = None
            self.changed.notify_all()

    def finish(self) -> None:
        """Wait until all frames accepted so far are learned, including an incomplete last chunk.

        Raises:
            NerfclError: the queue was closed before, or learning has failed.
        """
        with self.changed:
            target = self.seen
            self._targets.append(target)
            self.changed.notify_all()
            try:
                self._wait(lambda: self._first() >= target)
            finally:
                self._targets.remove(target)
            self.check_failed()
            if self._first() < target:
                raise NerfclError(CLOSED)

    def close(self) -> None:
        """Accept and hand out nothing more."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Record the error that ended learning."""
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def check_open(self) -> None:
        """Raise a NerfclError if learning has failed or the queue is closed."""
        self.check_failed()
        if self.closed:
            raise NerfclError(CLOSED)

    def check_failed(self) -> None:
        """Raise a NerfclError if learning has failed."""
        if self.error is not None:
            raise NerfclError(f"learning failed: {self.error}") from self.error

    @property
    def unlearned(self) -> int:
        """Number of frames in flight or waiting."""
        return len(self._waiting) + (0 if self.chunk is None else len(self.chunk))

    def frames(self) -> list[Views]:
        """Return the chunk in flight, if any, and the waiting frames, in order."""
        return [*([] if self.chunk is None else [self.chunk]), *self._waiting]

    def restore(self, frames: list[Views], in_flight: bool, seen: int, dropped: int) -> None:
        """Restore a new queue from what `frames` returned, and the counts."""
        self.seen, self.dropped = seen, dropped
        if frames:
            self.size = (frames[0].width, frames[0].height)
        if in_flight:
            self.chunk, self._chunk_number = frames[0], seen - sum(map(len, frames))
            frames = frames[1:]
        self._waiting.extend(frames)

    def _first(self) -> int:
        """Return the number of the first frame that is not learned; those that wait are the last that were seen."""
        return self.seen - len(self._waiting) if self.chunk is None else self._chunk_number

    def _is_full(self) -> bool:
        return len(self._waiting) >= self.settings.queue_frames

    def _is_ready(self) -> bool:
        if self.chunk is not None or len(self._waiting) >= self.settings.chunk_frames:
            return True
        return bool(self._waiting) and any(target > self._first() for target in self._targets)

    def _wait(self, until: Callable[[], bool]) -> None:
        self.changed.wait_for(lambda: until() or self.closed or self.error is not None)
