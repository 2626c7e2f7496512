"""How an online learner takes frames in, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from nerfcl.config.streams import PushedStream
from nerfcl.errors import require
from nerfcl.training.settings import OptimiserSettings, TrainingSettings


@dataclass(frozen=True)
class OnlineSettings:
    """How frames are taken in and learned.

    Attributes:
        chunk_frames: frames that are learned together; gone afterwards, but for what the strategy keeps.
        steps_per_chunk: training steps for each chunk.
        rays: new rays in a step.
        learning_rate: of every step but the first ones; it does not fall, since the stream has no end.
        ema_decay: decay, at each step, of the moving average of the parameters that views are rendered with.
        queue_frames: frames that may wait to be learned.
        when_full: what `observe` does when so many wait: "block" until there is room, or "drop-oldest" of them.

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
        require(self.steps_per_chunk >= 1, self, "steps_per_chunk", "must be at least 1")
        _ = self.stream, self.training  # these refuse the others

    @property
    def stream(self) -> PushedStream:
        """How frames are taken in."""
        return PushedStream(chunk_frames=self.chunk_frames, queue_frames=self.queue_frames, when_full=self.when_full)

    @property
    def training(self) -> TrainingSettings:
        """How chunks are learned."""
        optimiser = OptimiserSettings(learning_rate=self.learning_rate, schedule="constant", ema_decay=self.ema_decay)
        return TrainingSettings(steps=self.steps_per_chunk, rays=self.rays, optimiser=optimiser, evaluation=None)


@dataclass(frozen=True)
class Observed:
    """What became of the frames so far.

    Attributes:
        seen: frames taken in, those that were dropped included.
        waiting: frames that are not learned yet.
        dropped: frames that were never learned, since the queue was full.
        kept: frames of which something is in memory.
        steps: training steps.
        memory_bytes: what is kept of the past.
        full: whether the queue had no room for this frame, so that it had to wait or an older one to go.

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
