"""The loop: R worked by hand, reproducibility, sharing of the first task, strategies from scratch, resuming."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from nerfcl.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.errors import NerfclError
from nerfcl.metrics import psnr
from nerfcl.models import GridModel
from nerfcl.rendering.rendering import Model, render_image
from nerfcl.scenes import load_scene
from nerfcl.strategies import STRATEGIES, strategy_class
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.joint import Joint
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams import Experience, Stream, make_stream
from nerfcl.training import (
    History,
    Learner,
    StepReport,
    TrainingSettings,
    learn,
    new_learner,
    take_over_first,
    watched_view,
)

SHORT = TrainingSettings(steps=12, rays=128, warm_up=2, evaluate_every=5, evaluate_views=1, frame_every=4)


@pytest.fixture
def stream(tiny_scene_folder: Path) -> Stream:
    return make_stream(load_scene(tiny_scene_folder), ["right", "left"])


@pytest.fixture
def build(tiny_scene_folder: Path) -> Callable[[], Model]:
    settings = GridModel.for_scene(load_scene(tiny_scene_folder), finest=16)
    return lambda: settings.build(3)


def weights_of(learner: Learner) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in learner.model.parameters()]


def test_R_is_the_mean_psnr_of_every_experience_after_every_experience(
    stream: Stream, build: Callable[[], Model]
) -> None:
    learner = new_learner(FineTune(), build, 3)
    history = learn(stream, learner, SHORT)
    assert len(history.R) == 2
    assert all(len(row) == 2 for row in history.R)
    for j, experience in enumerate(stream):
        by_hand = []
        for v in range(len(experience.test)):
            rgb = render_image(learner.model, experience.test.camera(v)).rgb.numpy()
            saved = np.round(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8)
            by_hand.append(psnr(saved, experience.test.images[v].numpy()))
        assert history.R[1][j] == pytest.approx(np.mean(by_hand), abs=1e-4)


def test_training_lowers_the_error_on_the_experience_that_is_learned(
    stream: Stream, build: Callable[[], Model]
) -> None:
    learner = new_learner(FineTune(), build, 3)
    history = learn(stream, learner, dataclasses.replace(SHORT, steps=60, evaluate_every=2), until=1)
    assert history.curve[-1][1][0] > history.curve[0][1][0] + 3.0


def test_same_seed_gives_the_same_result_and_another_seed_does_not(stream: Stream, build: Callable[[], Model]) -> None:
    runs = []
    for seed in (3, 3, 4):
        learner = new_learner(Replay(memory_rays=50), build, seed)
        learn(stream, learner, SHORT)
        runs.append(weights_of(learner))
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_on_a_shared_first_task_equals_the_whole_run(
    name: str, stream: Stream, build: Callable[[], Model]
) -> None:
    alone = new_learner(strategy_class(name)(), build, 3)
    whole = learn(stream, alone, SHORT)
    shared = new_learner(FineTune(), build, 3)
    learn(stream, shared, SHORT, until=1)
    other = new_learner(strategy_class(name)(), build, 3)
    take_over_first(other, shared, stream)
    history = learn(stream, other, SHORT)
    assert history.R == whole.R
    assert history.memory_bytes == whole.memory_bytes
    assert all(torch.equal(a, b) for a, b in zip(weights_of(alone), weights_of(other), strict=True))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_resumed_from_a_checkpoint_equals_one_that_was_not_stopped(
    name: str, stream: Stream, build: Callable[[], Model], tiny_scene_folder: Path, tmp_path: Path
) -> None:
    straight = new_learner(strategy_class(name)(), build, 3)
    learn(stream, straight, SHORT)
    stopped = new_learner(strategy_class(name)(), build, 3)
    learn(stream, stopped, SHORT, until=1)
    settings = GridModel.for_scene(load_scene(tiny_scene_folder), finest=16)
    save_checkpoint(tmp_path / "a.pt", stopped, {"seed": 3}, settings)
    checkpoint = load_checkpoint(tmp_path / "a.pt")
    assert checkpoint.model_settings == settings
    resumed = new_learner(strategy_class(name)(), build, 3)
    resume(resumed, checkpoint)
    assert resumed.done == 1
    history = learn(stream, resumed, SHORT)
    assert history.R == straight.history.R
    assert [where for where, _ in history.frames] == [where for where, _ in straight.history.frames]
    assert all(torch.equal(a, b) for a, b in zip(weights_of(straight), weights_of(resumed), strict=True))


def test_joint_begins_again_with_all_views_and_all_steps_so_far(stream: Stream, build: Callable[[], Model]) -> None:
    drawn: list[int] = []

    @dataclass(frozen=True)
    class Spy(Joint):
        def batch(self, state: Any, new: Any) -> Any:
            batch = super().batch(state, new)
            drawn.append(int((batch.poses[:, 0, 3] > 0).sum()))
            assert len(batch) == len(new)
            return batch

    history = learn(stream, new_learner(Spy(), build, 3), SHORT)
    assert history.steps == 12 + 24
    assert all(count == 128 for count in drawn[:12])
    shares = np.array(drawn[12:]) / 128
    rights, lefts = len(stream[0].train), len(stream[1].train)
    assert shares.mean() == pytest.approx(rights / (rights + lefts), abs=0.05)


def test_replay_takes_as_many_old_rays_as_new_ones_after_the_first_experience(
    stream: Stream, build: Callable[[], Model]
) -> None:
    sizes: list[tuple[int, int]] = []

    @dataclass(frozen=True)
    class Spy(Replay):
        def batch(self, state: Any, new: Any) -> Any:
            batch = super().batch(state, new)
            sizes.append((batch.new, len(batch)))
            assert (batch.poses[batch.new :, 0, 3] > 0).all()
            return batch

    learn(stream, new_learner(Spy(memory_rays=99), build, 3), SHORT)
    assert sizes == [(128, 128)] * 12 + [(128, 256)] * 12


def test_every_step_is_reported_and_looks_come_at_their_intervals(stream: Stream, build: Callable[[], Model]) -> None:
    reports: list[StepReport] = []
    finished: list[int] = []

    class Observer:
        def stepped(self, report: StepReport) -> None:
            reports.append(report)

        def looked(self, history: History) -> None: ...

        def finished(self, learner: Learner) -> None:
            finished.append(learner.done)

    history = learn(stream, new_learner(FineTune(), build, 3), SHORT, [Observer()])
    assert [report.step for report in reports] == list(range(1, 25))
    assert {report.last_step for report in reports} == {24}
    assert [report.task for report in reports] == ["right"] * 12 + ["left"] * 12
    assert [report.step for report in reports if report.loss is not None] == [1, 10, 20, 24]
    assert finished == [1, 2]
    steps = [where * 12 for where, _ in history.curve]
    assert steps == pytest.approx([5, 10, 12, 17, 22, 24])
    assert [where * 12 for where, _ in history.frames] == pytest.approx([4, 8, 12, 16, 20, 24])


@dataclass(frozen=True)
class _NeedsBoundaries(Strategy):
    needs_boundaries: ClassVar[bool] = True


def test_a_stream_without_boundaries_refuses_a_strategy_that_needs_them(
    stream: Stream, build: Callable[[], Model]
) -> None:
    silent = tuple(Experience(part.name, part.train, part.val, part.test, announced=False) for part in stream)
    with pytest.raises(NerfclError, match="_NeedsBoundaries"):
        learn(silent, new_learner(_NeedsBoundaries(), build, 3), SHORT)


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"steps": 0}, "--steps"),
        ({"rays": 0}, "--rays"),
        ({"rays": 10, "rays_per_pixel": 4}, "--rays"),
        ({"rays_per_pixel": 3}, "--rays-per-pixel"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"evaluate_every": 0}, "--evaluate-every"),
        ({"frame_every": 0}, "--frame-every"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(
    change: dict[str, Any], option: str, stream: Stream, build: Callable[[], Model]
) -> None:
    with pytest.raises(NerfclError, match=option):
        learn(stream, new_learner(FineTune(), build, 3), dataclasses.replace(SHORT, **change))


def test_a_diverging_loss_stops_the_run(stream: Stream, build: Callable[[], Model]) -> None:
    @dataclass(frozen=True)
    class Broken(FineTune):
        def loss(self, state: Any, rendering: Any, batch: Any) -> torch.Tensor:
            return rendering.rgb.sum() * float("nan")

    with pytest.raises(NerfclError, match="diverged"):
        learn(stream, new_learner(Broken(), build, 3), SHORT)


def test_the_watched_view_is_the_farthest_from_what_is_learned_later(stream: Stream) -> None:
    # Right test views at azimuths 10 and 340 degrees; of the left train views the one at 270 is nearest to both.
    assert watched_view(stream) == 0
    assert watched_view(stream[:1]) == 1
