"""A learner for an endless camera stream: it takes posed frames, and renders any view at any time."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from nerfcl.config.experiment import Experiment
from nerfcl.config.migration import experiment_of
from nerfcl.config.streams import PushedStream, WatchedStream
from nerfcl.errors import NerfclError
from nerfcl.models.fields.field import FieldSettings
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.rendering.model import Model, ModelSettings, Rendering, render_image
from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.online.settings import Observed, OnlineSettings
from nerfcl.online.step_lock import StepLock
from nerfcl.scenes.cameras import Camera
from nerfcl.scenes.frame import posed_frame, unnamed_views
from nerfcl.scenes.scene import Box, Views
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.stream import Experience
from nerfcl.training.callbacks import Callback, StepReport
from nerfcl.training.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.training.learner import Learner, new_learner
from nerfcl.training.loop import check_boundaries, learn_experience

_CLOSED = "this learner is closed; create a new one, or load a saved one"


class OnlineLearner:
    """Learns a stream of frames in a background thread; as a context manager, it learns waiting frames before it exits.

    With `when_full="block"` the result depends only on the frames and their order, not on when they arrive.

    Args:
        model: model settings; see `around` for a simpler way.
        strategy: how the past is used; must work without boundaries.
        settings: how frames are queued and learned.
        seed: seed of all randomness.
        device: device to compute on.
        autosave: file to save to after every chunk.
        experiment: complete description, which replaces strategy, settings and seed.

    Raises:
        NerfclError: the strategy needs boundaries.

    Example:
        >>> import nerfcl
        >>> views = nerfcl.load_scene("builtin", size=(16, 16)).train
        >>> settings = nerfcl.OnlineSettings(steps_per_chunk=2, rays=64)
        >>> with OnlineLearner.around((0.0, 0.0, 0.0), 2.9, 16, settings=settings) as learner:
        ...     for image, pose, intrinsics in zip(views.images[:4], views.poses, views.intrinsics):
        ...         observed = learner.observe(image, pose, intrinsics)
        ...     finished = learner.finish()
        ...     picture = learner.render(views.camera(0))
        >>> finished.seen, finished.steps, tuple(picture.rgb.shape)
        (4, 4, (16, 16, 3))
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
        experiment: Experiment | None = None,
    ) -> None:
        settings = settings or OnlineSettings()
        self.experiment = experiment or Experiment(
            scene=None,
            stream=settings.stream,
            field=model.field,
            training=settings.training,
            strategy=strategy or Replay(),
            seed=seed,
            device=torch.device(device).type,
        )
        self.model_settings, self.autosave = model, autosave
        strategy, seed = self.experiment.strategy, self.experiment.seed
        check_boundaries(strategy, announced=False)
        self._queue = _queue_of(self.experiment)
        self._learner = new_learner(strategy, lambda: model.build(seed, device), seed)
        self._waiting: deque[Views] = deque()
        self._chunk: Views | None = None  # in flight
        self._seen = self._dropped = 0
        self._kept = 0
        self._size: tuple[int, int] | None = None
        self._changed = threading.Condition()  # guards all of the above but the learner
        self._finishing = self._closing = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._lock = StepLock()

    @classmethod
    def around(
        cls,
        center: tuple[float, float, float],
        side: float,
        image_width: int,
        strategy: Strategy | None = None,
        settings: OnlineSettings | None = None,
        *,
        field: FieldSettings | None = None,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Create a learner for a cube in the world.

        Args:
            center: centre of the cube, world units.
            side: edge length of the cube, world units.
            image_width: width of the frames in pixels; determines the resolution of the grid.
            strategy: see the class.
            settings: see the class.
            field: field settings; None is a hash grid.
            background: background colour, sRGB in [0, 1].
            seed: see the class.
            device: see the class.
        """
        box = Box.around(center, side)
        model = OccupancyModelSettings.in_box(field or HashGridSettings(), box, image_width, background)
        return cls(model, strategy, settings, seed=seed, device=device)

    def observe(self, image: np.ndarray | Tensor, world_from_camera: Any, intrinsics: Any) -> Observed:
        """Queue a frame and return at once, unless the queue is full and set to block.

        Args:
            image: (H, W, 3) uint8 sRGB; all frames must have the same size.
            world_from_camera: (4, 4) pose, OpenGL axes (+x right, +y up, -z forward), world units.
            intrinsics: (4,) fx, fy, cx, cy in pixels.

        Returns:
            Counts of the frames so far.

        Raises:
            NerfclError: the frame is invalid and was ignored, or learning has failed.
        """
        frame = posed_frame(image, world_from_camera, intrinsics, self._seen)
        with self._changed:
            self._raise_error()
            size = (frame.width, frame.height)
            if self._size is not None and size != self._size:
                raise NerfclError(
                    f"frame {self._seen}: is {size[0]}x{size[1]}, but the first was {self._size[0]}x{self._size[1]}; "
                    "all frames of a stream must have the same size"
                )
            self._refuse_if_closed()
            self._size = size
            full = len(self._waiting) >= self._queue.queue_frames
            self._start()
            if full and self._queue.when_full == "drop-oldest":
                self._waiting.popleft()
                self._dropped += 1
            elif full:
                self._changed.wait_for(
                    lambda: len(self._waiting) < self._queue.queue_frames or self._error or self._closing
                )
                self._raise_error()
                self._refuse_if_closed()
            self._waiting.append(frame)
            self._seen += 1
            self._changed.notify_all()
            return replace(self._observed(), full=full)

    def status(self) -> Observed:
        """Return counts of the frames so far."""
        with self._changed:
            self._raise_error()
            return self._observed()

    def render(self, camera: Camera, *, rays_per_pixel: int = 1) -> Rendering:
        """Render a view between two training steps; see `render_image`."""
        with self._lock.read():
            return render_image(self._learner.evaluated_model, camera, rays_per_pixel=rays_per_pixel)

    @property
    def evaluated_model(self) -> Model:
        """The model to render with, read between two training steps; a copy if parameters are averaged."""
        with self._lock.read():
            return self._learner.evaluated_model

    def finish(self) -> Observed:
        """Wait until all frames are learned, including an incomplete last chunk."""
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
        """End the thread after the current step; waiting frames are not learned."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def save(self, path: str | Path) -> None:
        """Save everything needed to resume exactly, including waiting frames.

        Raises:
            NerfclError: the file cannot be written.
        """
        with self._lock.read(), self._changed:
            self._raise_error()
            self._write(Path(path))

    @classmethod
    def load(cls, path: str | Path, strategy: Strategy | None = None, device: torch.device | str = "cpu") -> Self:
        """Load a learner, which resumes where it was saved.

        Args:
            path: file written by `save`.
            strategy: required if it is a custom one.
            device: device to compute on.

        Raises:
            NerfclError: the file is missing, damaged, or not an online learner's.
        """
        checkpoint = load_checkpoint(Path(path))
        model = checkpoint.model_settings
        if "frames" not in checkpoint.extra:
            raise NerfclError(f"{path}: is a run's checkpoint, not an OnlineLearner's; resume it with `nerfcl run`")
        try:
            experiment = experiment_of(checkpoint, strategy)
        except NerfclError as error:
            raise NerfclError(f"{path}: ", *error.args) from None
        experiment = replace(experiment, device=torch.device(device).type)
        loaded = cls(model, device=device, experiment=experiment)
        resume(loaded._learner, checkpoint, experiment.training.optimiser)
        loaded._restore_frames(checkpoint.extra)
        return loaded

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._closing:
            self.finish()
        self.close()

    def _write(self, path: Path) -> None:
        frames = [*([] if self._chunk is None else [self._chunk]), *self._waiting]
        extra = {
            "in_flight": self._chunk is not None,
            "frames": [[frame.images, frame.poses, frame.intrinsics] for frame in frames],
            "seen": self._seen,
            "dropped": self._dropped,
            "size": self._size,
        }
        save_checkpoint(path, self._learner, self.experiment.to_plain(), self.model_settings, extra=extra)

    def _restore_frames(self, extra: dict[str, Any]) -> None:
        frames = [unnamed_views(*parts) for parts in extra["frames"]]
        if extra["in_flight"]:
            self._chunk = frames.pop(0)
        self._waiting.extend(frames)
        self._seen, self._dropped = extra["seen"], extra["dropped"]
        self._kept = self._frames_kept()
        self._size = None if extra["size"] is None else tuple(extra["size"])
        if frames or self._chunk is not None:
            self._start()

    def _frames_kept(self) -> int:
        return int(self._learner.strategy.metrics(self._learner.state).get("frames_kept", 0))

    def _observed(self) -> Observed:
        waiting = len(self._waiting) + (0 if self._chunk is None else len(self._chunk))
        history = self._learner.history
        return Observed(self._seen, waiting, self._dropped, self._kept, history.steps, history.memory_bytes)

    @property
    def _idle(self) -> bool:
        return not self._waiting and self._chunk is None

    def _refuse_if_closed(self) -> None:
        if self._finishing or self._closing:
            raise NerfclError(_CLOSED)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise NerfclError(f"learning failed: {self._error}") from self._error

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._learn, name="nerfcl online learner", daemon=True)
            self._thread.start()

    def _learn(self) -> None:
        """Learn chunk after chunk; runs in the thread."""
        try:
            while self._take_chunk():
                assert self._chunk is not None
                name = f"chunk {self._learner.done + 1}"
                empty = self._chunk.select([])
                experience = Experience(name, self._chunk, empty, empty, announced=False)
                with self._lock.train():
                    callbacks = [_BetweenSteps(self)]
                    if not learn_experience(self._learner, experience, self.experiment.training, callbacks):
                        return
                    with self._changed:
                        self._kept = self._frames_kept()
                        self._chunk = None
                        if self.autosave is not None:
                            self._write(self.autosave)
                        self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _take_chunk(self) -> bool:
        """Wait for a chunk of frames; False if the learner was closed instead."""

        def ready() -> bool:
            enough = len(self._waiting) >= self._queue.chunk_frames or (self._finishing and bool(self._waiting))
            return self._closing or self._chunk is not None or enough

        with self._changed:
            self._changed.wait_for(ready)
            if self._closing:
                return False
            if self._chunk is None:
                count = min(self._queue.chunk_frames, len(self._waiting))
                self._chunk = Views.concatenate([self._waiting.popleft() for _ in range(count)])
                self._changed.notify_all()
            return True


class _BetweenSteps(Callback):
    """Lets other threads use the model between two training steps, and stops training when the learner is closed."""

    def __init__(self, learner: OnlineLearner) -> None:
        self._online = learner

    def on_step(self, learner: Learner, report: StepReport) -> bool:
        del learner, report
        if self._online._closing:
            return True
        self._online._lock.between_steps()
        return False


def _queue_of(experiment: Experiment) -> PushedStream:
    if isinstance(experiment.stream, WatchedStream):
        return experiment.stream.queue
    if not isinstance(experiment.stream, PushedStream):
        raise NerfclError("an OnlineLearner takes pushed frames only; use `nerfcl.learn` for those of a scene")
    return experiment.stream
