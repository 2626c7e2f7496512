"""Rendering and scoring of views, once or at intervals during training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nerfcl.metrics import image as metrics
from nerfcl.models.rendering.model import Model, Rendering, render_image
from nerfcl.progress import Track, untracked
from nerfcl.scenes.scene import Views
from nerfcl.streams.stream import Stream, spread_positions
from nerfcl.training.history import Validation, mean_psnr
from nerfcl.training.learner import Learner
from nerfcl.training.settings import EvaluationSettings, TrainingSettings


@dataclass(frozen=True)
class Scores:
    """Quality of N rendered views.

    Attributes:
        psnr: N values in dB.
        ssim: N values, at most 1; empty if not computed.
        images: kept renderings by view index, (H, W, 3) uint8.
    """

    psnr: list[float]
    ssim: list[float]
    images: dict[int, np.ndarray]

    @property
    def mean_psnr(self) -> float:
        """Mean PSNR (dB) over the views; NaN if there are none."""
        return mean_psnr(self.psnr)


@dataclass(frozen=True)
class RenderedView:
    """A rendered and scored view.

    Attributes:
        index: index of the view.
        rendering: rendering in floating point.
        image: (H, W, 3) uint8, as saved to a PNG.
        psnr: PSNR of the image, dB.
    """

    index: int
    rendering: Rendering
    image: np.ndarray
    psnr: float


def render_views(
    model: Model, views: Views, *, rays_per_pixel: int = 1, track: Track = untracked
) -> Iterator[RenderedView]:
    """Render views one by one, and score them as 8-bit images.

    Args:
        model: model to render with.
        views: cameras and true images.
        rays_per_pixel: rays averaged over each pixel's area, a square number.
        track: iterates over the views and may show progress.
    """
    for index in track(range(len(views)), "rendering views"):
        rendering = render_image(model, views.camera(index), rays_per_pixel=rays_per_pixel)
        image = metrics.to_uint8(rendering.rgb).cpu().numpy()
        yield RenderedView(index, rendering, image, metrics.psnr(image, views.images[index].numpy()))


def evaluate(
    model: Model,
    views: Views,
    *,
    rays_per_pixel: int = 1,
    ssim: bool = True,
    keep_images: tuple[int, ...] | None = (),
    track: Track = untracked,
) -> Scores:
    """Render and score all views as 8-bit images.

    Args:
        model: model to render with.
        views: cameras and true images.
        rays_per_pixel: rays averaged over each pixel's area, a square number.
        ssim: whether to compute SSIM as well.
        keep_images: indices of the views whose renderings are returned; None returns all.
        track: iterates over the views and may show progress.
    """
    scores = Scores([], [], {})
    for view in render_views(model, views, rays_per_pixel=rays_per_pixel, track=track):
        scores.psnr.append(view.psnr)
        if ssim:
            scores.ssim.append(metrics.ssim(view.image, views.images[view.index].numpy()))
        if keep_images is None or view.index in keep_images:
            scores.images[view.index] = view.image
    return scores


class Evaluator:
    """Evaluates a learner at intervals while it learns a stream, and records the results in its history.

    Args:
        stream: stream to learn; determines which views are evaluated.
        training: training settings.
        evaluation: intervals; those that are None are derived from the length of the stream.
    """

    def __init__(self, stream: Stream, training: TrainingSettings, evaluation: EvaluationSettings) -> None:
        self._stream, self._rays_per_pixel = stream, training.rays_per_pixel
        steps = training.steps * len(stream)
        self._training, self._evaluation = training, evaluation
        self._frame_every = _or_fraction(evaluation.frame_every, steps // 64)
        self._test_every = _or_fraction(evaluation.test_every, len(stream) // 5)
        self._seen_every = _or_fraction(evaluation.seen_every, len(stream) // 25)
        views = evaluation.evaluate_views
        self._validated = [group.val.select(spread_positions(len(group.val), views)) for group in stream.groups]

    def validate_if_due(self, learner: Learner, steps: int) -> bool:
        """Evaluate validation views and render the pictured view, if due.

        Args:
            learner: learner within an experience, after a step.
            steps: training steps of the experience.

        Returns:
            Whether either was due.
        """
        started = time.perf_counter()
        history, announced = learner.history, self._stream[learner.done].announced
        last = learner.at == steps and (announced or learner.done + 1 == len(self._stream))
        # Without announced experiences, intervals count the steps of the entire stream.
        count = learner.at if announced else history.steps
        validation_due = count % self._validation_interval(learner) == 0 or last
        frame_due = self._frame_every > 0 and (count % self._frame_every == 0 or last)
        if not (validation_due or frame_due):
            return False
        model, at = learner.evaluated_model, learner.done + learner.at / steps
        if validation_due:
            psnr = [self._evaluate(model, views, ssim=False).psnr for views in self._validated]
            history.validation.append(Validation(at, psnr))
        if frame_due:
            pictured = self._stream.pictured
            view = self._stream.groups[pictured.group].test.select([pictured.view])
            history.frames.append((at, self._evaluate(model, view, ssim=False, keep_images=(0,)).images[0]))
        history.evaluation += time.perf_counter() - started
        return True

    def test_if_due(self, learner: Learner) -> None:
        """Evaluate all test views, and all train views seen so far, if due.

        Args:
            learner: learner that has just learned an experience, which does not count as done yet.
        """
        started = time.perf_counter()
        history, over = learner.history, learner.done + 1
        last = over == len(self._stream)
        test_due = over % self._test_every == 0 or last
        seen_due = self._seen_every > 0 and (over % self._seen_every == 0 or last)
        if not (test_due or seen_due):
            return
        model = learner.evaluated_model
        if test_due:
            pictured = self._stream.pictured
            kept = [pictured.shown if j == pictured.group else () for j in range(len(self._stream.groups))]
            scores = [
                self._evaluate(model, group.test, ssim=self._evaluation.ssim, keep_images=images)
                for group, images in zip(self._stream.groups, kept, strict=True)
            ]
            history.R.append([score.mean_psnr for score in scores])
            history.tested.append(over)
            history.psnr.append([score.psnr for score in scores])
            history.ssim.append([score.ssim for score in scores])
            history.renderings.append(scores[pictured.group].images)
        if seen_due:
            seen = Views.concatenate([experience.train for experience in self._stream[:over]])
            history.seen.append((over, self._evaluate(model, seen, ssim=False).psnr))
        history.evaluation += time.perf_counter() - started

    def _validation_interval(self, learner: Learner) -> int:
        """Return the number of steps between evaluations on validation views."""
        if self._evaluation.evaluate_epochs is None:
            return self._evaluation.evaluate_every
        return self._evaluation.evaluate_epochs * self._training.steps_per_epoch(self._stream[learner.done])

    def _evaluate(self, model: Model, views: Views, *, ssim: bool, keep_images: tuple[int, ...] = ()) -> Scores:
        return evaluate(model, views, rays_per_pixel=self._rays_per_pixel, ssim=ssim, keep_images=keep_images)


def _or_fraction(interval: int | None, fraction: int) -> int:
    return max(fraction, 1) if interval is None else interval
