"""The training loop, common to all strategies and streams."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nerfcl.errors import Argument, NerfclError
from nerfcl.models.rendering.model import Rendering
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import pixel_rays, stratified_offsets
from nerfcl.strategies.strategy import Strategy, mean_opacity
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.sampling import EpochSampler
from nerfcl.streams.stream import Experience, Stream
from nerfcl.training.callbacks import Callback, StepReport
from nerfcl.training.ema import make_ema
from nerfcl.training.evaluation import Evaluator
from nerfcl.training.history import History
from nerfcl.training.learner import Learner
from nerfcl.training.optimisers import Optimiser, make_optimiser
from nerfcl.training.schedules import Moment, learning_rate
from nerfcl.training.settings import OptimiserSettings, TrainingSettings

_READ_EVERY = 10  # steps between readings of the loss; reading waits for the device


@dataclass(frozen=True)
class Span:
    """Position of an experience in a stream.

    Attributes:
        steps: training steps of the experience.
        last_step: number of the stream's last step.
        epoch_steps: steps per epoch of the experience.
        first_epoch: epochs before the experience.
        epochs: epochs of the entire stream.
    """

    steps: int
    last_step: int
    epoch_steps: float
    first_epoch: int = 0
    epochs: int = 1

    def epoch_at(self, step: int) -> float:
        """Return the epochs since the start, including a fraction, before a step of the experience."""
        return self.first_epoch + step / self.epoch_steps


def learn(
    stream: Stream,
    learner: Learner,
    settings: TrainingSettings,
    callbacks: Sequence[Callback] = (),
    *,
    until: int | None = None,
) -> History:
    """Learn the remaining experiences of a stream in order.

    Args:
        stream: experiences to learn.
        learner: learner to train, from its current position; modified.
        settings: training settings.
        callbacks: follow training and may stop it.
        until: number of experiences after which to stop; None trains to the end.

    Returns:
        The learner's history.

    Raises:
        NerfclError: strategy and stream are incompatible, or training diverged.

    Example:
        >>> import nerfcl
        >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
        >>> stream = nerfcl.make_stream(scene, ["right", "left"])
        >>> learner = nerfcl.new_learner(nerfcl.FineTune(), nerfcl.model_for(scene), seed=0)
        >>> history = nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=2, rays=64))
        >>> history.tested, [len(row) for row in history.R]
        ([1, 2], [2, 2])
    """
    check_boundaries(learner.strategy, announced=all(experience.announced for experience in stream))
    until = len(stream) if until is None else until
    remaining = sum(steps_for(learner.strategy, stream, i, settings) for i in range(learner.done, until)) - learner.at
    last_step = learner.history.steps + remaining
    evaluator = None if settings.evaluation is None else Evaluator(stream, settings, settings.evaluation)
    while learner.done < until:
        span = _span(learner, stream, settings, last_step)
        if not learn_experience(learner, stream[learner.done], settings, callbacks, span, evaluator):
            break
    return learner.history


def learn_experience(
    learner: Learner,
    experience: Experience,
    settings: TrainingSettings,
    callbacks: Sequence[Callback] = (),
    span: Span | None = None,
    evaluator: Evaluator | None = None,
) -> bool:
    """Learn one experience, from the learner's position within it to its end.

    Args:
        learner: learner to train; modified.
        experience: experience to learn.
        settings: training settings.
        callbacks: follow training and may stop it.
        span: position in the stream; None assumes a stream of unknown length.
        evaluator: evaluates during training; None disables evaluation.

    Returns:
        True when the experience is done, False if a callback stopped it.

    Raises:
        NerfclError: training diverged.
    """
    strategy, state, history = learner.strategy, learner.state, learner.history
    span = span or _span_without_end(learner, experience, settings)
    sampler, optimiser = _open_experience(learner, experience, settings)
    model = learner.model

    while learner.at < span.steps:
        started = time.perf_counter()
        epoch = span.epoch_at(learner.at)
        moment = Moment(learner.at, span.steps, epoch, span.epochs, history.steps)
        rate = learning_rate(moment, settings.optimiser)

        model.begin_step(learner.generator)
        batch = strategy.batch(state, pixels_at(experience.train, sampler.next(settings.pixels)))
        offsets = stratified_offsets(len(batch), settings.rays_per_pixel, learner.generator)  # (B, S, 2)
        rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, offsets)  # B * S
        rendering = model.render(rays, learner.generator)
        losses = strategy.loss(state, rendering, batch, model)
        if settings.optimiser.opacity_weight:
            losses["opacity"] = settings.optimiser.opacity_weight * mean_opacity(rendering.opacity, batch)
        torch.autograd.backward(list(losses.values()))
        strategy.after_backward(state, model)
        optimiser.step(rate)
        if learner.ema is not None:
            learner.ema.update(model)
        learner.at += 1
        history.steps += 1

        read = history.steps % _READ_EVERY == 0 or history.steps in (1, span.last_step)
        values = _read(losses, rendering, batch, learner) if read else None
        history.training += time.perf_counter() - started
        evaluated = evaluator is not None and evaluator.validate_if_due(learner, span.steps)
        report = StepReport(
            history.steps, span.last_step, experience.name, int(epoch), values, rate, len(rays), rendering.samples,
            history.training, strategy.metrics(state) if read else {},
        )  # fmt: skip
        if _notify(callbacks, learner, report, evaluated=evaluated):
            return False

    _end_experience(learner, experience)
    if evaluator is not None:
        evaluator.test_if_due(learner)
    learner.epochs += int(learner.at // settings.steps_per_epoch(experience))
    learner.done, learner.at = learner.done + 1, 0
    for callback in callbacks:
        callback.on_experience_end(learner)
    return True


def _notify(callbacks: Sequence[Callback], learner: Learner, report: StepReport, *, evaluated: bool) -> bool:
    """Call all callbacks after a step; return whether any wants to stop."""
    if evaluated:
        for callback in callbacks:
            callback.on_evaluation(learner)
    wishes = [callback.on_step(learner, report) for callback in callbacks]  # call all, even if one wants to stop
    return any(wishes)


def _span(learner: Learner, stream: Stream, settings: TrainingSettings, last_step: int) -> Span:
    """Find the position of the current experience; for a strategy that starts from scratch, its steps span all epochs
    so far."""
    steps = steps_for(learner.strategy, stream, learner.done, settings)
    epochs = sum(-(-_own_steps(part, settings) // settings.steps_per_epoch(part)) for part in stream)
    if learner.strategy.from_scratch and learner.done:
        so_far = stream[: learner.done + 1]
        passes = sum(_own_steps(part, settings) / settings.steps_per_epoch(part) for part in so_far)
        return Span(steps, last_step, steps / passes, 0, epochs)
    return Span(steps, last_step, settings.steps_per_epoch(stream[learner.done]), learner.epochs, epochs)


def _span_without_end(learner: Learner, experience: Experience, settings: TrainingSettings) -> Span:
    last_step = learner.history.steps - learner.at + settings.steps
    return Span(settings.steps, last_step, settings.steps_per_epoch(experience), learner.epochs)


def _open_experience(
    learner: Learner, experience: Experience, settings: TrainingSettings
) -> tuple[EpochSampler, Optimiser]:
    """Set up sampler and optimiser for an experience, or resume the one that the learner is in."""
    if learner.sampler is None or learner.optimiser is None or not learner.at:
        fresh = learner.strategy.from_scratch and learner.done > 0
        if fresh:
            learner.model = learner.new_model()
        if fresh or learner.optimiser is None or (experience.announced and not settings.keep_optimiser):
            learner.optimiser = make_optimiser(learner.model.parameters(), settings.optimiser)
            learner.ema = make_ema(learner.model.parameters(), settings.optimiser)
        learner.generator = seeded(learner.seed, f"experience {learner.done}")
        learner.sampler = EpochSampler(experience.train.pixels, learner.generator)
        learner.strategy.begin(learner.state, experience, learner.model)
    else:
        learner.strategy.resume(learner.state, learner.model)
    return learner.sampler, learner.optimiser


def _end_experience(learner: Learner, experience: Experience) -> None:
    learner.strategy.end(learner.state, experience, learner.evaluated_model)
    learner.history.memory_bytes = 0 if learner.state is None else learner.state.nbytes


def adopt_first_experience(learner: Learner, other: Learner, stream: Stream) -> None:
    """Let a new learner adopt another one's first experience: until its end, all strategies train alike."""
    learner.model, learner.history, learner.done = other.model, other.history, 1
    learner.epochs, learner.optimiser, learner.ema = other.epochs, other.optimiser, other.ema
    learner.strategy.begin(learner.state, stream[0], learner.model)
    _end_experience(learner, stream[0])


def check_boundaries(strategy: Strategy, *, announced: bool) -> None:
    """Reject a strategy that needs to know where experiences end, on a stream that does not announce it.

    Raises:
        NerfclError: the strategy does not work on this stream.
    """
    if strategy.needs_boundaries and not announced:
        name = strategy.registry.name_of(type(strategy)) or type(strategy).__name__
        raise NerfclError(
            Argument("strategy", name),
            ": needs to know where tasks end, but this stream does not announce it; choose a strategy that works "
            "without boundaries",
        )


def steps_for(strategy: Strategy, stream: Stream, index: int, settings: TrainingSettings) -> int:
    """Count the training steps for experience `index`; all steps so far if the strategy starts from scratch."""
    taken = stream[: index + 1] if strategy.from_scratch else (stream[index],)
    return sum(_own_steps(experience, settings) for experience in taken)


def _own_steps(experience: Experience, settings: TrainingSettings) -> int:
    return settings.steps if settings.epochs is None else settings.epochs * settings.steps_per_epoch(experience)


def _read(losses: dict[str, torch.Tensor], rendering: Rendering, batch: Pixels, learner: Learner) -> dict[str, float]:
    values = {name: part.item() for name, part in losses.items()}
    total = sum(values.values())
    if not math.isfinite(total):
        step = learner.history.steps
        advice = Argument("learning_rate", owner=OptimiserSettings)
        raise NerfclError(f"the loss is {total} at step {step}: training diverged; lower ", advice)
    new = batch.new or len(batch)
    error = (rendering.rgb[:new].detach().cpu() - batch.colours[:new]).square().mean().item()
    return {**values, "psnr": -10.0 * math.log10(max(error, 1e-10))}
