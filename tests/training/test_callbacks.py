"""Callbacks: what they are told, in which order, and how they end the training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
from torch import Tensor

from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Stream
from nerfcl.training.loop import learn
from nerfcl.training.settings import EvaluationSettings
from support.learning import plain_history, same, weights_of
from training.small import ON_TASKS, MakeLearner, Recorder

SHORT = replace(ON_TASKS, optimiser=replace(ON_TASKS.optimiser, ema_decay=0.8))


def test_every_step_is_reported(tasks: Stream, learner_of: MakeLearner) -> None:
    recorder = Recorder()
    learn(tasks, learner_of(FineTune()), SHORT, [recorder])
    assert [report.step for report in recorder.reports] == list(range(1, 25))
    assert {report.last_step for report in recorder.reports} == {24}
    assert [report.task for report in recorder.reports] == ["right"] * 12 + ["left"] * 12
    assert [report.step for report in recorder.reports if report.loss is not None] == [1, 10, 20, 24]
    assert {report.rays for report in recorder.reports} == {128}
    assert [call[2:] for call in recorder.calls if call[1] == "end"] == [(12, 1), (24, 2)]
    assert [call[2] for call in recorder.calls if call[1] == "evaluation"] == [4, 5, 8, 10, 12, 16, 17, 20, 22, 24]


def test_reported_losses_are_the_parts_and_the_psnr_of_the_new_rays(tasks: Stream, learner_of: MakeLearner) -> None:
    seen: list[dict[str, float]] = []

    @dataclass(frozen=True)
    class Spy(Replay):
        def loss(self, state: Any, rendering: Any, batch: Pixels, model: Any) -> dict[str, Tensor]:
            error = ((rendering.rgb - batch.colours)[: batch.new] ** 2).mean().item()
            parts = super().loss(state, rendering, batch, model)
            opacity = 1e-3 * rendering.opacity.sum().item() / batch.new
            values = {name: part.item() for name, part in parts.items()}
            seen.append({**values, "opacity": opacity, "psnr": -10.0 * math.log10(error)})
            return parts

    recorder = Recorder()
    learn(tasks, learner_of(Spy(soft_targets=True)), replace(ON_TASKS, evaluation=None), [recorder])
    assert seen[0].keys() == {"new", "opacity", "psnr"}
    assert seen[-1].keys() == {"new", "replay", "distill", "opacity", "psnr"}
    for step in (1, 10, 20, 24):
        report = recorder.reports[step - 1]
        assert report.losses == pytest.approx(seen[step - 1], rel=1e-5)
        parts = [value for name, value in seen[step - 1].items() if name != "psnr"]
        assert report.loss == pytest.approx(sum(parts), rel=1e-5)
    assert sum(report.losses is not None for report in recorder.reports) == 4
    assert [bool(report.metrics) for report in recorder.reports] == [r.losses is not None for r in recorder.reports]


def test_callbacks_are_called_in_their_order_and_of_evaluations_before_steps(
    tasks: Stream, learner_of: MakeLearner
) -> None:
    calls: list[tuple[Any, ...]] = []
    evaluation = EvaluationSettings(evaluate_every=2, evaluate_views=1, frame_every=0)
    settings = replace(ON_TASKS, steps=2, evaluation=evaluation)
    learn(tasks, learner_of(FineTune()), settings, [Recorder(name=name, calls=calls) for name in "ab"])
    by_hand = []
    for steps, done, hooks in (
        (1, 0, ["step"]), (2, 0, ["evaluation", "step"]), (2, 1, ["end"]),
        (3, 1, ["step"]), (4, 1, ["evaluation", "step"]), (4, 2, ["end"]),
    ):  # fmt: skip
        by_hand += [(name, hook, steps, done) for hook in hooks for name in "ab"]
    assert calls == by_hand


@pytest.mark.parametrize("strategy", ["replay:memory-rays=99", "soft-targets", "joint"])
# Within the first experience, at its last step, right after it, and at the last step of all.
@pytest.mark.parametrize("stop", [7, 12, 13, -1])
def test_a_callback_that_returns_true_stops_there_and_learn_goes_on_to_the_same_result(
    stop: int, strategy: str, tasks: Stream, learner_of: MakeLearner
) -> None:
    straight = learner_of(strategy)
    learn(tasks, straight, SHORT)
    total = straight.history.steps
    stop %= total + 1
    learner, before, stopping, after = learner_of(strategy), Recorder(), Recorder(stop=stop), Recorder()
    learn(tasks, learner, SHORT, [before, stopping, after])
    done = int(stop > 12)
    assert (learner.history.steps, learner.done, learner.at) == (stop, done, stop - 12 * done)
    assert before.calls == stopping.calls == after.calls, "all are told, whoever stops"
    assert [report.step for report in after.reports] == list(range(1, stop + 1))

    rest = Recorder()
    assert learn(tasks, learner, SHORT, [rest]) is learner.history
    assert [report.step for report in rest.reports] == list(range(stop + 1, total + 1))
    assert {report.last_step for report in rest.reports} <= {total}
    assert rest.calls[-1] == ("", "end", total, 2)
    assert same(weights_of(learner), weights_of(straight))
    assert plain_history(learner.history) == plain_history(straight.history)


@pytest.mark.parametrize(("hook", "steps"), [("step", 1), ("evaluation", 4), ("end", 12)])
def test_what_a_callback_raises_ends_the_training_and_loses_nothing(
    hook: str, steps: int, tasks: Stream, learner_of: MakeLearner
) -> None:
    straight = learner_of(FineTune())
    learn(tasks, straight, SHORT)
    learner, failing, after = learner_of(FineTune()), Recorder(fails_in=hook), Recorder()
    with pytest.raises(ZeroDivisionError, match=hook):
        learn(tasks, learner, SHORT, [failing, after])
    assert learner.history.steps == steps
    assert failing.calls[-1][1:3] == (hook, steps)
    assert after.calls == failing.calls[:-1], "those after it were not told any more"
    learn(tasks, learner, SHORT)
    assert same(weights_of(learner), weights_of(straight))
    assert plain_history(learner.history) == plain_history(straight.history)
