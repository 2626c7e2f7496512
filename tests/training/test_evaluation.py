"""Evaluation of views while a learner learns: by hand, and at its intervals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from nerfcl.metrics.image import psnr
from nerfcl.models.rendering.model import render_image
from nerfcl.scenes.scene import Scene, Views
from nerfcl.strategies.finetune import FineTune
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.stream import Stream
from nerfcl.training.evaluation import evaluate
from nerfcl.training.history import History
from nerfcl.training.loop import learn
from nerfcl.training.settings import TrainingSettings
from support.learning import same, weights_of
from training.small import ON_CHUNKS, ON_TASKS, MakeLearner, Recorder


def evaluating(training: TrainingSettings, **changes: int | bool | None) -> TrainingSettings:
    """The same training with another evaluation."""
    assert training.evaluation is not None
    return replace(training, evaluation=replace(training.evaluation, **changes))  # pyright: ignore[reportArgumentType]


def steps_of(history: History, steps: int) -> tuple[list[float], list[float]]:
    """At which steps of the stream validation views and the pictured view were rendered."""
    return [validation.at * steps for validation in history.validation], [at * steps for at, _ in history.frames]


def test_R_is_the_mean_psnr_of_every_experience_after_every_experience(tasks: Stream, learner_of: MakeLearner) -> None:
    learner = learner_of(FineTune())
    history = learn(tasks, learner, ON_TASKS)
    assert history.tested == [1, 2]
    assert [len(row) for row in history.R] == [2, 2]
    for j, experience in enumerate(tasks):
        by_hand = []
        for v in range(len(experience.test)):
            rgb = render_image(learner.model, experience.test.camera(v)).rgb.numpy()
            saved = np.round(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8)
            by_hand.append(psnr(saved, experience.test.images[v].numpy()))
        assert history.R[1][j] == pytest.approx(np.mean(by_hand), abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "validated", "framed"),
    [
        ({}, [5, 10, 12, 17, 22, 24], [4, 8, 12, 16, 20, 24]),
        ({"evaluate_epochs": 1}, [6, 12, 18, 24], [4, 8, 12, 16, 20, 24]),
        ({"evaluate_epochs": 2}, [12, 24], [4, 8, 12, 16, 20, 24]),
        ({"frame_every": 0}, [5, 10, 12, 17, 22, 24], []),
        ({"frame_every": 99}, [5, 10, 12, 17, 22, 24], [12, 24]),
        ({"frame_every": None}, [5, 10, 12, 17, 22, 24], list(range(1, 25))),  # a sixty-fourth of the stream
    ],
    ids=str,
)
def test_intervals_count_within_announced_tasks(
    changes: dict[str, int | None], validated: list[int], framed: list[int], tasks: Stream, learner_of: MakeLearner
) -> None:
    history = learn(tasks, learner_of(FineTune()), evaluating(ON_TASKS, **changes))
    assert steps_of(history, 12) == (pytest.approx(validated), pytest.approx(framed))


def test_intervals_count_the_steps_of_an_unannounced_stream_also_within_chunks(
    chunks: Stream, learner_of: MakeLearner
) -> None:
    history = learn(chunks, learner_of(FineTune()), ON_CHUNKS)
    assert steps_of(history, 5) == (pytest.approx([4, 8, 12, 15]), pytest.approx([7, 14, 15]))
    for validation in history.validation:
        assert [len(views) for views in validation.psnr] == [min(len(chunk.val), 1) for chunk in chunks]
        for mean, views in zip(validation.means, validation.psnr, strict=True):
            assert mean == pytest.approx(np.mean(views)) if views else math.isnan(mean)


def test_all_test_views_and_all_seen_views_come_at_their_intervals_and_at_the_end(
    chunks: Stream, learner_of: MakeLearner
) -> None:
    learner = learner_of("replay:memory-rays=50")
    history = learn(chunks, learner, ON_CHUNKS)
    assert history.tested == [2, 3]
    assert [over for over, _ in history.seen] == [1, 2, 3]
    assert [len(views) for _, views in history.seen] == [2, 4, 6]
    assert [len(row) for row in (*history.R, *history.psnr, *history.ssim)] == [3] * 6
    assert len(history.renderings) == 2
    for mean, chunk, views in zip(history.R[-1], chunks, history.psnr[-1], strict=True):
        assert views == evaluate(learner.evaluated_model, chunk.test).psnr
        assert mean == pytest.approx(np.mean(views)) if views else math.isnan(mean)
    seen = Views.concatenate([chunk.train for chunk in chunks])
    assert history.seen[-1][1] == evaluate(learner.evaluated_model, seen, ssim=False).psnr


@pytest.mark.parametrize(
    ("changes", "tested", "seen"),
    [
        ({"test_every": 9, "seen_every": 0}, [3], []),
        # A fifth and a twenty-fifth of three chunks: every one.
        ({"test_every": None, "seen_every": None, "ssim": False}, [1, 2, 3], [1, 2, 3]),
        ({"test_every": 2, "seen_every": 2}, [2, 3], [2, 3]),
    ],
    ids=str,
)
def test_intervals_between_tests_are_in_experiences(
    changes: dict[str, int | bool | None], tested: list[int], seen: list[int], chunks: Stream, learner_of: MakeLearner
) -> None:
    history = learn(chunks, learner_of(FineTune()), evaluating(ON_CHUNKS, **changes))
    assert history.tested == tested
    assert [over for over, _ in history.seen] == seen
    with_ssim = changes.get("ssim", True)
    assert [list(map(len, row)) for row in history.ssim] == [
        [len(views) if with_ssim else 0 for views in row] for row in history.psnr
    ]


def test_without_evaluation_nothing_is_evaluated_and_the_same_is_learned(
    chunks: Stream, learner_of: MakeLearner
) -> None:
    evaluated, learner = learner_of("replay:memory-rays=50"), learner_of("replay:memory-rays=50")
    learn(chunks, evaluated, ON_CHUNKS)
    history = learn(chunks, learner, replace(ON_CHUNKS, evaluation=None), [Recorder(fails_in="evaluation")])
    assert history == History(steps=15, training=history.training, memory_bytes=evaluated.history.memory_bytes)
    assert same(weights_of(learner), weights_of(evaluated))


def test_views_are_rendered_with_the_ema_of_the_parameters(chunks: Stream, learner_of: MakeLearner) -> None:
    learner = learner_of(FineTune())
    history = learn(chunks, learner, ON_CHUNKS)
    assert learner.ema is not None
    by_hand = learner.new_model()
    by_hand.load_state_dict(learner.model.state_dict())
    with torch.no_grad():
        for parameter, value in zip(by_hand.parameters(), learner.ema.values, strict=True):
            parameter.copy_(value)
    group = chunks.pictured.group
    test = chunks[group].test
    assert history.psnr[-1][group] == evaluate(by_hand, test).psnr
    assert history.psnr[-1][group] != evaluate(learner.model, test).psnr
    # So are the pictures: the last frame is the pictured view, and those of the last test are those that are shown.
    images = evaluate(by_hand, test, keep_images=None).images
    assert np.array_equal(history.frames[-1][1], images[chunks.pictured.view])
    assert history.renderings[-1].keys() == set(chunks.pictured.shown)
    assert all(np.array_equal(image, images[i]) for i, image in history.renderings[-1].items())


@pytest.mark.parametrize("views", [1, 4])
def test_chunks_without_a_view_to_evaluate_are_passed_over(views: int, scene: Scene, learner_of: MakeLearner) -> None:
    chunks = make_trajectory(scene, "nearest", 1)
    assert any(len(chunk.val) == 0 for chunk in chunks)
    assert any(len(chunk.test) == 0 for chunk in chunks)
    history = learn(chunks, learner_of(FineTune()), evaluating(ON_CHUNKS, evaluate_views=views))
    for validation in history.validation:
        assert [len(values) for values in validation.psnr] == [min(len(chunk.val), views) for chunk in chunks]
    assert [math.isnan(value) for value in history.R[-1]] == [len(chunk.test) == 0 for chunk in chunks]
