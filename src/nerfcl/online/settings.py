"""Settings of an online learner, and its counts of frames."""

from __future__ import annotations

from dataclasses import dataclass

from nerfcl.config.streams import PushedStream
from nerfcl.errors import require_count
from nerfcl.training.settings import OptimiserSettings, TrainingSettings


@dataclass(frozen=True)
class OnlineSettings:
    """How frames are queued and learned.

    Attributes:
        chunk_frames: frames learned together; they are then discarded, except for what the strategy keeps.
        steps_per_chunk: training steps per chunk.
        rays: new rays per step.
        learning_rate: learning rate, constant after a warm-up, since the stream is open-ended.
        ema_decay: decay per step of the moving average of the parameters, used for rendering; 0 disables it.
        queue_frames: maximum number of frames waiting to be learned.
        when_full: what `observe` does when the queue is full: "block" until there is room, or "drop-oldest" frame.

    Example:
        >>> OnlineSettings(chunk_frames=1, steps_per_chunk=16).training.optimiser.schedule
        'constant'
    """

    chunk_frames: int = 2
    steps_per_chunk: int = 32
    rays: int = 1024
    learning_rate: float = 2e-2
    ema_decay: float = 0.98
    queue_frames: int = 64
    when_full: str = "block"

    def __post_init__(self) -> None:
        require_count(self, "steps_per_chunk")
        _ = self.stream, self.training  # building these validates the other fields

    @property
    def stream(self) -> PushedStream:
        """How frames are queued."""
        return PushedStream(chunk_frames=self.chunk_frames, queue_frames=self.queue_frames, when_full=self.when_full)

    @property
    def training(self) -> TrainingSettings:
        """How chunks are learned."""
        optimiser = OptimiserSettings(learning_rate=self.learning_rate, schedule="constant", ema_decay=self.ema_decay)
        return TrainingSettings(steps=self.steps_per_chunk, rays=self.rays, optimiser=optimiser, evaluation=None)


@dataclass(frozen=True)
class Observed:
    """Counts of the frames so far.

    Attributes:
        seen: frames observed, including dropped ones.
        waiting: frames not learned yet.
        dropped: frames dropped because the queue was full.
        kept: frames that the memory holds something of.
        steps: training steps so far.
        memory_bytes: bytes kept of the past.
        full: whether the queue was full when this frame arrived, so that it had to wait or the oldest was dropped.

    Example:
        >>> Observed(seen=10, waiting=2, dropped=0, kept=8, steps=128, memory_bytes=120_000).full
        False
    """

    seen: int
    waiting: int
    dropped: int
    kept: int
    steps: int
    memory_bytes: int
    full: bool = False
