"""Callbacks, and the report on each training step that they receive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfcl.training.learner import Learner


@dataclass(frozen=True)
class StepReport:
    """Report on one training step.

    Attributes:
        step: steps so far over the entire stream, including this one.
        last_step: number of the stream's last step.
        task: name of the experience.
        epoch: completed passes over the experiences' rays since the start.
        losses: terms of the loss by name, and "psnr" of the new rays; read at the first, every tenth and the last step,
            since reading waits for the device; None at others.
        learning_rate: learning rate of this step.
        rays: number of rays in the batch, including past ones.
        samples: number of points at which the field was evaluated.
        seconds: training time so far, in seconds.
        metrics: metrics of the strategy by name; read with the losses.

    Example:
        >>> losses = {"new": 0.02, "replay": 0.01, "psnr": 17.0}
        >>> report = StepReport(
        ...     step=10, last_step=600, task="left", epoch=1, losses=losses, learning_rate=0.02, rays=2048,
        ...     samples=16_000, seconds=0.1
        ... )
        >>> report.loss
        0.03
    """

    step: int
    last_step: int
    task: str
    epoch: int
    losses: dict[str, float] | None
    learning_rate: float
    rays: int
    samples: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """Sum of the terms of the loss; None if they were not read."""
        return None if self.losses is None else sum(part for name, part in self.losses.items() if name != "psnr")


class Callback:
    """Follows a run: progress bars, event files, checkpoints. Override the hooks of interest.

    A callback may read and save the learner, but must not modify it. Callbacks are called in the order given, in the
    training thread. An exception raised by one ends training.

    Example:
        >>> class StopAfter(Callback):
        ...     def __init__(self, steps):
        ...         self.steps = steps
        ...
        ...     def on_step(self, learner, report):
        ...         return report.step >= self.steps
    """

    def on_step(self, learner: Learner, report: StepReport) -> bool | None:
        """Handle a training step, after `on_evaluation` if there was one; return True to stop training here.

        An experience stopped at its last step is not done yet: call `learn` again to end it.
        """

    def on_evaluation(self, learner: Learner) -> None:
        """Handle a new validation, or a new frame of the pictured view, in the learner's history."""

    def on_experience_end(self, learner: Learner) -> None:
        """Handle the end of an experience, after it was tested (if due) and counted as done."""
