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
from nerfcl.evaluation import evaluate, render_uint8
from nerfcl.optimisation import Moment, OptimisationSettings, Optimiser, make_optimiser, rate_at
from nerfcl.pixels import Pixels, pixels_at
from nerfcl.randomness import seeded
from nerfcl.rendering.rendering import Model, Rendering
from nerfcl.sampling import Passes
from nerfcl.scenes.scene import Views
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams import Experience, Stream

_MOST_RAYS = 2**24


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to learn, and how often to look.

    Attributes:
        steps: steps per experience.
        epochs: passes over each experience's rays instead of `steps`, where it is not None.
        rays: new rays a step: pixels times rays per pixel.
        rays_per_pixel: rays averaged over each pixel's area, a square number that divides `rays`.
        optimisation: which optimiser, and how its learning rate goes.
        keep_optimiser: whether it goes on when an announced experience begins; when it is not announced, it does.
        evaluate_every: steps between evaluations within an experience.
        evaluate_views: validation views per experience that those look at.
        frame_every: steps between renderings of the watched view.
    """

    steps: int = 1500
    epochs: int | None = None
    rays: int = 1024
    rays_per_pixel: int = 1
    optimisation: OptimisationSettings = field(default_factory=OptimisationSettings)
    keep_optimiser: bool = False
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
        looks: [k][j]: per-view values behind the mean of experience j in curve[k].
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
    looks: list[list[list[float]]] = field(default_factory=list)
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
        at: steps into the present experience.
        epochs: whole passes over their rays that past experiences took.
        generator: of the present experience's randomness.
        order: in which the present experience's pixels come.
        optimiser: of the model; None before the first step.
    """

    strategy: Strategy
    new_model: Callable[[], Model]
    seed: int
    model: Model
    state: Any
    history: History = field(default_factory=History)
    done: int = 0
    at: int = 0
    epochs: int = 0
    generator: torch.Generator = field(default_factory=torch.Generator)
    order: Passes | None = None
    optimiser: Optimiser | None = None


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
        epoch: whole passes over the experiences' rays since the beginning.
        losses: the parts of the loss by name, and "psnr" of the new rays; read at every tenth step and at the last,
            since reading waits for the device; None at others.
        learning_rate: of this step.
        rays: rays of the batch, old ones included.
        samples: points at which the field was evaluated.
        seconds: training seconds so far.
    """

    step: int
    last_step: int
    task: str
    epoch: int
    losses: dict[str, float] | None
    learning_rate: float
    rays: int
    samples: int
    seconds: float

    @property
    def loss(self) -> float | None:
        """The sum of its parts, where they were read."""
        return None if self.losses is None else sum(part for name, part in self.losses.items() if name != "psnr")


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
    remaining = sum(steps_of(strategy, stream, i, settings) for i in range(learner.done, until)) - learner.at
    last_step = history.steps + remaining
    epochs = sum(-(-_plain_steps(part, settings) // steps_a_pass(part, settings)) for part in stream)

    while learner.done < until:
        experience, steps = stream[learner.done], steps_of(strategy, stream, learner.done, settings)
        order, optimiser = _open_experience(learner, experience, settings)
        model = learner.model

        while learner.at < steps:
            started = time.perf_counter()
            moment = Moment(learner.at, steps, _epoch(learner, stream, settings, steps), epochs)
            rate = rate_at(moment, settings.optimisation)
            model.begin_step(learner.generator)
            batch = strategy.batch(state, pixels_at(experience.train, order.next(pixels_a_step)))
            offsets = stratified_offsets(len(batch), settings.rays_per_pixel, learner.generator)  # (B, S, 2)
            rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, offsets)  # B * S
            rendering = model.render(rays, learner.generator)
            losses = strategy.loss(state, rendering, batch)
            torch.stack(list(losses.values())).sum().backward()
            strategy.after_backward(state, model)
            optimiser.step(rate)

            learner.at += 1
            history.steps += 1
            read = history.steps % 10 == 0 or history.steps in (1, last_step)
            values = _read(losses, rendering, batch, learner) if read else None
            history.training += time.perf_counter() - started
            where = (history.steps, last_step, experience.name, int(moment.epoch))
            report = StepReport(*where, values, rate, len(rays), rendering.samples, history.training)
            _look_if_due(learner, stream, settings, steps, observers)
            for observer in observers:  # last: who stops here loses nothing
                observer.stepped(report)

        _close_experience(learner, stream, settings)
        for observer in observers:
            observer.finished(learner)
    return history


def _open_experience(learner: Learner, experience: Experience, settings: TrainingSettings) -> tuple[Passes, Optimiser]:
    """Makes what lasts as long as an experience, or takes it up again where the learner stands within one."""
    if learner.order is None or learner.optimiser is None or not learner.at:
        fresh = learner.strategy.from_scratch and learner.done > 0
        if fresh:
            learner.model = learner.new_model()
        if fresh or learner.optimiser is None or (experience.announced and not settings.keep_optimiser):
            learner.optimiser = make_optimiser(learner.model.parameters(), settings.optimisation)
        learner.generator = seeded(learner.seed, f"experience {learner.done}")
        learner.order = Passes(_rays_of(experience), learner.generator)
        learner.strategy.begin(learner.state, experience, learner.model)
    return learner.order, learner.optimiser


def _epoch(learner: Learner, stream: Stream, settings: TrainingSettings, steps: int) -> float:
    """Passes so far; a strategy that begins from scratch spreads all passes so far over its steps."""
    if learner.strategy.from_scratch and learner.done:
        so_far = stream[: learner.done + 1]
        passes = sum(_plain_steps(part, settings) / steps_a_pass(part, settings) for part in so_far)
        return learner.at / steps * passes
    return learner.epochs + learner.at / steps_a_pass(stream[learner.done], settings)


def _close_experience(learner: Learner, stream: Stream, settings: TrainingSettings) -> None:
    """Lets the strategy keep what it wants of the experience that was just learned, and scores the model."""
    _keep(learner, stream[learner.done])
    _score(learner, stream, settings)
    learner.epochs += learner.at // steps_a_pass(stream[learner.done], settings)
    learner.done, learner.at = learner.done + 1, 0


def take_over_first(learner: Learner, shared: Learner, stream: Stream) -> None:
    """Gives a new learner the first experience as another one learned it; until it ends, all strategies are alike."""
    learner.model, learner.history, learner.done = shared.model, shared.history, 1
    learner.epochs, learner.optimiser = shared.epochs, shared.optimiser
    learner.strategy.begin(learner.state, stream[0], learner.model)
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
    if settings.epochs is not None and settings.epochs < 1:
        raise NerfclError(f"--epochs {settings.epochs}: must be at least 1")
    pixel_offsets(settings.rays_per_pixel)
    if settings.rays < 1 or settings.rays % settings.rays_per_pixel:
        raise NerfclError(
            f"--rays {settings.rays}: must be a positive multiple of --rays-per-pixel {settings.rays_per_pixel}"
        )
    for option in ("evaluate_every", "evaluate_views", "frame_every"):
        if getattr(settings, option) < 1:
            raise NerfclError(f"--{option.replace('_', '-')} {getattr(settings, option)}: must be at least 1")
    if settings.rays > _MOST_RAYS:
        raise NerfclError(f"--rays {settings.rays}: more than {_MOST_RAYS:,} do not fit into memory")


def steps_of(strategy: Strategy, stream: Stream, index: int, settings: TrainingSettings) -> int:
    """Training steps for experience `index`: all steps so far where a strategy begins from scratch."""
    taken = stream[: index + 1] if strategy.from_scratch else (stream[index],)
    return sum(_plain_steps(experience, settings) for experience in taken)


def steps_a_pass(experience: Experience, settings: TrainingSettings) -> int:
    """Steps in which every pixel of an experience's train views comes once; the last one goes on into the next pass."""
    return -(-_rays_of(experience) // (settings.rays // settings.rays_per_pixel))


def _plain_steps(experience: Experience, settings: TrainingSettings) -> int:
    return settings.steps if settings.epochs is None else settings.epochs * steps_a_pass(experience, settings)


def _rays_of(experience: Experience) -> int:
    return len(experience.train) * experience.train.height * experience.train.width


def _read(losses: dict[str, torch.Tensor], rendering: Rendering, batch: Pixels, learner: Learner) -> dict[str, float]:
    values = {name: part.item() for name, part in losses.items()}
    total = sum(values.values())
    if not math.isfinite(total):
        step = learner.history.steps
        raise NerfclError(f"the loss is {total} at step {step}: training diverged; lower --learning-rate")
    new = batch.new or len(batch)
    error = (rendering.rgb[:new].detach().cpu() - batch.colours[:new]).square().mean().item()
    return {**values, "psnr": -10.0 * math.log10(max(error, 1e-10))}


def _look_if_due(
    learner: Learner,
    stream: Stream,
    settings: TrainingSettings,
    steps: int,
    observers: Sequence[Observer],
) -> None:
    """Adds to the curve and to the frames, when it is time for either."""
    started = time.perf_counter()
    history, step, where = learner.history, learner.at, learner.done + learner.at / steps
    curve_due = step % settings.evaluate_every == 0 or step == steps
    frame_due = step % settings.frame_every == 0 or step == steps
    if curve_due:
        watched = (_spread_out(experience.val, settings.evaluate_views) for experience in stream)
        scores = [
            evaluate(learner.model, views, rays_per_pixel=settings.rays_per_pixel, with_ssim=False) for views in watched
        ]
        history.curve.append((where, [score.mean_psnr for score in scores]))
        history.looks.append([score.psnr for score in scores])
    if frame_due:
        frame = render_uint8(learner.model, stream[0].test, watched_view(stream), settings.rays_per_pixel)
        history.frames.append((where, frame))
    history.evaluation += time.perf_counter() - started
    if curve_due or frame_due:
        for observer in observers:
            observer.looked(history)


def _score(learner: Learner, stream: Stream, settings: TrainingSettings) -> None:
    started = time.perf_counter()
    history = learner.history
    shown = picture_positions(stream[0].test)
    scores = [
        evaluate(
            learner.model,
            experience.test,
            rays_per_pixel=settings.rays_per_pixel,
            keep_images=shown if j == 0 else (),
        )
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
