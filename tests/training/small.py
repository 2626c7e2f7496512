"""Small trainings, and a callback that records them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nerfcl.training.callbacks import Callback, StepReport
from nerfcl.training.learner import Learner
from nerfcl.training.settings import EvaluationSettings, OptimiserSettings, TrainingSettings

MakeLearner = Callable[..., Learner]  # the fixture `learner_of`

# Three train views of 16x16 in a task: 768 rays, 6 steps of 128 an epoch.
ON_TASKS = TrainingSettings(
    steps=12,
    rays=128,
    optimiser=OptimiserSettings(warm_up=2),
    evaluation=EvaluationSettings(evaluate_every=5, evaluate_views=1, frame_every=4),
)
ON_CHUNKS = TrainingSettings(
    steps=5,
    rays=64,
    optimiser=OptimiserSettings(schedule="constant", warm_up=8, ema_decay=0.8),
    evaluation=EvaluationSettings(evaluate_every=4, evaluate_views=1, frame_every=7, test_every=2, seen_every=1),
)


@dataclass
class Recorder(Callback):
    """Writes down what it is told; stops at a step, or fails in a hook.

    Attributes:
        stop: step at which it stops the training.
        fails_in: hook in which it raises.
        name: of its own, where several write into one list.
        calls: (name, hook, steps so far, experiences so far).
        reports: of all steps.
    """

    stop: int | None = None
    fails_in: str | None = None
    name: str = ""
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    reports: list[StepReport] = field(default_factory=list)

    def on_step(self, learner: Learner, report: StepReport) -> bool | None:
        self.reports.append(report)
        self._note("step", learner)
        return report.step == self.stop or None

    def on_evaluation(self, learner: Learner) -> None:
        self._note("evaluation", learner)

    def on_experience_end(self, learner: Learner) -> None:
        self._note("end", learner)

    def _note(self, hook: str, learner: Learner) -> None:
        self.calls.append((self.name, hook, learner.history.steps, learner.done))
        if hook == self.fails_in:
            raise ZeroDivisionError(hook)
