"""The one loop: every strategy, every stream."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import Rendering
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays, stratified_offsets
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.sampling import Passes
from nerfcl.streams.tasks import Experience, Stream
from nerfcl.training.learner import History, Learner, Observer, StepReport, TrainingSettings
from nerfcl.training.looks import look_if_due, score_if_due
from nerfcl.training.optimisation import Moment, Optimiser, make_optimiser, mean_of, rate_at

_MOST_RAYS = 2**24


@dataclass(frozen=True)
class Stretch:
    """An experience's place in the stream.

    Attributes:
        steps: training steps of the experience.
        last_step: the number of the stream's last step.
        steps_a_pass: in which every pixel of the experience comes once.
        first_epoch: passes before the experience.
        epochs: passes of the whole stream.
    """

    steps: int
    last_step: int
    steps_a_pass: float
    first_epoch: int = 0
    epochs: int = 1


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
    remaining = sum(steps_of(learner.strategy, stream, i, settings) for i in range(learner.done, until)) - learner.at
    last_step = learner.history.steps + remaining

    while learner.done < until:
        stretch = _stretch(learner, stream, settings, last_step)
        learn_experience(
            learner, stream[learner.done], settings, observers, stretch,
            look=lambda steps=stretch.steps: look_if_due(learner, stream, settings, steps),
            score=lambda: score_if_due(learner, stream, settings),
        )  # fmt: skip
    return learner.history


def learn_experience(
    learner: Learner,
    experience: Experience,
    settings: TrainingSettings,
    observers: Sequence[Observer] = (),
    stretch: Stretch | None = None,
    *,
    look: Callable[[], bool] = lambda: False,
    score: Callable[[], None] = lambda: None,
) -> None:
    """Learns one experience, from where the learner stands within it to its end.

    Args:
        learner: where it stands; changed.
        experience: what there is to learn.
        settings: how long and how fast.
        observers: who watches.
        stretch: its place in the stream; None is that of a stream whose end is not known.
        look: called after every step; whether something was looked at.
        score: called when the experience was learned, before it counts as done.

    Raises:
        NerfclError: the loss is no longer finite.
    """
    strategy, state, history = learner.strategy, learner.state, learner.history
    if stretch is None:
        last = history.steps - learner.at + settings.steps
        stretch = Stretch(settings.steps, last, steps_a_pass(experience, settings), learner.epochs)
    order, optimiser = _open_experience(learner, experience, settings)
    model = learner.model

    while learner.at < stretch.steps:
        started = time.perf_counter()
        epoch = stretch.first_epoch + learner.at / stretch.steps_a_pass
        rate = rate_at(Moment(learner.at, stretch.steps, epoch, stretch.epochs, history.steps), settings.optimisation)
        model.begin_step(learner.generator)
        batch = strategy.batch(state, pixels_at(experience.train, order.next(settings.rays // settings.rays_per_pixel)))
        offsets = stratified_offsets(len(batch), settings.rays_per_pixel, learner.generator)  # (B, S, 2)
        rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, offsets)  # B * S
        rendering = model.render(rays, learner.generator)
        losses = strategy.loss(state, rendering, batch)
        torch.stack(list(losses.values())).sum().backward()
        strategy.after_backward(state, model)
        optimiser.step(rate)
        if learner.mean is not None:
            learner.mean.follow(model)

        learner.at += 1
        history.steps += 1
        read = history.steps % 10 == 0 or history.steps in (1, stretch.last_step)
        values = _read(losses, rendering, batch, learner) if read else None
        history.training += time.perf_counter() - started
        looked = look()
        report = StepReport(
            history.steps, stretch.last_step, experience.name, int(epoch), values, rate, len(rays), rendering.samples,
            history.training, strategy.figures(state) if read else {},
        )  # fmt: skip
        for observer in observers:
            if looked:
                observer.looked(history)
            observer.stepped(report)  # last: who stops here loses nothing

    _keep(learner, experience)
    score()
    learner.epochs += int(learner.at // steps_a_pass(experience, settings))
    learner.done, learner.at = learner.done + 1, 0
    for observer in observers:
        observer.finished(learner)


def _stretch(learner: Learner, stream: Stream, settings: TrainingSettings, last_step: int) -> Stretch:
    """The place of the experience that is learned now; a strategy that begins from scratch spreads all passes so far
    over its steps."""
    steps = steps_of(learner.strategy, stream, learner.done, settings)
    epochs = sum(-(-_plain_steps(part, settings) // steps_a_pass(part, settings)) for part in stream)
    if learner.strategy.from_scratch and learner.done:
        so_far = stream[: learner.done + 1]
        passes = sum(_plain_steps(part, settings) / steps_a_pass(part, settings) for part in so_far)
        return Stretch(steps, last_step, steps / passes, 0, epochs)
    return Stretch(steps, last_step, steps_a_pass(stream[learner.done], settings), learner.epochs, epochs)


def _open_experience(learner: Learner, experience: Experience, settings: TrainingSettings) -> tuple[Passes, Optimiser]:
    """Makes what lasts as long as an experience, or takes it up again where the learner stands within one."""
    if learner.order is None or learner.optimiser is None or not learner.at:
        fresh = learner.strategy.from_scratch and learner.done > 0
        if fresh:
            learner.model = learner.new_model()
        if fresh or learner.optimiser is None or (experience.announced and not settings.keep_optimiser):
            learner.optimiser = make_optimiser(learner.model.parameters(), settings.optimisation)
            learner.mean = mean_of(learner.model.parameters(), settings.optimisation)
        learner.generator = seeded(learner.seed, f"experience {learner.done}")
        learner.order = Passes(_rays_of(experience), learner.generator)
        learner.strategy.begin(learner.state, experience, learner.model)
    else:
        learner.strategy.resume(learner.state, learner.model)
    return learner.order, learner.optimiser


def take_over_first(learner: Learner, shared: Learner, stream: Stream) -> None:
    """Gives a new learner the first experience as another one learned it; until it ends, all strategies are alike."""
    learner.model, learner.history, learner.done = shared.model, shared.history, 1
    learner.epochs, learner.optimiser, learner.mean = shared.epochs, shared.optimiser, shared.mean
    learner.strategy.begin(learner.state, stream[0], learner.model)
    _keep(learner, stream[0])


def _keep(learner: Learner, experience: Experience) -> None:
    learner.strategy.end(learner.state, experience, learner.shown)
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
    for option in ("evaluate_every", "evaluate_views", "frame_every", "score_every", "seen_every", "epoch_steps"):
        if getattr(settings, option) is not None and getattr(settings, option) < 1:
            raise NerfclError(f"--{option.replace('_', '-')} {getattr(settings, option)}: must be at least 1")
    if settings.rays > _MOST_RAYS:
        raise NerfclError(f"--rays {settings.rays}: more than {_MOST_RAYS:,} do not fit into memory")


def steps_of(strategy: Strategy, stream: Stream, index: int, settings: TrainingSettings) -> int:
    """Training steps for experience `index`: all steps so far where a strategy begins from scratch."""
    taken = stream[: index + 1] if strategy.from_scratch else (stream[index],)
    return sum(_plain_steps(experience, settings) for experience in taken)


def steps_a_pass(experience: Experience, settings: TrainingSettings) -> int:
    """Steps of an epoch: every pixel of an experience's train views comes once, or what the settings say instead.

    The last step of a pass goes on into the next one.
    """
    if settings.epoch_steps is not None:
        return settings.epoch_steps
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
