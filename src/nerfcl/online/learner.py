"""A learner for an endless camera stream: it takes posed frames, and renders any view at any time."""

from __future__ import annotations

import threading
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
from nerfcl.errors import Argument, NerfclError
from nerfcl.models.fields.field import FieldSettings
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.rendering.model import Model, ModelSettings, Rendering, render_image
from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.online.queue import FrameQueue
from nerfcl.online.settings import Observed, OnlineSettings
from nerfcl.online.step_lock import StepLock
from nerfcl.scenes.cameras import Camera
from nerfcl.scenes.frame import posed_frame
from nerfcl.scenes.scene import SMALLEST_IMAGE, Box, Views
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.stream import Experience
from nerfcl.training.callbacks import Callback, StepReport
from nerfcl.training.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.training.learner import Learner, new_learner
from nerfcl.training.loop import check_boundaries, learn_experience

LEARNING_THREAD = "nerfcl-learning"


class OnlineLearner:
    """Learns a stream of frames in a background thread; as a context manager, it learns waiting frames before it exits.

    With `when_full="block"` the result depends only on the frames and their order, not on when they arrive.

    Every method may be called from any thread. It is open, then closed by `close`, or failed by an error while
    learning; see `FrameQueue` for the states of frames. Within a strategy's hook, which runs in the background thread,
    `render`, `status` and `close` work, `observe` unless it had to wait, and `finish` and `save` raise an error.

    =============================  ===========================  ========================  ==================
    method                         open                         closed                    failed
    =============================  ===========================  ========================  ==================
    `observe`                      queues, waits or drops       error                     error
    `finish`                       waits for frames so far      error if frames are left  error
    `render`, `evaluated_model`    between two steps            at once                   at once
    `status`                       counts                       counts                    error
    `save`                         between two steps            at once                   error
    `close`                        ends the thread              waits for its end         waits for its end
    =============================  ===========================  ========================  ==================

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
        self._queue = FrameQueue(_queue_of(self.experiment))
        self._learner = new_learner(strategy, lambda: model.build(seed, device), seed)
        self._kept = 0
        self._thread: threading.Thread | None = None
        self._lock = StepLock()  # guards the learner; is taken before the queue's

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

        Raises:
            NerfclError: an argument is not finite, or too small.
        """
        if image_width < SMALLEST_IMAGE:
            raise NerfclError(Argument("image_width", image_width), f": must be at least {SMALLEST_IMAGE}")
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
        frame = posed_frame(image, world_from_camera, intrinsics, self._queue.seen)
        full = self._queue.put(frame, may_wait=not self._lock.is_held)
        self._start()
        return replace(self._observed(), full=full)

    def status(self) -> Observed:
        """Return counts of the frames so far."""
        self._queue.check_failed()
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
        """Wait until all frames observed so far are learned, including an incomplete last chunk.

        Raises:
            NerfclError: the learner was closed before, learning has failed, or this is called from a strategy.
        """
        self._refuse_within("finish")
        self._queue.finish()
        return self.status()

    def close(self) -> None:
        """End the thread after the current step; waiting frames are not learned."""
        self._queue.close()
        if self._thread is not None and not self._lock.is_held:
            self._thread.join()

    def save(self, path: str | Path) -> None:
        """Save everything needed to resume exactly, including waiting frames.

        Raises:
            NerfclError: the file cannot be written, learning has failed, or this is called from a strategy.
        """
        self._refuse_within("save")
        with self._lock.read():
            self._queue.check_failed()
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
        try:
            resume(loaded._learner, checkpoint, experiment.training.optimiser)
            loaded._restore_frames(checkpoint.extra)
        except NerfclError as error:
            raise NerfclError(f"{path}: ", *error.args) from None
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise NerfclError(f"{path}: is not a complete checkpoint ({error!r}); use another one") from None
        return loaded

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._queue.closed:
            self.finish()
        self.close()

    def _write(self, path: Path, *, is_learned: bool = False, keep_previous: bool = False) -> None:
        """Write a checkpoint.

        Args:
            path: file to write.
            is_learned: whether the chunk in flight has just been learned.
            keep_previous: see `save_checkpoint`.
        """
        queue = self._queue
        with queue.changed:
            in_flight = queue.chunk is not None and not is_learned
            frames = queue.frames()[1 if is_learned else 0 :]
            counts = {"seen": queue.seen, "dropped": queue.dropped, "size": queue.size}
        extra = {
            "in_flight": in_flight,
            "frames": [[frame.images, frame.poses, frame.intrinsics] for frame in frames],
            **counts,
        }
        experiment, model = self.experiment.to_plain(), self.model_settings
        save_checkpoint(path, self._learner, experiment, model, extra=extra, keep_previous=keep_previous)

    def _restore_frames(self, extra: dict[str, Any]) -> None:
        """Restore what `_write` saved.

        Raises:
            KeyError, TypeError, ValueError, NerfclError: it is incomplete or damaged.
        """
        frames = []
        for number, (images, poses, intrinsics) in enumerate(extra["frames"]):
            parts = zip(images, poses, intrinsics, strict=True)
            frames.append(Views.concatenate([posed_frame(*part, number) for part in parts]))
        counts, size = (extra["seen"], extra["dropped"]), extra["size"]
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError(f"frames were seen and dropped {counts} times")
        if size is not None and not (len(size) == 2 and all(isinstance(side, int) for side in size)):
            raise ValueError(f"frames of size {size!r}")
        self._queue.restore(frames, bool(extra["in_flight"]), *counts)
        self._queue.size = None if size is None else tuple(size)
        self._kept = self._frames_kept()
        if frames:
            self._start()

    def _observed(self) -> Observed:
        queue, history = self._queue, self._learner.history
        with queue.changed:
            counts = queue.seen, queue.unlearned, queue.dropped, self._kept
        return Observed(*counts, history.steps, history.memory_bytes)

    def _frames_kept(self) -> int:
        return int(self._learner.strategy.metrics(self._learner.state).get("frames_kept", 0))

    def _refuse_within(self, method: str) -> None:
        if self._lock.is_held:
            raise NerfclError(f"{method}: cannot be called from a strategy, which it would wait for")

    def _start(self) -> None:
        with self._queue.changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._learn, name=LEARNING_THREAD, daemon=True)
                self._thread.start()

    def _learn(self) -> None:
        """Learn chunk after chunk; runs in the thread."""
        try:
            while (chunk := self._queue.take()) is not None:
                empty = chunk.select([])
                experience = Experience(f"chunk {self._learner.done + 1}", chunk, empty, empty, announced=False)
                with self._lock.train():
                    callbacks = [_BetweenSteps(self)]
                    if not learn_experience(self._learner, experience, self.experiment.training, callbacks):
                        return
                    self._kept = self._frames_kept()
                    if self.autosave is not None:
                        self._write(self.autosave, is_learned=True, keep_previous=True)
                    self._queue.done()
        except BaseException as error:
            self._queue.fail(error)


class _BetweenSteps(Callback):
    """Lets other threads use the model between two training steps, and stops training when the learner is closed."""

    def __init__(self, learner: OnlineLearner) -> None:
        self._online = learner

    def on_step(self, learner: Learner, report: StepReport) -> bool:
        del learner, report
        if self._online._queue.closed:
            return True
        self._online._lock.between_steps()
        return False


def _queue_of(experiment: Experiment) -> PushedStream:
    if isinstance(experiment.stream, WatchedStream):
        return experiment.stream.queue
    if not isinstance(experiment.stream, PushedStream):
        raise NerfclError("an OnlineLearner takes pushed frames only; use `nerfcl.learn` for those of a scene")
    return experiment.stream
