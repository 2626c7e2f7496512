"""The one loop: every strategy, every stream."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from nerfcl.cameras import pixel_offsets, pixel_rays, stratified_offsets
from nerfcl.errors import NerfclError
from nerfcl.evaluation import EvaluationSettings, evaluate, render_uint8
from nerfcl.optimisation import Adam, warm_cosine
from nerfcl.pixels import draw_pixels
from nerfcl.randomness import seeded
from nerfcl.rendering.rendering import Model
from nerfcl.scenes.scene import Views
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams import Experience, Stream

_MOST_RAYS = 2**24


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to learn, and how often to look.

    Attributes:
        steps: steps per experience.
        rays: new rays a step: pixels times rays per pixel.
        rays_per_pixel: rays averaged over each pixel's area, a square number that divides `rays`.
        learning_rate: its peak within an experience.
        warm_up: steps over which it rises.
        final_rate: its share that is left at the end of an experience.
        pixel_center: where a pixel's centre lies; 0.5 is right, 0.0 reproduces the reference project.
        evaluate_every: steps between evaluations within an experience.
        evaluate_views: validation views per experience that those look at.
        frame_every: steps between renderings of the watched view.
    """

    steps: int = 1500
    rays: int = 1024
    rays_per_pixel: int = 1
    learning_rate: float = 2e-2
    warm_up: int = 50
    final_rate: float = 0.05
    pixel_center: float = 0.5
    evaluate_every: int = 125
    evaluate_views: int = 4
    frame_every: int = 25


@dataclass
class History:
    """What is known of a run so far; saved with every checkpoint.

    Attributes:
        R: row i holds the mean test PSNR (dB) on every experience after experience i.
        psnr, ssim: [i][j] per-view values behind R[i][j].
        curve: looks while training: (experiences so far as a fraction, mean validation PSNR of every experience).
        frames: (experiences so far as a fraction, (H, W, 3) uint8): the watched view while training.
        pictures: [i] maps positions of the first experience's test views to renderings after experience i.
        steps: training steps so far.
        training, evaluation, compilation: seconds spent so far.
        memory_bytes: bytes that the strategy keeps of the past.
    """

    R: list[list[float]] = field(default_factory=list)
    psnr: list[list[list[float]]] = field(default_factory=list)
    ssim: list[list[list[float]]] = field(default_factory=list)
    curve: list[tuple[float, list[float]]] = field(default_factory=list)
    frames: list[tuple[float, np.ndarray]] = field(default_factory=list)
    pictures: list[dict[int, np.ndarray]] = field(default_factory=list)
    steps: int = 0
    training: float = 0.0
    evaluation: float = 0.0
    compilation: float = 0.0
    memory_bytes: int = 0


@dataclass
class Learner:
    """Everything that changes while learning.

    Attributes:
        strategy: how the past is used.
        new_model: makes an untrained model.
        seed: of everything random; the same seed gives the same result on the same machine.
        model: what is learned.
        state: the strategy's state.
        history: what is known of the run so far.
        done: experiences that are over.
    """

    strategy: Strategy
    new_model: Callable[[], Model]
    seed: int
    model: Model
    state: Any
    history: History = field(default_factory=History)
    done: int = 0


def new_learner(strategy: Strategy, new_model: Callable[[], Model], seed: int) -> Learner:
    """A learner that has not learned anything yet."""
    return Learner(strategy, new_model, seed, new_model(), strategy.new_state(seeded(seed, "strategy")))


@dataclass(frozen=True)
class StepReport:
    """One training step, as observers see it.

    Attributes:
        step: steps so far over the whole stream, this one included.
        last_step: the number of the stream's last step.
        task: name of the experience.
        loss: of the step's batch; read at every tenth step and at the last, since reading it waits for the device.
        learning_rate: of this step.
        rays: rays of the batch, old ones included.
        samples: points at which the field was evaluated.
        seconds: training seconds so far.
    """

    step: int
    last_step: int
    task: str
    loss: float | None
    learning_rate: float
    rays: int
    samples: int
    seconds: float


class Observer(Protocol):
    """Someone who watches a run, and changes nothing."""

    def stepped(self, report: StepReport) -> None:
        """After every training step."""
        ...

    def looked(self, history: History) -> None:
        """After the curve or the frames got longer."""
        ...

    def finished(self, learner: Learner) -> None:
        """After an experience was learned and scored."""
        ...


def learn(
    stream: Stream,
    learner: Learner,
    settings: TrainingSettings,
    observers: Sequence[Observer] = (),
    *,
    until: int | None = None,
) -> History:
    """Learns the experiences of a stream that are not done yet, one after the other.

    Args:
        stream: what there is to learn.
        learner: where it stands; changed.
        settings: how long and how fast.
        observers: who watches.
        until: stop when so many experiences are done; None goes on to the end.

    Returns:
        The learner's history.

    Raises:
        NerfclError: strategy, stream and settings do not fit together, or the loss is no longer finite.
    """
    check(stream, learner.strategy, settings)
    until = len(stream) if until is None else until
    strategy, state, history = learner.strategy, learner.state, learner.history
    pixels_a_step = settings.rays // settings.rays_per_pixel
    last_step = history.steps + sum(steps_of(strategy, i, settings) for i in range(learner.done, until))

    for index in range(learner.done, until):
        experience, steps = stream[index], steps_of(strategy, index, settings)
        if strategy.from_scratch and index:
            learner.model = learner.new_model()
        model = learner.model
        optimiser = Adam(model.parameters())
        generator = seeded(learner.seed, f"experience {index}")
        strategy.begin(state, experience)

        for step in range(steps):
            started = time.perf_counter()
            rate = warm_cosine(step, steps, settings.learning_rate, settings.warm_up, settings.final_rate)
            model.begin_step(generator)
            batch = strategy.batch(state, draw_pixels(experience.train, pixels_a_step, generator))
            offsets = stratified_offsets(
                len(batch), settings.rays_per_pixel, generator, center=settings.pixel_center
            )  # (B, S, 2)
            rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, offsets)  # B * S
            rendering = model.render(rays, generator)
            loss = strategy.loss(state, rendering, batch)
            loss.backward()
            strategy.after_backward(state, model)
            optimiser.step(rate)

            history.steps += 1
            value = _read_loss(loss, history.steps, last_step, settings)
            history.training += time.perf_counter() - started
            report = StepReport(
                history.steps, last_step, experience.name, value, rate, len(rays), rendering.samples, history.training
            )
            for observer in observers:
                observer.stepped(report)
            _look_if_due(learner, stream, settings, index, step + 1, steps, observers)

        _close_experience(learner, stream, settings)
        for observer in observers:
            observer.finished(learner)
    return history


def _close_experience(learner: Learner, stream: Stream, settings: TrainingSettings) -> None:
    """Lets the strategy keep what it wants of the experience that was just learned, and scores the model."""
    _keep(learner, stream[learner.done])
    _score(learner, stream, settings)
    learner.done += 1


def take_over_first(learner: Learner, shared: Learner, stream: Stream) -> None:
    """Gives a new learner the first experience as another one learned it; until it ends, all strategies are alike."""
    learner.model, learner.history, learner.done = shared.model, shared.history, 1
    learner.strategy.begin(learner.state, stream[0])
    _keep(learner, stream[0])


def _keep(learner: Learner, experience: Experience) -> None:
    learner.strategy.end(learner.state, experience, learner.model)
    learner.history.memory_bytes = 0 if learner.state is None else learner.state.nbytes


def check(stream: Stream, strategy: Strategy, settings: TrainingSettings) -> None:
    """Refuses early what cannot work.

    Raises:
        NerfclError: says which option to change.
    """
    if strategy.needs_boundaries and not all(experience.announced for experience in stream):
        raise NerfclError(
            f"strategy '{type(strategy).__name__}' needs to be told where tasks end, and this stream does not announce "
            "it; choose a strategy that works without boundaries"
        )
    if settings.steps < 1:
        raise NerfclError(f"--steps {settings.steps}: must be at least 1")
    pixel_offsets(settings.rays_per_pixel)
    if settings.rays < 1 or settings.rays % settings.rays_per_pixel:
        raise NerfclError(
            f"--rays {settings.rays}: must be a positive multiple of --rays-per-pixel {settings.rays_per_pixel}"
        )
    for option in ("evaluate_every", "evaluate_views", "frame_every"):
        if getattr(settings, option) < 1:
            raise NerfclError(f"--{option.replace('_', '-')} {getattr(settings, option)}: must be at least 1")
    if not 0.0 < settings.learning_rate < math.inf:
        raise NerfclError(f"--learning-rate {settings.learning_rate}: must be a number greater than 0")
    if not 0.0 <= settings.pixel_center <= 1.0:
        raise NerfclError(f"--pixel-center {settings.pixel_center}: must lie between 0 and 1")
    if settings.rays > _MOST_RAYS:
        raise NerfclError(f"--rays {settings.rays}: more than {_MOST_RAYS:,} do not fit into memory")


def steps_of(strategy: Strategy, index: int, settings: TrainingSettings) -> int:
    """Training steps for experience `index`: all steps so far where a strategy begins from scratch."""
    return settings.steps * (index + 1 if strategy.from_scratch else 1)


def _read_loss(loss: torch.Tensor, step: int, last_step: int, settings: TrainingSettings) -> float | None:
    if step % 10 and step not in (1, last_step):
        return None
    value = loss.item()
    if not math.isfinite(value):
        raise NerfclError(
            f"the loss is {value} at step {step}: training diverged; lower --learning-rate {settings.learning_rate}"
        )
    return value


def _look_if_due(
    learner: Learner,
    stream: Stream,
    settings: TrainingSettings,
    index: int,
    step: int,
    steps: int,
    observers: Sequence[Observer],
) -> None:
    """Adds to the curve and to the frames, when it is time for either."""
    started = time.perf_counter()
    history, where = learner.history, index + step / steps
    curve_due = step % settings.evaluate_every == 0 or step == steps
    frame_due = step % settings.frame_every == 0 or step == steps
    how = EvaluationSettings(settings.rays_per_pixel, settings.pixel_center)
    if curve_due:
        watched = (_spread_out(experience.val, settings.evaluate_views) for experience in stream)
        scores = [evaluate(learner.model, views, how, with_ssim=False).mean_psnr for views in watched]
        history.curve.append((where, scores))
    if frame_due:
        frame = render_uint8(learner.model, stream[0].test, watched_view(stream), how)
        history.frames.append((where, frame))
    history.evaluation += time.perf_counter() - started
    if curve_due or frame_due:
        for observer in observers:
            observer.looked(history)


def _score(learner: Learner, stream: Stream, settings: TrainingSettings) -> None:
    started = time.perf_counter()
    history = learner.history
    how = EvaluationSettings(settings.rays_per_pixel, settings.pixel_center)
    shown = picture_positions(stream[0].test)
    scores = [
        evaluate(learner.model, experience.test, how, keep_images=shown if j == 0 else ())
        for j, experience in enumerate(stream)
    ]
    history.R.append([score.mean_psnr for score in scores])
    history.psnr.append([score.psnr for score in scores])
    history.ssim.append([score.ssim for score in scores])
    history.pictures.append(scores[0].images)
    history.evaluation += time.perf_counter() - started


def watched_view(stream: Stream) -> int:
    """Position of the test view of the first experience that the frames show.

    It is the one whose camera is farthest from all cameras of later training: there forgetting shows.
    """
    first = stream[0].test
    if len(stream) == 1:
        return len(first) // 2
    later = torch.cat([experience.train.poses[:, :3, 3] for experience in stream[1:]])
    return int(torch.cdist(first.poses[:, :3, 3], later).amin(1).argmax())


def picture_positions(views: Views, count: int = 4) -> tuple[int, ...]:
    """Positions of a few views spread evenly over all."""
    return tuple(sorted({round((i + 0.5) * len(views) / count - 0.5) for i in range(count)}))


def _spread_out(views: Views, count: int) -> Views:
    return views.select(picture_positions(views, count))
