"""Evaluations while a learner learns: the curve, the watched view, the matrix R."""

from __future__ import annotations

import time

import torch

from nerfcl.scenes.scene import Views
from nerfcl.streams.tasks import Stream
from nerfcl.training.evaluation import evaluate, render_uint8
from nerfcl.training.learner import Learner, TrainingSettings


def look_if_due(learner: Learner, stream: Stream, settings: TrainingSettings, steps: int) -> bool:
    """Adds to the curve and to the frames when it is time for either, within an experience of so many steps."""
    started = time.perf_counter()
    history, step, where = learner.history, learner.at, learner.done + learner.at / steps
    announced = stream[learner.done].announced
    last = step == steps and (announced or learner.done + 1 == len(stream))
    # Where nobody says when an experience begins, the steps of the whole stream count.
    count = step if announced else history.steps
    curve_due = count % settings.evaluate_every == 0 or last
    frame_due = count % settings.frame_every == 0 or last
    if not (curve_due or frame_due):
        return False
    shown, per_pixel = learner.shown, settings.rays_per_pixel
    if curve_due:
        watched = (_spread_out(experience.val, settings.evaluate_views) for experience in stream)
        scores = [evaluate(shown, views, rays_per_pixel=per_pixel, with_ssim=False) for views in watched]
        history.curve.append((where, [score.mean_psnr for score in scores]))
        history.looks.append([score.psnr for score in scores])
    if frame_due:
        experience, view = watched_view(stream)
        frame = render_uint8(shown, stream[experience].test, view, per_pixel)
        history.frames.append((where, frame))
    history.evaluation += time.perf_counter() - started
    return True


def score_if_due(learner: Learner, stream: Stream, settings: TrainingSettings) -> None:
    """Scores the model on all test views, and on the frames seen so far, when it is time for either.

    To be called before the experience that was just learned counts as done.
    """
    started = time.perf_counter()
    history, over = learner.history, learner.done + 1
    last = over == len(stream)
    score_due = over % settings.score_every == 0 or last
    seen_due = settings.seen_every is not None and (over % settings.seen_every == 0 or last)
    if not (score_due or seen_due):
        return
    shown = learner.shown
    if score_due:
        watched = watched_view(stream)[0]
        pictures = picture_positions(stream[watched].test)
        scores = [
            evaluate(
                shown,
                experience.test,
                rays_per_pixel=settings.rays_per_pixel,
                keep_images=pictures if j == watched else (),
            )
            for j, experience in enumerate(stream)
        ]
        history.R.append([score.mean_psnr for score in scores])
        history.scored.append(over)
        history.psnr.append([score.psnr for score in scores])
        history.ssim.append([score.ssim for score in scores])
        history.pictures.append(scores[watched].images)
    if seen_due:
        seen = Views.concatenate([experience.train for experience in stream[:over]])
        values = evaluate(shown, seen, rays_per_pixel=settings.rays_per_pixel, with_ssim=False).psnr
        history.seen.append((over, values))
    history.evaluation += time.perf_counter() - started


def watched_view(stream: Stream) -> tuple[int, int]:
    """The test view that the frames show: which experience it belongs to, and its position there.

    It is one of the first experience that has any, in a stream of chunks of the third one or the next that has any; and
    there the one whose camera is farthest from all cameras of later training, since there forgetting shows.
    """
    tested = [i for i, experience in enumerate(stream) if len(experience.test)]
    first = 0 if stream[0].announced else 2
    watched = next((i for i in tested if i >= first), tested[0])
    test = stream[watched].test
    later = stream[watched + 1 :]
    if not later:
        return watched, len(test) // 2
    cameras = torch.cat([experience.train.poses[:, :3, 3] for experience in later])
    return watched, int(torch.cdist(test.poses[:, :3, 3], cameras).amin(1).argmax())


def picture_positions(views: Views, count: int = 4) -> tuple[int, ...]:
    """Positions of a few views spread evenly over all; none where there is no view."""
    if not len(views):
        return ()
    return tuple(sorted({round((i + 0.5) * len(views) / count - 0.5) for i in range(count)}))


def _spread_out(views: Views, count: int) -> Views:
    return views.select(picture_positions(views, count))
