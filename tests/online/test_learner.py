"""The learner of a camera that does not stop: what it makes of frames, what it refuses, and how it ends."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from nerfcl.config.experiment import Experiment
from nerfcl.config.streams import PushedStream, TaskStream, WatchedStream
from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import render_image
from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.settings import Observed, OnlineSettings
from nerfcl.scenes.scene import Scene
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.pixels import Pixels
from nerfcl.training.learner import new_learner
from nerfcl.training.loop import learn
from online.pushing import HIGHEST, RESERVOIR, SETTINGS, STRATEGIES, learned, push
from support.learning import same, weights_of
from support.waiting import in_time, wait_until

# --- what is learned ---


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("frames", [6, 5])
def test_it_equals_the_loop_on_the_same_unannounced_stream(
    strategy: Strategy, frames: int, scene: Scene, model: OccupancyModelSettings
) -> None:
    stream = make_trajectory(scene, "file", 2, frames)
    plain = new_learner(strategy, lambda: model.build(7, "cpu"), 7)
    history = learn(stream, plain, SETTINGS.training)
    with OnlineLearner(model, strategy, SETTINGS, seed=7) as learner:
        push(learner, scene.train, range(frames))
        observed = learner.finish()
    assert same(learned(learner), weights_of(plain))
    kept = 0 if isinstance(strategy, FineTune) else len(plain.state.memory.cameras)
    assert observed == Observed(frames, 0, 0, kept, 15, history.memory_bytes)
    camera = scene.test.camera(0)
    assert torch.equal(learner.render(camera).rgb, render_image(plain.evaluated_model, camera).rgb)


def test_the_result_does_not_depend_on_when_frames_come(scene: Scene, model: OccupancyModelSettings) -> None:
    ends, rng = [], random.Random(0)
    for pause in (0.0, 0.03):
        with OnlineLearner(model, HIGHEST, replace(SETTINGS, queue_frames=2), seed=1) as learner:
            for i in range(len(scene.train)):
                push(learner, scene.train, [i])
                time.sleep(pause * rng.random())
        ends.append(learned(learner))
    assert same(*ends)
    with OnlineLearner(model, HIGHEST, SETTINGS, seed=1) as learner:
        push(learner, scene.train, [1, 0, 2, 3, 4, 5])
    assert not same(ends[0], learned(learner)), "but it does on their order"


def test_views_are_learned(scene: Scene) -> None:
    settings = replace(SETTINGS, steps_per_chunk=40, rays=128)
    with OnlineLearner.around((0.0, 0.0, 0.0), 2.6, 16, settings=settings) as learner:
        camera, truth = scene.train.camera(5), scene.train.images[5].float() / 255.0
        before = (learner.render(camera).rgb - truth).square().mean()
        push(learner, scene.train)
    after = (learner.render(camera).rgb - truth).square().mean()
    assert after < 0.1 * before


@pytest.mark.parametrize("watched", [False, True])
def test_a_whole_description_takes_the_place_of_its_parts(
    watched: bool, scene: Scene, model: OccupancyModelSettings, tmp_path: Path
) -> None:
    stream = WatchedStream(folder=tmp_path, chunk_frames=2) if watched else PushedStream(chunk_frames=2)
    experiment = Experiment(
        scene=None, stream=stream, field=model.field, training=SETTINGS.training, strategy=RESERVOIR, seed=4
    )
    with (
        OnlineLearner(model, experiment=experiment) as described,
        OnlineLearner(model, RESERVOIR, SETTINGS, seed=4) as learner,
    ):
        push(described, scene.train)
        push(learner, scene.train)
    assert same(learned(described), learned(learner))


def test_an_untrained_field_renders(scene: Scene, model: OccupancyModelSettings) -> None:
    learner = OnlineLearner(model, FineTune())
    camera = scene.test.camera(0)
    assert torch.isfinite(learner.render(camera, rays_per_pixel=4).rgb).all()
    assert torch.equal(learner.render(camera).rgb, render_image(learner.evaluated_model, camera).rgb)
    learner.close()


# --- what is refused ---


def broken_frames() -> dict[str, Callable[[Any, Any, Any], tuple[Any, Any, Any]]]:
    scaled = np.diag([2.0, 2.0, 2.0, 1.0]).astype(np.float32)
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0]).astype(np.float32)

    def put(array: np.ndarray, place: Any, value: float) -> np.ndarray:
        changed = array.astype(np.float64)
        changed[place] = value
        return changed

    return {
        "NaN in the pose": lambda i, p, k: (i, put(p, (1, 3), np.nan), k),
        "infinite pose": lambda i, p, k: (i, put(p, (0, 3), np.inf), k),
        "pose beyond single precision": lambda i, p, k: (i, put(p, (0, 3), 1e300), k),
        "another galaxy": lambda i, p, k: (i, put(p, (0, 3), 2e6), k),
        "huge": lambda i, p, k: (np.broadcast_to(i[:1, :1], (2**15, 2**15, 3)), p, k),
        "no rotation": lambda i, p, k: (i, p @ scaled, k),
        "a mirror": lambda i, p, k: (i, p @ mirrored, k),
        "zeros": lambda i, p, k: (i, p * 0.0, k),
        "3x4 pose": lambda i, p, k: (i, p[:3], k),
        "no pose": lambda i, _, k: (i, None, k),
        "pose of words": lambda i, _, k: (i, "here", k),
        "wider": lambda i, p, k: (np.concatenate([i, i], 1), p, k),
        "lower": lambda i, p, k: (i[:8], p, k),
        "empty": lambda i, p, k: (i[:0], p, k),
        "nothing": lambda _, p, k: (np.zeros((0, 0, 3), np.uint8), p, k),
        "floats": lambda i, p, k: (i.astype(np.float32) / 255.0, p, k),
        "signed": lambda i, p, k: (i.astype(np.int16), p, k),
        "grey": lambda i, p, k: (i[..., 0], p, k),
        "RGBA": lambda i, p, k: (np.concatenate([i, i[..., :1]], -1), p, k),
        "no image": lambda _, p, k: (None, p, k),
        "three intrinsics": lambda i, p, k: (i, p, k[:3]),
        "NaN in the intrinsics": lambda i, p, k: (i, p, put(k, 2, np.nan)),
        "focal length 0": lambda i, p, k: (i, p, put(k, 0, 0.0)),
        "negative focal length": lambda i, p, k: (i, p, put(k, 1, -5.0)),
        "a matrix": lambda i, p, _: (i, p, np.eye(3)),
    }


def test_refused_frames_change_nothing(scene: Scene, model: OccupancyModelSettings) -> None:
    parts = scene.train.images[0].numpy(), scene.train.poses[0].numpy(), scene.train.intrinsics[0].numpy()
    given = copy.deepcopy(parts)
    with (
        OnlineLearner(model, RESERVOIR, SETTINGS) as learner,
        OnlineLearner(model, RESERVOIR, SETTINGS) as twin,
    ):
        for i in range(len(scene.train)):
            assert push(learner, scene.train, [i]).seen == push(twin, scene.train, [i]).seen
            for name, spoil in broken_frames().items():
                with pytest.raises(NerfclError, match=f"frame {i + 1}") as caught:
                    learner.observe(*spoil(*parts))
                assert "\n" not in str(caught.value), name
                assert learner.status().seen == i + 1, name
    assert replace(learner.status(), full=False) == replace(twin.status(), full=False)
    assert same(learned(learner), learned(twin))
    assert all(np.array_equal(a, b) for a, b in zip(parts, given, strict=True))


def test_a_refused_first_frame_does_not_decide_the_size(scene: Scene, model: OccupancyModelSettings) -> None:
    with OnlineLearner(model, FineTune(), SETTINGS) as learner:
        with pytest.raises(NerfclError, match="rotation"):
            learner.observe(np.zeros((5, 5, 3), np.uint8), np.ones((4, 4)), np.ones(4))
        assert push(learner, scene.train, range(2)).seen == 2


@dataclass(frozen=True)
class NeedsBoundaries(Strategy):
    needs_boundaries: ClassVar[bool] = True


def test_strategies_that_need_boundaries_and_streams_of_scenes_are_refused(model: OccupancyModelSettings) -> None:
    with pytest.raises(NerfclError, match=r"NeedsBoundaries.*needs to know where tasks end"):
        OnlineLearner(model, NeedsBoundaries())
    with pytest.raises(NerfclError, match="takes pushed frames only"):
        OnlineLearner(model, experiment=Experiment(stream=TaskStream()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_frames": 0}, "chunk_frames=0"),
        ({"chunk_frames": 1.5}, "chunk_frames=1.5: must be a whole number"),
        ({"queue_frames": math.inf}, "queue_frames=inf: must be a whole number"),
        ({"steps_per_chunk": 1.5}, "steps_per_chunk=1.5: must be a whole number"),
        ({"rays": 2**40}, "do not fit into memory"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"steps_per_chunk": 0}, "steps_per_chunk=0"),
        ({"rays": 0}, "rays=0"),
        ({"ema_decay": 1.0}, "ema_decay=1.0"),
        ({"queue_frames": 1, "chunk_frames": 2}, "queue_frames=1: must be at least chunk_frames=2"),
        ({"when_full": "explode"}, "when_full='explode': must be one of block, drop-oldest"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NerfclError, match=message):
        OnlineSettings(**changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 0, 0), -1.0, 16), "side=-1.0: must be a positive number"),
        (((0, 0, 0), 0.0, 16), "side=0.0: must be a positive number"),
        (((0, 0, 0), math.inf, 16), "finite numbers|positive number"),
        (((0, math.nan, 0), 1.0, 16), "must be three finite numbers"),
        (((0, 1e300, 0), 1.0, 16), "must be three finite numbers"),
        (((0, 0), 1.0, 16), r"center=\(0, 0\): must be three numbers"),
        (((0, 0, 0), 1.0, 0), "image_width=0: must be at least"),
        (((0, 0, 0), 1.0, -5), "image_width=-5: must be at least"),
    ],
)
def test_cubes_that_cannot_be_are_refused_by_name(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(NerfclError, match=message):
        OnlineLearner.around(*arguments)


@pytest.mark.parametrize("background", [(1.0, math.nan, 1.0), (2.0, 0.0, 0.0), (-0.1, 0.0, 0.0), (1.0, 1.0)])
def test_backgrounds_that_are_no_colours_are_refused(background: Any) -> None:
    with pytest.raises(NerfclError, match=r"background=.*must be three numbers between 0 and 1"):
        OnlineLearner.around((0.0, 0.0, 0.0), 1.0, 16, background=background)


def test_double_precision_is_rendered_as_it_is_learned(scene: Scene, model: OccupancyModelSettings) -> None:
    camera = scene.train.camera(0)
    double = replace(camera, world_from_camera=camera.world_from_camera.double(), intrinsics=camera.intrinsics.double())
    with OnlineLearner(model, FineTune(), SETTINGS) as learner:
        learner.observe(scene.train.images[0], double.world_from_camera, double.intrinsics)
        learner.finish()
        assert torch.equal(learner.render(double).rgb, learner.render(camera).rgb)
        for size in ({"width": 0}, {"height": 0}, {"width": -1}):
            with pytest.raises(NerfclError, match="cannot be rendered"):
                learner.render(replace(camera, **size))


# --- ends ---


def test_finish_learns_an_incomplete_chunk_and_frames_may_follow(scene: Scene, model: OccupancyModelSettings) -> None:
    with OnlineLearner(model, FineTune(), SETTINGS) as learner:
        assert learner.finish().steps == 0
        push(learner, scene.train, range(3))
        assert (learner.finish().steps, learner.status().waiting) == (10, 0)
        push(learner, scene.train, [3])
        assert learner.finish() == Observed(4, 0, 0, 0, 15, 0)


def test_after_closing_frames_are_refused_and_views_still_rendered(scene: Scene, model: OccupancyModelSettings) -> None:
    learner = OnlineLearner(model, FineTune(), SETTINGS)
    push(learner, scene.train, range(3))
    wait_until(lambda: learner.status().steps == 5)
    learner.close()
    learner.close()
    with pytest.raises(NerfclError, match="closed"):
        push(learner, scene.train, [0])
    assert learner.status().seen == 3
    refusal = in_time(learner.finish)  # a frame waits that nobody will learn
    assert isinstance(refusal, NerfclError)
    assert "closed" in str(refusal)
    assert torch.isfinite(learner.render(scene.test.camera(0)).rgb).all()


def test_leaving_by_an_error_does_not_learn_what_waits(scene: Scene, model: OccupancyModelSettings) -> None:
    learner = OnlineLearner(model, FineTune(), SETTINGS)

    def fail() -> None:
        with learner:
            push(learner, scene.train, [0])
            raise ZeroDivisionError

    assert isinstance(in_time(fail), ZeroDivisionError)
    assert learner.status().steps == 0


def test_a_learner_that_was_closed_within_its_block_is_left_quietly(
    scene: Scene, model: OccupancyModelSettings
) -> None:
    def use() -> None:
        with OnlineLearner(model, FineTune(), SETTINGS) as learner:
            push(learner, scene.train, [0])
            learner.close()

    assert in_time(use) is None


@dataclass(frozen=True)
class Failing(FineTune):
    def batch(self, state: Any, new: Pixels) -> Pixels:
        raise RuntimeError("the disk of the strategy is full")


def test_an_error_in_the_strategy_is_raised_at_the_next_frame(scene: Scene, model: OccupancyModelSettings) -> None:
    learner = OnlineLearner(model, Failing(), SETTINGS)
    push(learner, scene.train, range(2))
    wait_until(lambda: learner._queue.error is not None)
    for action in (lambda: push(learner, scene.train, [0]), learner.finish, learner.status):
        raised = in_time(action)
        assert isinstance(raised, NerfclError)
        assert str(raised) == "learning failed: the disk of the strategy is full"
        assert isinstance(raised.__cause__, RuntimeError)
    assert in_time(learner.close) is None


def test_an_error_frees_who_waits(scene: Scene, model: OccupancyModelSettings) -> None:
    def use() -> None:
        with OnlineLearner(model, Failing(), replace(SETTINGS, queue_frames=2)) as learner:
            push(learner, scene.train, range(60))

    raised = in_time(use)
    assert isinstance(raised, NerfclError)
    assert "learning failed" in str(raised)
