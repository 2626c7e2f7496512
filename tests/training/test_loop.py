"""The loop: reproducibility, epochs, schedules, strategies from scratch, what goes on across experiences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import Model, render_image
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.joint import Joint
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy, mean_opacity
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.stream import Experience, Stream
from nerfcl.training.loop import learn
from nerfcl.training.optimisers import Adam
from nerfcl.training.settings import EvaluationSettings, OptimiserSettings
from support.learning import same, weights_of
from training.small import ON_TASKS, MakeLearner, Recorder

SHORT = replace(ON_TASKS, evaluation=None)


def test_same_seed_gives_the_same_result_and_another_seed_does_not(tasks: Stream, learner_of: MakeLearner) -> None:
    weights = []
    for seed in (3, 3, 4):
        learner = learner_of("replay:memory-rays=50", seed)
        learn(tasks, learner, SHORT)
        weights.append(weights_of(learner))
    assert same(weights[0], weights[1])
    assert not same(weights[0], weights[2])


def test_training_lowers_the_error_on_the_experience_that_is_learned(tasks: Stream, learner_of: MakeLearner) -> None:
    settings = replace(SHORT, steps=60, evaluation=EvaluationSettings(evaluate_every=2, frame_every=0))
    history = learn(tasks, learner_of(FineTune()), settings, until=1)
    assert history.curve[-1][1][0] > history.curve[0][1][0] + 2.0


def test_fog_of_the_backgrounds_colour_is_cleared_by_the_opacity_weight(tasks: Stream, learner_of: MakeLearner) -> None:
    task = tasks[0]
    white = replace(task.train, images=torch.full_like(task.train.images, 255))
    fog = []
    for weight in (0.0, 0.01):
        settings = replace(SHORT, steps=60, optimiser=replace(SHORT.optimiser, opacity_weight=weight))
        learner, recorder = learner_of(FineTune()), Recorder()
        learn(Stream((replace(task, train=white),)), learner, settings, [recorder])
        fog.append(float(render_image(learner.model, task.test.camera(0)).opacity.mean()))
        parts = [report.losses for report in recorder.reports if report.losses is not None]
        assert all(("opacity" in part) == bool(weight) for part in parts)
    assert fog[1] < 0.5 * fog[0]


def test_the_opacity_of_past_pixels_counts_as_their_colours_do(tasks: Stream) -> None:
    new = pixels_at(tasks[0].train, torch.tensor([0, 1]))
    past = replace(pixels_at(tasks[0].train, torch.tensor([5, 6, 7])), new=0)
    opacity = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    assert float(mean_opacity(opacity, new.with_past(past))) == pytest.approx(1.5 / 2)
    assert float(mean_opacity(opacity[2:], past)) == pytest.approx(1.2 / 3)


@dataclass(frozen=True)
class NeedsBoundaries(Strategy):
    needs_boundaries: ClassVar[bool] = True


@pytest.mark.parametrize(
    ("strategy", "name"), [(NeedsBoundaries(), "strategy='NeedsBoundaries'"), ("soft-targets", "'soft-targets'")]
)
def test_a_stream_without_boundaries_refuses_a_strategy_that_needs_them(
    strategy: Strategy | str, name: str, chunks: Stream, learner_of: MakeLearner
) -> None:
    learner = learner_of(strategy)
    with pytest.raises(NerfclError, match=f"{name}: needs to know where tasks end"):
        learn(chunks, learner, SHORT)
    assert learner.history.steps == 0


def test_a_diverging_loss_stops_the_run(tasks: Stream, learner_of: MakeLearner) -> None:
    @dataclass(frozen=True)
    class Broken(FineTune):
        def loss(self, state: Any, rendering: Any, batch: Pixels, model: Any) -> dict[str, Tensor]:
            return {"new": rendering.rgb.sum() * float("nan")}

    with pytest.raises(NerfclError, match="the loss is nan at step 1: training diverged; lower learning_rate"):
        learn(tasks, learner_of(Broken()), SHORT)


# --- epochs and learning rates ---


@pytest.mark.parametrize(("rays", "per_pixel", "steps"), [(128, 1, 12), (100, 1, 16), (512, 4, 12), (768, 1, 2)])
def test_epochs_are_passes_over_every_pixel(
    rays: int, per_pixel: int, steps: int, tasks: Stream, learner_of: MakeLearner
) -> None:
    drawn: list[Tensor] = []

    @dataclass(frozen=True)
    class Spy(FineTune):
        def batch(self, state: Any, new: Pixels) -> Pixels:
            drawn.append(new.indices)
            return super().batch(state, new)

    recorder = Recorder()
    settings = replace(SHORT, epochs=2, rays=rays, rays_per_pixel=per_pixel)
    history = learn(tasks, learner_of(Spy()), settings, [recorder])
    assert history.steps == 2 * steps
    assert [report.epoch for report in recorder.reports] == [i // (steps // 2) for i in range(2 * steps)]
    for task in (drawn[:steps], drawn[steps:]):
        counts = torch.bincount(torch.cat(task), minlength=768)
        if 768 % (rays // per_pixel) == 0:
            assert (counts == 2).all(), "every pixel exactly twice"
        else:  # 16 batches of 100: the third epoch begins
            assert counts.min() == 2
            assert counts.max() == 3
            assert int(counts.sum()) == 1600


def test_an_epoch_may_be_a_given_number_of_steps(tasks: Stream, learner_of: MakeLearner) -> None:
    recorder = Recorder()
    learn(tasks, learner_of(FineTune()), replace(SHORT, epochs=2, epoch_steps=4), [recorder])
    assert [report.epoch for report in recorder.reports] == [i // 4 for i in range(16)]


@pytest.mark.parametrize(
    ("strategy", "by_hand"),
    [
        (FineTune(), [0.01] * 6 + [0.001] * 12 + [0.0001] * 6),
        # Begins again after the first task: its 24 steps are spread over the 4 epochs so far.
        (Joint(), [0.01] * 6 + [0.001] * 6 + [0.01] * 6 + [0.001] * 12 + [0.0001] * 6),
    ],
)
def test_rates_go_by_epochs_since_the_first_task_began(
    strategy: Strategy, by_hand: list[float], tasks: Stream, learner_of: MakeLearner
) -> None:
    optimiser = OptimiserSettings(schedule="step", decay_epochs=(1, 3), decay_gamma=0.1, learning_rate=0.01)
    recorder = Recorder()
    learn(tasks, learner_of(strategy), replace(SHORT, epochs=2, optimiser=optimiser), [recorder])
    assert [report.learning_rate for report in recorder.reports] == pytest.approx(by_hand)


# --- what goes on, and what begins again ---


@pytest.mark.parametrize(("keep", "announced", "steps"), [(False, True, 12), (True, True, 24), (False, False, 24)])
def test_optimiser_and_ema_go_on_where_they_are_kept_or_no_task_is_announced(
    keep: bool, announced: bool, steps: int, tasks: Stream, learner_of: MakeLearner
) -> None:
    stream = Stream(tuple(replace(task, announced=announced) for task in tasks))
    learner = learner_of(FineTune())
    learn(stream, learner, replace(SHORT, keep_optimiser=keep, optimiser=OptimiserSettings(ema_decay=0.8)))
    assert isinstance(learner.optimiser, Adam)
    assert learner.ema is not None
    assert (learner.optimiser.count, learner.ema.count) == (steps, steps)


def test_optimiser_ema_and_rate_go_on_across_chunks(chunks: Stream, learner_of: MakeLearner) -> None:
    objects, counts = set(), []

    @dataclass(frozen=True)
    class Spy(FineTune):
        def batch(self, state: Any, new: Pixels) -> Pixels:
            assert isinstance(learner.optimiser, Adam)
            assert learner.ema is not None
            objects.add((id(learner.optimiser), id(learner.ema)))
            counts.append((learner.optimiser.count, learner.ema.count))
            return new

    learner, recorder = learner_of(Spy()), Recorder()
    optimiser = OptimiserSettings(schedule="constant", warm_up=8, ema_decay=0.8)
    learn(chunks, learner, replace(SHORT, steps=5, optimiser=optimiser), [recorder])
    assert len(objects) == 1
    assert counts == [(i, i) for i in range(15)]
    rates = [report.learning_rate for report in recorder.reports]
    assert rates == pytest.approx([2e-2 * min(1.0, (i + 1) / 8) for i in range(15)])
    assert [report.task for report in recorder.reports] == [f"chunk {1 + i // 5}/3" for i in range(15)]
    assert {report.last_step for report in recorder.reports} == {15}


def test_from_scratch_begins_with_a_new_optimiser_even_where_it_is_kept(tasks: Stream, learner_of: MakeLearner) -> None:
    learner = learner_of(Joint())
    learn(tasks, learner, replace(SHORT, keep_optimiser=True))
    assert isinstance(learner.optimiser, Adam)
    assert learner.optimiser.count == 24
    own = {parameter.data_ptr() for parameter in learner.model.parameters()}
    assert {parameter.data_ptr() for parameter in learner.optimiser.parameters} == own


def test_joint_begins_again_with_all_views_and_all_steps_so_far(tasks: Stream, learner_of: MakeLearner) -> None:
    drawn: list[int] = []

    @dataclass(frozen=True)
    class Spy(Joint):
        def batch(self, state: Any, new: Pixels) -> Pixels:
            batch = super().batch(state, new)
            drawn.append(int((batch.poses[:, 0, 3] > 0).sum()))
            assert len(batch) == len(new)
            return batch

    history = learn(tasks, learner_of(Spy()), SHORT)
    assert history.steps == 12 + 24
    assert all(count == 128 for count in drawn[:12])
    fractions = np.array(drawn[12:]) / 128
    right, left = len(tasks[0].train), len(tasks[1].train)
    assert fractions.mean() == pytest.approx(right / (right + left), abs=0.05)


def test_replay_takes_as_many_old_rays_as_new_ones_after_the_first_experience(
    tasks: Stream, learner_of: MakeLearner
) -> None:
    sizes: list[tuple[int, int]] = []

    @dataclass(frozen=True)
    class Spy(Replay):
        def batch(self, state: Any, new: Pixels) -> Pixels:
            batch = super().batch(state, new)
            sizes.append((batch.new, len(batch)))
            assert (batch.poses[batch.new :, 0, 3] > 0).all()
            return batch

    learn(tasks, learner_of(Spy()), SHORT)
    assert sizes == [(128, 128)] * 12 + [(128, 256)] * 12


@pytest.mark.parametrize("ema_decay", [0.0, 0.8])
def test_a_strategy_is_handed_the_model_that_is_evaluated(
    ema_decay: float, tasks: Stream, learner_of: MakeLearner
) -> None:
    handed: list[list[Tensor]] = []

    @dataclass(frozen=True)
    class Spy(FineTune):
        def end(self, state: Any, experience: Experience, model: Model) -> None:
            handed.append([value.detach().clone() for value in model.parameters()])

    learner = learner_of(Spy())
    learn(tasks, learner, replace(SHORT, optimiser=OptimiserSettings(ema_decay=ema_decay)), until=1)
    assert same(handed, [list(learner.evaluated_model.parameters())])
    assert same(handed, [list(learner.model.parameters())]) == (ema_decay == 0.0)


def test_every_experience_draws_pixels_in_an_order_of_its_own(tasks: Stream, learner_of: MakeLearner) -> None:
    drawn: list[Tensor] = []

    @dataclass(frozen=True)
    class Spy(FineTune):
        def batch(self, state: Any, new: Pixels) -> Pixels:
            drawn.append(new.indices.clone())
            return new

    same_again = Stream((tasks[0], tasks[0], tasks[0]))
    learn(same_again, learner_of(Spy()), replace(SHORT, steps=6))
    orders = [torch.cat(drawn[6 * i : 6 * i + 6]) for i in range(3)]
    assert all(sorted(order.tolist()) == list(range(tasks[0].train.pixels)) for order in orders)
    matches = [float((orders[i] == orders[j]).float().mean()) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert max(matches) < 0.02, "chance is 1 in 768"
