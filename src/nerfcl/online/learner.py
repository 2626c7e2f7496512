"""A learner for a camera that does not stop: posed frames go in, any view comes out, at any time."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import Rendering, render_image
from nerfcl.models.settings import GridModel, ModelSettings
from nerfcl.online.turns import Turns
from nerfcl.scenes.cameras import Camera
from nerfcl.scenes.frame import posed_frame, views_of
from nerfcl.scenes.scene import Box, Views
from nerfcl.strategies import strategy_class, strategy_name
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.tasks import Experience
from nerfcl.training.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.training.learner import Learner, StepReport, TrainingSettings, new_learner
from nerfcl.training.loop import learn_experience
from nerfcl.training.optimisation import OptimisationSettings

WHEN_FULL = ("block", "drop-oldest")


@dataclass(frozen=True)
class OnlineSettings:
    """How frames are taken in.

    Attributes:
        chunk_frames: frames that are learned together; gone afterwards, but for what the strategy keeps.
        steps_per_chunk: training steps for each chunk.
        rays: new rays a step.
        learning_rate: of every step but the first ones; it does not fall, since the stream has no end.
        average: share of the past in the running mean of the parameters that views are rendered with, at each step.
        queue_frames: frames that may wait to be learned.
        when_full: what `observe` does when so many wait: "block" until there is room, or "drop-oldest" of them.
    """

    chunk_frames: int = 2
    steps_per_chunk: int = 32
    rays: int = 1024
    learning_rate: float = 2e-2
    average: float = 0.98
    queue_frames: int = 64
    when_full: str = "block"

    def __post_init__(self) -> None:
        for name in ("chunk_frames", "steps_per_chunk", "rays"):
            if getattr(self, name) < 1:
                raise NerfclError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.queue_frames < self.chunk_frames:
            raise NerfclError(
                f"queue_frames={self.queue_frames}: must be at least chunk_frames={self.chunk_frames}, or no chunk "
                "could ever be learned"
            )
        if self.when_full not in WHEN_FULL:
            raise NerfclError(f"when_full={self.when_full}: must be {' or '.join(WHEN_FULL)}")

    @property
    def training(self) -> TrainingSettings:
        """The same for the training loop."""
        optimisation = OptimisationSettings(learning_rate=self.learning_rate, schedule="constant", average=self.average)
        return TrainingSettings(steps=self.steps_per_chunk, rays=self.rays, optimisation=optimisation)


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
    """

    seen: int
    waiting: int
    dropped: int
    kept: int
    steps: int
    memory_bytes: int
    full: bool = False


class OnlineLearner:
    """Learns a stream of frames in a thread of its own; a context manager that finishes what waits when left.

    With `when_full="block"` the result depends on the frames and their order alone, not on when they come.

    Args:
        model: settings of what is learned; see `around` for a simple way.
        strategy: how the past is used; one that works without boundaries.
        settings: how frames are taken in.
        seed: of everything random.
        device: where to compute.
        autosave: a file that is written after every chunk, as by `save`.

    Raises:
        NerfclError: the strategy needs boundaries.
    """

    def __init__(
        self,
        model: ModelSettings,
        strategy: Strategy | None = None,
        settings: OnlineSettings | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        autosave: Path | None = None,
    ) -> None:
        self.autosave = autosave
        self.settings = settings or OnlineSettings()
        self.model_settings = model
        strategy = strategy or Replay()
        if strategy.needs_boundaries:
            raise NerfclError(f"strategy {type(strategy).__name__} needs to be told where tasks end; a stream does not")
        self._learner = new_learner(strategy, lambda: model.build(seed, device), seed)
        self._training = self.settings.training
        self._waiting: deque[Views] = deque()
        self._chunk: Views | None = None  # in flight
        self._seen = self._dropped = 0
        self._kept = 0
        self._size: tuple[int, int] | None = None
        self._changed = threading.Condition()  # guards all of the above but the learner
        self._finishing = self._closing = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._door = Turns()

    @staticmethod
    def around(
        center: tuple[float, float, float],
        side: float,
        image_width: int,
        strategy: Strategy | None = None,
        settings: OnlineSettings | None = None,
        *,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> OnlineLearner:
        """A learner of a grid field in a cube of the world.

        Args:
            center: middle of the cube, world units.
            side: its edge, world units.
            image_width: of the frames that will come, pixels; decides how fine the grid is.
            strategy, settings, seed, device: as of the class.
            background: colour behind the cube, sRGB in [0, 1].
        """
        model = GridModel.for_box(Box.around(center, side), image_width, background)
        return OnlineLearner(model, strategy, settings, seed=seed, device=device)

    def observe(self, image: np.ndarray | Tensor, world_from_camera: Any, intrinsics: Any) -> Observed:
        """Takes in a frame and returns at once, unless the queue is full and set to block.

        Args:
            image: (H, W, 3) uint8 sRGB; all frames have one size.
            world_from_camera: (4, 4) pose, OpenGL axes (+x right, +y up, -z forward), world units.
            intrinsics: (4,) fx, fy, cx, cy in pixels.

        Returns:
            What became of the frames so far.

        Raises:
            NerfclError: the frame cannot be used, then nothing has changed; or learning has failed.
        """
        frame = posed_frame(image, world_from_camera, intrinsics, self._seen)
        with self._changed:
            self._raise_error()
            size = (frame.width, frame.height)
            if self._size is not None and size != self._size:
                raise NerfclError(
                    f"frame {self._seen}: is {size[0]}x{size[1]}, the first one was {self._size[0]}x{self._size[1]}; "
                    "all frames of a stream have one size"
                )
            self._refuse_if_closed()
            self._size = size
            full = len(self._waiting) >= self.settings.queue_frames
            self._start()
            if full and self.settings.when_full == "drop-oldest":
                self._waiting.popleft()
                self._dropped += 1
            elif full:
                self._changed.wait_for(
                    lambda: len(self._waiting) < self.settings.queue_frames or self._error or self._closing
                )
                self._raise_error()
                self._refuse_if_closed()
            self._waiting.append(frame)
            self._seen += 1
            self._changed.notify_all()
            return replace(self._observed(), full=full)

    def status(self) -> Observed:
        """What became of the frames so far."""
        with self._changed:
            self._raise_error()
            return self._observed()

    def render(self, camera: Camera, *, rays_per_pixel: int = 1) -> Rendering:
        """Renders a view between two training steps; see `render_image`."""
        with self._door.visit():
            return render_image(self._learner.shown, camera, rays_per_pixel=rays_per_pixel)

    def finish(self) -> Observed:
        """Waits until all frames are learned, the last ones even where they are no whole chunk."""
        with self._changed:
            self._raise_error()
            self._finishing = True
            self._start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._idle or self._error or self._closing)
            self._finishing = False
            self._raise_error()
            if not self._idle:
                self._refuse_if_closed()
            return self._observed()

    def close(self) -> None:
        """Ends the thread after the present step; what waits is not learned."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def save(self, path: str | Path) -> None:
        """Writes everything that is needed to go on exactly, frames that wait included.

        Raises:
            NerfclError: the file cannot be written.
        """
        with self._door.visit(), self._changed:
            self._raise_error()
            self._write(Path(path))

    @staticmethod
    def load(path: str | Path, strategy: Strategy | None = None, device: torch.device | str = "cpu") -> OnlineLearner:
        """A learner that goes on where the saved one stood.

        Args:
            path: what `save` wrote.
            strategy: needed where it is not one of nerfcl's own.
            device: where to compute.

        Raises:
            NerfclError: there is no such file, or it is damaged or something else.
        """
        checkpoint = load_checkpoint(Path(path))
        stream = checkpoint.run.get("stream")
        if stream is None:
            raise NerfclError(f"{path}: is the checkpoint of a run, not of an OnlineLearner; use `nerfcl run` to go on")
        if strategy is None:
            if stream["strategy"] is None:
                raise NerfclError(f"{path}: was saved with a strategy of your own; give it to `load` again")
            strategy = strategy_class(stream["strategy"])(**stream["knobs"])
        loaded = OnlineLearner(
            checkpoint.model_settings,
            strategy,
            OnlineSettings(**stream["settings"]),
            seed=stream["seed"],
            device=device,
        )
        resume(loaded._learner, checkpoint, loaded._training.optimisation)
        frames = [views_of(*parts) for parts in stream["frames"]]
        if stream["in_flight"]:
            loaded._chunk = frames.pop(0)
        loaded._waiting.extend(frames)
        loaded._seen, loaded._dropped = stream["seen"], stream["dropped"]
        loaded._kept = loaded._frames_kept()
        loaded._size = None if stream["size"] is None else tuple(stream["size"])
        if frames or loaded._chunk is not None:
            loaded._start()
        return loaded

    def __enter__(self) -> OnlineLearner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._closing:
            self.finish()
        self.close()

    def _write(self, path: Path) -> None:
        frames = [*([] if self._chunk is None else [self._chunk]), *self._waiting]
        strategy = self._learner.strategy
        name = strategy_name(strategy)
        knobs = {f.name: getattr(strategy, f.name) for f in fields(strategy) if f.init}
        stream = {
            "settings": asdict(self.settings),
            "strategy": name,
            "knobs": {} if name is None else knobs,
            "seed": self._learner.seed,
            "in_flight": self._chunk is not None,
            "frames": [[frame.images, frame.poses, frame.intrinsics] for frame in frames],
            "seen": self._seen,
            "dropped": self._dropped,
            "size": self._size,
        }
        save_checkpoint(path, self._learner, {"stream": stream}, self.model_settings)

    def _frames_kept(self) -> int:
        return int(self._learner.strategy.figures(self._learner.state).get("frames_kept", 0))

    def _observed(self) -> Observed:
        waiting = len(self._waiting) + (0 if self._chunk is None else len(self._chunk))
        history = self._learner.history
        return Observed(self._seen, waiting, self._dropped, self._kept, history.steps, history.memory_bytes)

    @property
    def _idle(self) -> bool:
        return not self._waiting and self._chunk is None

    def _refuse_if_closed(self) -> None:
        if self._finishing or self._closing:
            raise NerfclError("this learner was closed; make a new one, or load what it saved")

    def _raise_error(self) -> None:
        if self._error is not None:
            raise NerfclError(f"learning failed: {self._error}") from self._error

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="nerfcl online learner", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            while self._take_chunk():
                assert self._chunk is not None
                name = f"chunk {self._learner.done + 1}"
                empty = self._chunk.select([])
                experience = Experience(name, self._chunk, empty, empty, announced=False)
                with self._door.work():
                    learn_experience(self._learner, experience, self._training, [self])
                    with self._changed:
                        self._kept = self._frames_kept()
                        self._chunk = None
                        if self.autosave is not None:
                            self._write(self.autosave)
                        self._changed.notify_all()
        except _Closed:
            pass
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _take_chunk(self) -> bool:
        """Waits for a chunk of frames; False if the learner was closed instead."""

        def ready() -> bool:
            enough = len(self._waiting) >= self.settings.chunk_frames or (self._finishing and bool(self._waiting))
            return self._closing or self._chunk is not None or enough

        with self._changed:
            self._changed.wait_for(ready)
            if self._closing:
                return False
            if self._chunk is None:
                count = min(self.settings.chunk_frames, len(self._waiting))
                self._chunk = Views.concatenate([self._waiting.popleft() for _ in range(count)])
                self._changed.notify_all()
            return True

    def stepped(self, report: StepReport) -> None:
        """Between two training steps: lets others look at the model, or ends."""
        del report
        if self._closing:
            raise _Closed
        self._door.let_others_in()

    def looked(self, history: Any) -> None:
        """Nothing is looked at here."""

    def finished(self, learner: Learner) -> None:
        """After a chunk."""


class _Closed(Exception):
    """The learner was told to end."""
